"""Matches layers by their order and shapes if a source's names follow no known scheme."""

import re
from collections.abc import Iterable, Mapping
from functools import partial

from keras_resnet.checks import expect, invalid
from keras_resnet.weights.layers import Affine, Norm, Other
from keras_resnet.weights.pretrained import PretrainedWeights

PART = re.compile(r"(?:stem(?P<stem>\d*)|stage(?P<stage>\d+)_(?:block(?P<block>\d+)|in))_(?P<rest>.*)")
HEADS = ("head_norm", "predictions")


def order(name: str, skip_first: bool) -> tuple:
    """The place of one of our layers in a file: stem, blocks, head; a shortcut before or behind its branch."""
    if name in HEADS:
        return (2, HEADS.index(name))
    if not (match := PART.fullmatch(name)):
        raise invalid("model", "a plain or residual network, or a source with names of a known scheme", name)
    if match["stage"] is None:
        return (0, int(match["stem"] or 0))
    skip, excite = match["rest"].startswith("skip"), match["rest"].endswith("se_excite")
    number = re.match(r"([a-z]+?)(\d+)_", match["rest"])
    inside = (number[1], int(number[2])) if number else (match["rest"][0], 99 + excite)
    return (1, int(match["stage"]), int(match["block"] or 0), skip != skip_first, *inside)


Shapes = Mapping[str, tuple[type, tuple[int, ...]]]  # of our layers, with their kinds


def matched(ours: Shapes, pretrained: PretrainedWeights, head: bool) -> dict[str, str]:
    """Our layer -> the source's, where the two sequences of convolutions and dense layers, and those of norms, agree.

    Raises:
        ValueError: Where no order of a block's shortcut and branch agrees, or both do and differ.
    """

    def expect_named(holds: object, unless: str) -> None:
        expect(holds, "weights", f"names of a known scheme{unless}", pretrained.origin)

    expect_named(pretrained.ordered, ": a file that keeps no order of its layers cannot be matched by structure")
    others = [name for name, layer in pretrained.layers.items() if isinstance(layer, Other)]
    expect_named(not others, f": by structure {', '.join(others[:5])} has no place")
    orders = [sorted(ours, key=partial(order, skip_first=first)) for first in (False, True)]
    orders.append(list(ours))  # as Keras lists layers: by depth
    pairings = [pairs for names in orders if (pairs := aligned(ours, names, pretrained, head))]
    here, there = counts(kind for kind, _ in ours.values()), counts(map(type, pretrained.layers.values()))
    in_order = "this network's layers in their order and shapes"
    expect_named(pairings, f", or {in_order}: {here} here, {there} in the source")
    ambiguous = ": by order and shapes the shortcuts could stand before or behind their branches"
    expect_named(all(pairs == pairings[0] for pairs in pairings), ambiguous)
    return pairings[0]


def counts(kinds: Iterable[type]) -> str:
    kinds = list(kinds)
    return f"{kinds.count(Affine)} convolutions and dense layers, {kinds.count(Norm)} norms"


def aligned(ours: Shapes, in_order: list[str], pretrained: PretrainedWeights, head: bool) -> dict[str, str] | None:
    pairs: dict[str, str] = {}
    for kind in (Affine, Norm):
        names = [name for name in in_order if ours[name][0] is kind]
        theirs = [name for name, layer in pretrained.layers.items() if isinstance(layer, kind)]
        if kind is Affine and not head:  # the source's last one is a classifier that this network does not take
            theirs = theirs[: len(names)] if len(theirs) == len(names) + 1 else theirs
        if [ours[name][1] for name in names] != [pretrained.layers[name].shape for name in theirs]:
            return None
        pairs |= dict(zip(names, theirs, strict=True))
    return pairs
