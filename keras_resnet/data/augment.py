"""Augmentation of whole batches: the operations by name, and the checks of their parameters.

Every draw is a function of (seed, step, position), and nothing has a state: a run resumes where it stopped, batches may
be made in parallel, and several workers together make the batches of one (but for the partners of mixup and CutMix).
"""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import tensorflow as tf

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
from keras_resnet.data.color import color
from keras_resnet.data.draws import Draws
from keras_resnet.data.geometry import flip, pad_crop, rotate, translate
from keras_resnet.data.mixing import cutmix, mixup
from keras_resnet.data.rand_augment import rand_augment
from keras_resnet.data.rectangles import cutout, erase

# f(images, labels, draws, **parameters) -> (images, labels), for images float32 [n, h, w, c] of 0 to 255 and labels
# float32 [n, classes].

Augmentation = Callable[..., tuple[tf.Tensor, tf.Tensor]]

AUGMENTATIONS: dict[str, Augmentation] = {
    "pad_crop": pad_crop,
    "flip": flip,
    "rotate": rotate,
    "translate": translate,
    "erase": erase,
    "cutout": cutout,
    "color": color,
    "mixup": mixup,
    "cutmix": cutmix,
    "rand_augment": rand_augment,
}

_SHARE = Rule(lambda value: is_number(value) and 0 <= value <= 1, "a number in [0, 1]")

_RULES: dict[str, Rule] = {  # of the augmentations' parameters, the same for all
    "alpha": POSITIVE,
    "degrees": Rule(lambda value: is_number(value) and 0 <= value <= 180, "a number in [0, 180]"),
    "fill": Rule(lambda value: is_number(value) or is_list_of(is_number)(value), "a number, or one for every channel"),
    "interpolation": one_of("nearest", "bilinear"),
    "mode": one_of("constant", "reflect"),
    "magnitude": Rule(lambda value: is_number(value) and 0 <= value <= 30, "a number in [0, 30]"),
    "num_ops": COUNT,
    "padding": at_least(0),
    "rate": _SHARE,
    "ratio": Rule(lambda value: _rises(value) and value[0] > 0, "the least and the greatest height over width"),
    "scale": Rule(lambda value: _rises(value) and value[0] >= 0 and value[1] <= 1, "two rising numbers in [0, 1]"),
    "share": _SHARE,
    "size": COUNT,
    "stddev": Rule(lambda value: is_number(value) and value >= 0, "a number, at least 0"),
}


def _rises(value: Any) -> bool:
    return is_list_of(is_number)(value) and len(value) == 2 and value[0] <= value[1]


@tf.autograph.experimental.do_not_convert  # there is nothing to convert, and to look for it takes seconds
def augment(images, labels, draws: Draws, steps: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """The augmentations by name, in that order.

    Args:
        images: float32 [n, h, w, c], RGB or one channel, 0 to 255.
        labels: float32 [n, classes], one-hot: mixup and CutMix mix them.
        draws: Of this batch; with n rows.
        steps: For a key of AUGMENTATIONS its parameters, or its first alone.

    Returns:
        Both, of the same shapes.

    >>> images, labels = tf.zeros((4, 32, 32, 3)), tf.eye(4)
    >>> images, labels = augment(images, labels, Draws(seed=0, step=0, size=4), {"pad_crop": 4, "flip": {"rate": 0.5}})
    >>> images.shape
    TensorShape([4, 32, 32, 3])
    """
    for name, value in steps.items():
        images, labels = AUGMENTATIONS[name](images, labels, draws, **_parameters(name, value))
    return images, labels


def _names(name: str) -> list[str]:
    """Of an augmentation's parameters."""
    return list(signature(AUGMENTATIONS[name]).parameters)[3:]


def _parameters(name: str, value: Any) -> dict[str, Any]:
    """Parameters by name; what is no mapping is the first."""
    return dict(value) if isinstance(value, Mapping) else {_names(name)[0]: value}


def expect_augmentations(argument: str, steps: Any) -> None:
    """Raises unless these are `steps` for `augment`: known names, known parameters, values in their ranges."""
    expect(isinstance(steps, Mapping), argument, "a mapping from augmentations to their parameters", steps)
    for name, value in steps.items():
        expect_known(argument, AUGMENTATIONS, name)
        for parameter, received in _parameters(name, value).items():
            expect_known(f"{argument}.{name}", _names(name), parameter)
            expect_rule(_RULES[parameter], f"{argument}.{name}.{parameter}", received)
