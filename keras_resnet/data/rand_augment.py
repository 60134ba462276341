"""RandAugment: an operation drawn for each image."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from keras_resnet.data.color import autocontrast, blend, equalize, grey, mean_grey, posterize, smooth, solarize
from keras_resnet.data.geometry import rotation, warp


def rand_augment(images, labels, draws, magnitude=9, num_ops=2, interpolation="nearest", fill=0):
    """One of OPERATIONS drawn for each image, `num_ops` times: Cubuk et al. 2019, with torchvision's 31 magnitudes."""
    images, warping = tf.clip_by_value(images, 0.0, 255.0), partial(warp, interpolation=interpolation, fill=fill)
    for _ in range(num_ops):
        choice, positive = draws.uniform(low=0, high=len(OPERATIONS), dtype=tf.int32), draws.chosen(0.5)
        images = operated(images, choice, positive, magnitude / 30, warping)
    return images, labels


class Operation(NamedTuple):
    """One of RandAugment's."""

    apply: Callable[..., tf.Tensor]  # (images, strength [n], warp) -> images
    strength: Callable[[float, int, int], float]  # (share of the greatest, height, width) -> strength
    signed: bool  # whether half of the images take the strength negative


def warped(numbers):
    """The operation that warps by the six numbers of a strength."""
    return lambda images, strength, warp: warp(images, *numbers(strength))


def turned(images, strength, warp):
    """Rotated by that many degrees."""
    return warp(images, *rotation(strength, images))


def enhanced(degenerate):
    """The operation that moves images away from their degenerate ones: PIL's ImageEnhance."""
    return lambda images, strength, warp: blend(degenerate(images), images, strength)


def pointwise(function):
    """The operation that needs no `warp`."""
    return lambda images, strength, warp: function(images, strength)


def up_to(greatest):
    """The strength that rises linearly from 0."""
    return lambda share, height, width: greatest * share


# torchvision.transforms.RandAugment's. The m / 2 are there because PIL's pixels lie at 0.5, 1.5, ...
OPERATIONS: dict[str, Operation] = {
    "identity": Operation(pointwise(lambda images, _: images), up_to(0), False),
    "shear_x": Operation(warped(lambda m: (1, m, m / 2, 0, 1, 0)), up_to(0.3), True),
    "shear_y": Operation(warped(lambda m: (1, 0, 0, m, 1, m / 2)), up_to(0.3), True),
    "translate_x": Operation(warped(lambda m: (1, 0, -m, 0, 1, 0)), lambda s, h, w: int(s * 150 / 331 * w), True),
    "translate_y": Operation(warped(lambda m: (1, 0, 0, 0, 1, -m)), lambda s, h, w: int(s * 150 / 331 * h), True),
    "rotate": Operation(turned, up_to(30), True),
    "brightness": Operation(enhanced(tf.zeros_like), up_to(0.9), True),
    "color": Operation(enhanced(grey), up_to(0.9), True),
    "contrast": Operation(enhanced(mean_grey), up_to(0.9), True),
    "sharpness": Operation(enhanced(smooth), up_to(0.9), True),
    "posterize": Operation(pointwise(posterize), lambda s, h, w: 8 - round(4 * s), False),
    "solarize": Operation(pointwise(solarize), lambda s, h, w: 255 * (1 - s), False),
    "autocontrast": Operation(pointwise(autocontrast), up_to(0), False),
    "equalize": Operation(pointwise(equalize), up_to(0), False),
}


def operated(images, choice, positive, share, warp):
    """To each image its choice of OPERATIONS: grouped by it, so that each runs once, and on its own images only."""
    count, height, width, _ = images.shape
    sign = tf.where(positive, 1.0, -1.0)
    parts = [tf.dynamic_partition(values, choice, len(OPERATIONS)) for values in (images, sign, tf.range(count))]
    done, places = [], []
    for operation, group, signs, place in zip(OPERATIONS.values(), *parts, strict=True):
        strength = operation.strength(share, height, width) * (signs if operation.signed else tf.ones_like(signs))
        done.append(operation.apply(group, strength, warp))
        places.append(place)
    return tf.ensure_shape(tf.dynamic_stitch(places, done), images.shape)
