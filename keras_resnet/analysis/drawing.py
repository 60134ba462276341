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
SHORTCUTS = {  # kind of layer in it -> words, the most telling first
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
    rows = [(named[0], row) for row in complexity(model, input_shape).rows if (named := PARTS.match(row.name))]
    expect(rows, "model", "a network of this package", model.name)
    parts = defaultdict(list)
    for name, row in rows:
        parts[name].append(row)
    described = [describe(name, inside, leaves) for name, inside in parts.items()]
    return tuple(folded(list(run)) for _, run in groupby(described, lambda part: part.kind))


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


def describe(name: str, rows: Sequence[Any], leaves: dict[str, layers.Layer]) -> Part:
    worded = [found for row in rows if "_skip" not in row.name and (found := words(leaves[row.name]))]
    return Part(
        name=name,
        stage=name.split("_block")[0] if "_block" in name else name,
        templates=tuple(template for template, _ in worded),
        widths=tuple(width for _, width in worded),
        shortcut=shortcut(name, rows),
        output_shape=tuple(rows[-1].output_shape[1:]),
    )


def words(layer: layers.Layer) -> tuple[str, int] | None:
    """A template, and the width to put into it, of what a drawing shows."""
    if isinstance(layer, layers.Dense) and "_se_" in layer.name:
        return ("squeeze-and-excite", 0) if layer.name.endswith("_excite") else None
    if isinstance(layer, layers.Dense):
        return "dense, {}", layer.units
    if layer.name == "head_pool":
        return "global pool", 0
    sides = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if sides is None:
        return None
    stride, groups, dilation = (
        max(layer.strides),
        getattr(layer, "groups", 1),
        max(getattr(layer, "dilation_rate", [1])),
    )
    marks = [text for text, shown in ((f"/{stride}", stride > 1), (f"{groups} groups", groups > 1),
                                      (f"dilation {dilation}", dilation > 1)) if shown]  # fmt: skip
    side = "x".join(map(str, sides))
    what = [side, "{}"] if isinstance(layer, layers.Conv2D) else [f"{side} pool"]
    return ", ".join([*what, *marks]), layer.output.shape[-1]


def shortcut(name: str, rows: Sequence[Any]) -> str | None:
    if any(row.name == f"{name}_concat" for row in rows):
        return "concatenated"
    if not any(row.name == f"{name}_sum" for row in rows):
        return None
    kinds = {row.kind for row in rows if "_skip" in row.name}
    return next((text for kind, text in SHORTCUTS.items() if kind in kinds), "identity")


def folded(run: Sequence[Part]) -> Box:
    first, last = run[0], run[-1]
    widths = [f"{a}" if a == b else f"{a} … {b}" for a, b in zip(first.widths, last.widths, strict=True)]
    texts = [template.format(width) for template, width in zip(first.templates, widths, strict=True)]
    if len(texts) > MOST_LINES:
        texts = [f"{times} x ({text})" if times > 1 else text for text, times in Counter(texts).items()]
    shortcuts = dict.fromkeys(part.shortcut for part in run if part.shortcut)
    return Box(first.name, len(run), tuple(texts), " or ".join(shortcuts) or None, last.output_shape)
