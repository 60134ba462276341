"""A network as boxes for a drawing: blocks, widths and strides, runs of equal blocks folded into one."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_resnet.checks import expect
from keras_resnet.graph.complexity import complexity
from keras_resnet.graph.tracing import walk


class Box(NamedTuple):
    """A run of equal blocks, or the stem, or the head."""

    name: str  # of the first
    times: int
    convolutions: tuple[str, ...]  # such as "3x3, 64, /2"
    shortcut: str | None  # what the other path does; None where there is none
    output_shape: tuple[int | None, ...]  # height, width and channels, or classes

    def __str__(self) -> str:
        size = "x".join(map(str, self.output_shape))
        other = f"  shortcut: {self.shortcut}" if self.shortcut else ""
        return f"{self.times:>4} x {self.name:<16} {'; '.join(self.convolutions)}{other}  -> {size}"


PARTS = re.compile(r"stem|stage\d+_(?:block\d+|in)|stage\d+|head|predictions")
MOST_LINES = 6  # of a box; equal convolutions of more are counted
SHORTCUT_WORDS = {  # kind of layer in it -> words, the most telling first
    "Conv2D": "1x1 convolution",
    "GroupedConv2D": "1x1 convolution",
    "ZeroPadding2D": "zero channels",
}


def drawing(model: keras.Model, input_shape: tuple[int, int, int] | None = None) -> tuple[Box, ...]:
    """The network as boxes: blocks, widths and strides, with runs of equal blocks folded into one.

    Blocks of a stage are equal where they have the same convolutions, strides and shortcut; where their widths differ,
    as in a PyramidNet, the box has the first and the last.

    Args:
        model: Any network of this package, also a loaded or nested one.
        input_shape: As in `keras_resnet.complexity`, for a network that takes any size.

    Returns:
        The boxes in the network's order.

    Raises:
        ValueError: Where no layer has a name of this package's scheme, or the size of the images is unknown.
    """
    leaves = {layer.name: layer for layer in walk(model)}
    inside = defaultdict(list)
    for cost in complexity(model, input_shape).rows:
        if named := PARTS.match(cost.name):
            inside[named[0]].append(cost)
    expect(inside, "model", "a network of this package", model.name)
    parts = [part_of(name, costs, leaves) for name, costs in inside.items()]
    return tuple(folded(list(run)) for _, run in groupby(parts, lambda part: part.kind))


class Part(NamedTuple):
    """A block, the stem or the head, before it is folded."""

    name: str
    stage: str
    templates: tuple[str, ...]  # of its lines, without the widths
    widths: tuple[int, ...]
    shortcut: str | None
    output_shape: tuple[int | None, ...]

    @property
    def kind(self) -> tuple[Any, ...]:
        """What is equal in a run; whether a shortcut is bare or padded with zeros follows from the widths."""
        bare = self.shortcut in ("identity", "zero channels")
        return self.stage, self.templates, "bare" if bare else self.shortcut


def part_of(name: str, costs: Sequence[Any], leaves: dict[str, layers.Layer]) -> Part:
    """From what `complexity` knows of its layers."""
    lines = [line for cost in costs if "_skip" not in cost.name and (line := box_line(leaves[cost.name]))]
    return Part(
        name=name,
        stage=name.split("_block")[0] if "_block" in name else name,
        templates=tuple(template for template, _ in lines),
        widths=tuple(width for _, width in lines),
        shortcut=shortcut(name, costs),
        output_shape=tuple(costs[-1].output_shape[1:]),
    )


def box_line(layer: layers.Layer) -> tuple[str, int] | None:
    """A template, and the width to put into it; None of what a drawing does not show."""
    if isinstance(layer, layers.Dense) and "_se_" in layer.name:
        return ("squeeze-and-excite", 0) if layer.name.endswith("_excite") else None
    if isinstance(layer, layers.Dense):
        return "dense, {}", layer.units
    if layer.name == "head_pool":
        return "global pool", 0
    sides = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if sides is None:
        return None
    numbers = {
        "/{}": max(layer.strides),
        "{} groups": getattr(layer, "groups", 1),
        "dilation {}": max(getattr(layer, "dilation_rate", [1])),
    }
    marks = [mark.format(number) for mark, number in numbers.items() if number > 1]
    side = "x".join(map(str, sides))
    what = [side, "{}"] if isinstance(layer, layers.Conv2D) else [f"{side} pool"]
    return ", ".join([*what, *marks]), layer.output.shape[-1]


def shortcut(name: str, costs: Sequence[Any]) -> str | None:
    names = [cost.name for cost in costs]
    if f"{name}_concat" in names:
        return "concatenated"
    if f"{name}_sum" not in names:
        return None
    kinds = {cost.kind for cost in costs if "_skip" in cost.name}
    return next((text for kind, text in SHORTCUT_WORDS.items() if kind in kinds), "identity")


def folded(run: Sequence[Part]) -> Box:
    first, last = run[0], run[-1]
    widths = [f"{a}" if a == b else f"{a} … {b}" for a, b in zip(first.widths, last.widths, strict=True)]
    texts = [template.format(width) for template, width in zip(first.templates, widths, strict=True)]
    if len(texts) > MOST_LINES:
        texts = [f"{times} x ({text})" if times > 1 else text for text, times in Counter(texts).items()]
    shortcuts = dict.fromkeys(part.shortcut for part in run if part.shortcut)
    return Box(first.name, len(run), tuple(texts), " or ".join(shortcuts) or None, last.output_shape)
