"""Layers matched by their order and shapes, where a source's names follow no known scheme."""

import re
from collections.abc import Mapping
from functools import partial

from keras_resnet.checks import expect, invalid
from keras_resnet.weights.checkpoint import Affine, Checkpoint, Norm, Other

PART = re.compile(r"(?:stem(?P<stem>\d*)|stage(?P<stage>\d+)_(?:block(?P<block>\d+)|in))_(?P<rest>.*)")
HEADS = ("head_norm", "predictions")


def order(name: str, skip_first: bool) -> tuple:
    """Where a file has a layer of ours: stem, blocks, head; a block's shortcut before or behind its branch."""
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


def matched(ours: Mapping[str, tuple[type, tuple[int, ...]]], checkpoint: Checkpoint, head: bool) -> dict[str, str]:
    """Our layer -> the source's, where the two sequences of convolutions and dense layers, and those of norms, agree.

    Raises:
        ValueError: Where no order of a block's shortcut and branch agrees, or both do and differ.
    """
    expect(checkpoint.ordered, "weights", "names of a known scheme: a file that keeps no order of its layers cannot be "
           "matched by structure", checkpoint.origin)  # fmt: skip
    others = [name for name, layer in checkpoint.layers.items() if isinstance(layer, Other)]
    expect(not others, "weights", f"names of a known scheme: by structure {', '.join(others[:5])} has no place",
           checkpoint.origin)  # fmt: skip
    orders = [sorted(ours, key=partial(order, skip_first=first)) for first in (False, True)]
    orders.append(list(ours))  # as Keras lists layers: by depth
    found = [pairs for names in orders if (pairs := aligned(ours, names, checkpoint, head))]
    here, there = counts(kind for kind, _ in ours.values()), counts(map(type, checkpoint.layers.values()))
    expect(found, "weights", "names of a known scheme, or this network's layers in their order and shapes: "
           f"{here} here, {there} in the source", checkpoint.origin)  # fmt: skip
    expect(all(pairs == found[0] for pairs in found), "weights", "names of a known scheme: by order and shapes the "
           "shortcuts could stand before or behind their branches", checkpoint.origin)  # fmt: skip
    return found[0]


def counts(kinds) -> str:
    kinds = list(kinds)
    return f"{kinds.count(Affine)} convolutions and dense layers, {kinds.count(Norm)} norms"


def aligned(ours, in_order: list[str], checkpoint: Checkpoint, head: bool) -> dict[str, str] | None:
    pairs: dict[str, str] = {}
    for kind in (Affine, Norm):
        names = [name for name in in_order if ours[name][0] is kind]
        theirs = [name for name, layer in checkpoint.layers.items() if isinstance(layer, kind)]
        if kind is Affine and not head:  # the source's last one is a classifier that this network does not take
            theirs = theirs[: len(names)] if len(theirs) == len(names) + 1 else theirs
        if [ours[name][1] for name in names] != [checkpoint.layers[name].shape for name in theirs]:
            return None
        pairs |= dict(zip(names, theirs, strict=True))
    return pairs
