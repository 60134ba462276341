"""What the arguments of `keras_resnet.build` may be, as far as it can be said without Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from keras_resnet.checks import (
    FLAG,
    Rule,
    expect,
    expect_rule,
    expect_rules,
    is_integer,
    nearest,
    one_of,
    unknown,
)
from keras_resnet.networks.families import FAMILIES, Config
from keras_resnet.networks.limits import CHANNELS, CLASSES, MOST_CHANNELS, MOST_PIXELS
from keras_resnet.weights.sources import CHANNEL_ORDER, blocks_of, expect_source

Shape = tuple[int | None, int | None, int]  # height, width and channels of the images; None for any size


class Interface(TypedDict, total=False):
    """The arguments of `keras_resnet.build` that any network takes."""

    classes: int | None
    input_shape: Shape | None
    weights: Any
    channel_order: str | None
    include_top: bool
    pooling: str | None
    classifier_activation: Any
    input_tensor: Any
    remat: bool


ELSEWHERE = {  # what torchvision and timm call them
    "num_classes": "classes",
    "pretrained": "weights",
    "in_chans": "input_shape",
    "in_channels": "input_shape",
    "img_size": "input_shape",
    "global_pool": "pooling",
    "drop_rate": "head_dropout",
    "drop_path_rate": "drop_path",
    "zero_init_residual": "zero_init",
    "zero_init_last": "zero_init",
    "replace_stride_with_dilation": "output_stride",
    "width_per_group": "inner",
    "cardinality": "groups",
}


def expect_fields(config: Config, changes: Mapping[str, Any]) -> None:
    """Raises an error unless all are fields of such a row: it shows the nearest arguments."""
    own = [field.name for field in fields(config)]
    names = [*Interface.__annotations__, "name", *own]
    for name, value in changes.items():
        if name not in own:
            near = [meant] if (meant := ELSEWHERE.get(name)) in names else nearest(name, names)[:3]
            raise unknown(name, near, value, f"a {FAMILIES[type(config)]}")


def expect_row(config: Any, family: type) -> None:
    expect(isinstance(config, family), "config", f"a row, a keras_resnet.{family.__name__}", config)


@dataclass(frozen=True)
class Head:
    """What follows the last stage."""

    include_top: bool  # a classifier, and not only a pool
    pooling: str | None
    classes: int | None
    activation: Any  # checked where Keras is

    def __post_init__(self) -> None:
        expect_rules(_RULES, self)


_RULES: dict[str, Rule] = {
    "include_top": FLAG,
    "pooling": one_of(None, "avg", "max"),
    "classes": Rule(lambda classes: classes is None or CLASSES.holds(classes), f"None or {CLASSES.expected}"),
}


def check_arguments(
    config: Config, input_shape: Any, weights: Any = None, remat: Any = False, network: str | None = None
) -> None:
    """Raises an error for what is wrong whatever the weights and the backend are; `network` is the published name."""
    expect_rule(FLAG, "remat", remat)
    skips = getattr(config, "drop_path_per", "sample") == "batch"
    expect(not (remat and skips), "remat", "False with drop_path_per='batch', which skips whole blocks", remat)
    if input_shape is not None:
        check_shape(input_shape, "input_shape", config.smallest_size)
    if isinstance(weights, str | Path):
        expect_source(weights, blocks_of(config.stages), network)


def check_channel_order(channel_order: Any, weights: Any) -> None:
    expect_rule(CHANNEL_ORDER, "channel_order", channel_order)
    expect(weights is not None or channel_order is None, "channel_order", "None without `weights`", channel_order)


def check_shape(shape: Any, argument: str, smallest: int) -> None:
    holds = (
        isinstance(shape, list | tuple)
        and len(shape) == 3
        and all(size is None or is_size(size, smallest) for size in shape[:2])
        and CHANNELS.holds(shape[2])
    )
    least = f"a height and width of at least {smallest} pixels, below which a stage would have none, or None for any"
    most = f"at most {MOST_PIXELS:,} pixels and {MOST_CHANNELS:,} channels"
    expect(holds, argument, f"(height, width, channels), {least}; {most}", shape)


def check_size(size: Any, config: Config) -> None:
    """Of square images; None leaves it to the network or the data."""
    smallest = config.smallest_size
    least = f"at least {smallest} pixels, below which a stage would have none, and at most {MOST_PIXELS:,}"
    expect(size is None or is_size(size, smallest), "size", least, size)


def is_size(size: Any, smallest: int) -> bool:
    return is_integer(size) and smallest <= size <= MOST_PIXELS


def check_part(part: str | None, config: Config) -> None:
    """Of a network that is frozen up to there."""
    parts = ("stem", *(f"stage{number}" for number in range(1, 1 + len(config.stages))), "head")
    expect(part is None or part in parts, "freeze", f"None or one of {', '.join(parts)}", part)
