"""Random crops of images of any size, one by one, while they are read."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_resnet.data.decoding import decode
from keras_resnet.data.rectangles import TRIES, first, sides
from keras_resnet.modelcard import OVERSHOOTING

Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]  # top, left, height, width


def random_resized_crop_box(
    shape: Any, seed: Any, scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)
) -> Box:
    """A box of a share of the area and a width over height drawn: Szegedy et al. 2014, 6.

    As torchvision's RandomResizedCrop: of ten boxes the first that fits in the image, or else the middle, as large as
    `ratio` allows.

    Args:
        shape: Of the image: height, width.
        seed: Two integers: of the run, and of the image in the run.
    """
    whole = tf.cast(shape[:2], tf.float32)
    drawn = tf.random.stateless_uniform((TRIES + 1, 2), seed)
    wide, tall = sides(drawn[:-1], tf.reduce_prod(whole), scale, ratio)
    boxes = tf.stack([tall, wide], 1)
    fits = tf.reduce_all((boxes > 0) & (boxes <= whole), 1)
    any_fits = tf.reduce_any(fits)
    middle = tf.minimum(whole, tf.round(whole[::-1] * (1 / ratio[0], ratio[1])))
    box = tf.where(any_fits, first(fits, tf.transpose(boxes)), middle)
    corner = tf.where(any_fits, tf.floor(drawn[-1] * (whole - box + 1)), (whole - box) // 2)
    return tuple(tf.unstack(tf.cast(tf.concat([corner, box], 0), tf.int32)))


def scale_crop_box(shape: Any, seed: Any, crop: int, short: tuple[int, int] = (256, 480)) -> Box:
    """A square which, resized to `crop`, is a crop from the image with its short side at a draw from `short`.

    Scale augmentation: Simonyan and Zisserman 2014, 3.1; He et al. 2015, 3.4.

    Args:
        shape: Of the image: height, width.
        seed: Two integers: of the run, and of the image in the run.
        crop: Pixels, at most the least of `short`.
    """
    whole = tf.cast(shape[:2], tf.float32)
    drawn = tf.random.stateless_uniform((3,), seed)
    side = tf.round(crop / tf.floor(short[0] + drawn[0] * (short[1] - short[0] + 1)) * tf.reduce_min(whole))
    corner = tf.floor(drawn[1:] * (whole - side + 1))
    return tuple(tf.unstack(tf.cast(tf.stack([corner[0], corner[1], side, side]), tf.int32)))


def read_crop(
    encoded: tf.Tensor, seed: Any, size: int, box_function: Callable[..., Box], channels: int = 3
) -> tf.Tensor:
    """The box of an image file, resized with antialiasing; of a JPEG no more than the box is decoded.

    Args:
        encoded: The file's bytes: JPEG, PNG, BMP or GIF, of which the first frame.
        seed: As `box_function` takes it.
        size: Height and width of the result, in pixels.
        box_function: (shape, seed) -> (top, left, height, width), for example `random_resized_crop_box`.
        channels: 3 or 1.

    Returns:
        float32 [size, size, channels], 0 to 255.
    """

    def jpeg() -> tf.Tensor:
        box = box_function(tf.io.extract_jpeg_shape(encoded), seed)
        return tf.io.decode_and_crop_jpeg(encoded, tf.stack(box), channels)

    def other() -> tf.Tensor:
        image = decode(encoded, channels)
        top, left, height, width = box_function(tf.shape(image), seed)
        return image[top : top + height, left : left + width]

    crop = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    return resized(tf.ensure_shape(crop, (None, None, channels)), (size, size))


def resized(image: tf.Tensor, size: Sequence[Any], interpolation: str = "bilinear") -> tf.Tensor:
    """`tf.image.resize` of [h, w, c] with antialiasing, to the bit and in half its time: the height, then the width.

    Its kernel is slow along a row, whose pixels have three numbers each, and fast along a column, whose pixels are here
    whole rows.
    """
    for length in size:
        image = tf.transpose(resized_rows(image, length, interpolation), (1, 0, 2))
    return tf.cast(image, tf.float32)  # it is none yet where it had that size


def resized_rows(image: tf.Tensor, length: Any, interpolation: str) -> tf.Tensor:
    """[h, w, c] to [length, w, c]."""
    width, channels = image.shape[1] or tf.shape(image)[1], image.shape[2]
    column = tf.reshape(image, (-1, 1, width * channels))
    column = tf.image.resize(column, (length, 1), interpolation, antialias=True)
    return tf.reshape(column, (length, width, channels))


def resized_as_pil(image: tf.Tensor, size: Sequence[Any], interpolation: str) -> tf.Tensor:
    """As `resized`, but the width before the height, and each within 0 to 255, where PIL cuts the overshoot off."""
    image = tf.transpose(tf.cast(image, tf.float32), (1, 0, 2))
    for length in reversed(size):
        image = resized_rows(image, length, interpolation)
        image = tf.clip_by_value(image, 0, 255) if interpolation in OVERSHOOTING else image
        image = tf.transpose(image, (1, 0, 2))
    return tf.transpose(image, (1, 0, 2))
