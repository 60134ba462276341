"""What the arguments of `keras_resnet.build` may be, as far as it can be said without Keras."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from keras_resnet.checks import COUNT, FLAG, Rule, expect, expect_rule, expect_rules, is_integer, one_of
from keras_resnet.networks.families import Config
from keras_resnet.weights.sources import blocks_of, expect_source

Shape = tuple[int | None, int | None, int]  # height, width and channels of the images; None for any size


class Interface(TypedDict, total=False):
    """The arguments of `keras_resnet.build` that any network takes."""

    classes: int | None
    input_shape: Shape | None
    weights: Any
    include_top: bool
    pooling: str | None
    classifier_activation: Any
    input_tensor: Any
    remat: bool


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
    "classes": Rule(lambda classes: classes is None or COUNT.holds(classes), f"None or {COUNT.expected}"),
}


def check_arguments(config: Config, input_shape: Any, weights: Any = None, remat: Any = False) -> None:
    """Raises an error for what is wrong whatever the weights and the backend are."""
    expect_rule(FLAG, "remat", remat)
    skips = getattr(config, "drop_path_per", "sample") == "batch"
    expect(not (remat and skips), "remat", "False with drop_path_per='batch', which skips whole blocks", remat)
    if input_shape is not None:
        check_shape(input_shape, "input_shape", config.smallest_size)
    if isinstance(weights, str | Path):
        expect_source(weights, blocks_of(config.stages))


def check_shape(shape: Any, argument: str, smallest: int) -> None:
    holds = (
        isinstance(shape, list | tuple)
        and len(shape) == 3
        and all(size is None or (is_integer(size) and size >= smallest) for size in shape[:2])
        and COUNT.holds(shape[2])
    )
    least = f"a height and width of at least {smallest} pixels, below which a stage would have none, or None for any"
    expect(holds, argument, f"(height, width, channels), {least}", shape)
