"""What a recipe may name of the data's: views, and augmentations with their parameters. It needs no TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_resnet.checks import (
    COUNT,
    POSITIVE,
    Rule,
    at_least,
    expect,
    expect_known,
    expect_rule,
    is_list_of,
    is_number,
    one_of,
)

VIEW_NAMES = ("random_resized_crop", "scale_crop")  # the keys of VIEWS

PARAMETERS = {  # of the functions in AUGMENTATIONS
    "pad_crop": ("padding", "fill", "mode"),
    "flip": ("rate",),
    "rotate": ("degrees", "rate", "interpolation", "fill"),
    "translate": ("share", "rate", "interpolation", "fill"),
    "erase": ("rate", "scale", "ratio", "fill"),
    "cutout": ("size", "rate", "fill"),
    "color": ("stddev",),
    "mixup": ("alpha", "rate"),
    "cutmix": ("alpha", "rate"),
    "rand_augment": ("magnitude", "num_ops", "interpolation", "fill"),
}

MEAN = "mean"  # the `fill` that normalization makes zero

SHARE = Rule(lambda value: is_number(value) and 0 <= value <= 1, "a number in [0, 1]")

RULES: dict[str, Rule] = {  # of the augmentations' parameters, the same for all
    "alpha": POSITIVE,
    "degrees": Rule(lambda value: is_number(value) and 0 <= value <= 180, "a number in [0, 180]"),
    "fill": Rule(
        lambda value: is_number(value) or value == MEAN or is_list_of(is_number)(value),
        f"a number, or one for every channel, or {MEAN!r}",
    ),
    "interpolation": one_of("nearest", "bilinear"),
    "mode": one_of("constant", "reflect"),
    "magnitude": Rule(lambda value: is_number(value) and 0 <= value <= 30, "a number in [0, 30]"),
    "num_ops": COUNT,
    "padding": at_least(0),
    "rate": SHARE,
    "ratio": Rule(lambda value: rises(value) and value[0] > 0, "the least and the greatest height over width"),
    "scale": Rule(lambda value: rises(value) and value[0] >= 0 and value[1] <= 1, "two rising numbers in [0, 1]"),
    "share": SHARE,
    "size": COUNT,
    "stddev": Rule(lambda value: is_number(value) and value >= 0, "a number, at least 0"),
}


def rises(value: Any) -> bool:
    return is_list_of(is_number)(value) and len(value) == 2 and value[0] <= value[1]


def by_name(augmentation: str, value: Any) -> dict[str, Any]:
    """Parameters by name; what is no mapping is the first."""
    return dict(value) if isinstance(value, Mapping) else {PARAMETERS[augmentation][0]: value}


def expect_augmentations(argument: str, steps: Any) -> None:
    """Raises unless these are `steps` for `augment`: known names, known parameters, values in their ranges."""
    expect(isinstance(steps, Mapping), argument, "a mapping from augmentations to their parameters", steps)
    for name, value in steps.items():
        expect_known(argument, PARAMETERS, name)
        for parameter, received in by_name(name, value).items():
            expect_known(f"{argument}.{name}", PARAMETERS[name], parameter)
            expect_rule(RULES[parameter], f"{argument}.{name}.{parameter}", received)


def filled(steps: Mapping[str, Any], mean: Sequence[float]) -> dict[str, dict[str, Any]]:
    """The augmentations with these numbers, one for every channel, where they fill with the mean."""
    known = {name: by_name(name, value) for name, value in steps.items()}
    return {name: values | {"fill": mean} if values.get("fill") == MEAN else values for name, values in known.items()}
