"""Images moved, mirrored and turned, a batch at a time."""

from math import pi

import tensorflow as tf

from keras_resnet.data.draws import per_channel


def pad_crop(images, labels, draws, padding=4, fill=0, mode="constant"):
    """Each image moved by up to `padding` pixels down or up, right or left, `fill` behind it: He et al. 2015, 4.2.

    Or behind it its own reflection, where the mode is "reflect": Zagoruyko and Komodakis 2016, 3.
    """
    height, width = images.shape[1:3]
    fill = per_channel(fill, images)
    padded = tf.pad(images - fill, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode.upper()) + fill
    starts = draws.uniform(2, low=0, high=2 * padding + 1, dtype=tf.int32)
    rows = tf.gather(padded, starts[:, :1] + tf.range(height), axis=1, batch_dims=1)
    # What moves alike is one slice; a gather of columns would copy pixel by pixel.
    alike = tf.dynamic_partition(tf.range(tf.shape(images)[0]), starts[:, 1], 2 * padding + 1)
    cropped = [tf.gather(rows, which)[:, :, left : left + width] for left, which in enumerate(alike)]
    return tf.ensure_shape(tf.dynamic_stitch(alike, cropped), images.shape), labels


def flip(images, labels, draws, rate=0.5):
    """A share of the images mirrored, left to right: Krizhevsky et al. 2012, 4.1."""
    rows = tf.reshape(images, (-1, *images.shape[2:]))  # in three dimensions TensorFlow reverses by whole pixels
    mirrored = tf.reshape(tf.reverse(rows, [1]), tf.shape(images))
    return tf.raw_ops.Select(condition=draws.chosen(rate), x=mirrored, y=images), labels  # copies whole images


def rotate(images, labels, draws, degrees=10, rate=1.0, interpolation="nearest", fill=0):
    """A share of the images turned about their middle by up to `degrees` either way (torchvision's RandomRotation)."""
    angle = tf.cast(draws.chosen(rate), tf.float32) * draws.uniform(low=-degrees, high=degrees)
    return warp(images, *rotation(angle, images), interpolation=interpolation, fill=fill), labels


def translate(images, labels, draws, share=0.1, rate=1.0, interpolation="nearest", fill=0):
    """A share of the images moved by up to that `share` of their height and of their width, either way.

    By whole pixels, as torchvision's RandomAffine, where the interpolation is "nearest".
    """
    height, width = images.shape[1:3]
    moves = tf.cast(draws.chosen(rate), tf.float32)[:, None] * draws.uniform(2, low=-share, high=share)
    numbers = 1, 0, -width * moves[:, 1], 0, 1, -height * moves[:, 0]
    return warp(images, *numbers, interpolation=interpolation, fill=fill), labels


def warp(images, a, b, c, d, e, f, interpolation="nearest", fill=0):
    """To pixel (x, y) what was at (ax + by + c, dx + ey + f), a number or one an image; `fill` from outside."""
    numbers = [tf.broadcast_to(tf.cast(value, tf.float32), tf.shape(images)[:1]) for value in (a, b, c, d, e, f, 0, 0)]
    fill = per_channel(fill, images)
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=images - fill,  # the operation fills all channels with one number
        transforms=tf.stack(numbers, axis=1),
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation=interpolation.upper(),
        fill_mode="CONSTANT",
    )
    return warped + fill


def rotation(degrees, images):
    """The six numbers of `warp` that turn images about their middle, counterclockwise."""
    middle_y, middle_x = ((size - 1) / 2 for size in images.shape[1:3])
    cos, sin = tf.cos(degrees * tf.constant(pi / 180)), tf.sin(degrees * tf.constant(pi / 180))
    right, down = middle_x - cos * middle_x + sin * middle_y, middle_y - sin * middle_x - cos * middle_y
    return cos, -sin, right, sin, cos, down
