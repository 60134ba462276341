"""Rectangles that are drawn in images: random erasing and cutout, and what CutMix and random crops share with them."""

from math import log

import tensorflow as tf

from keras_resnet.data.draws import per_channel, per_image

TRIES = 10  # boxes drawn before giving up: torchvision's RandomErasing and RandomResizedCrop


def erase(images, labels, draws, rate=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=0):
    """Random erasing: a rectangle filled, of a share of the area and a height over width drawn (Zhong et al. 2017).

    As torchvision's RandomErasing: of ten rectangles the first that is smaller than the image, or none. Its zeros,
    filled after normalization, are the mean colour before.
    """
    height, width = images.shape[1:3]
    tall, wide = sides(draws.uniform(TRIES, 2), float(height * width), scale, ratio)
    fits = (tall < height) & (wide < width)
    tall, wide = first(fits, tall), first(fits, wide)
    corner = draws.uniform(2)
    top, left = tf.floor(corner[:, 0] * (height - tall + 1)), tf.floor(corner[:, 1] * (width - wide + 1))
    erased = per_image(draws.chosen(rate) & tf.reduce_any(fits, 1)) & inside(top, left, tall, wide, images)
    return tf.where(erased, per_channel(fill, images), images), labels


def cutout(images, labels, draws, size=16, rate=1.0, fill=0):
    """A square filled, its middle drawn over the image, cut off at the border: DeVries and Taylor 2017, 3.2."""
    cut = per_image(draws.chosen(rate)) & window(float(size), float(size), images, draws)
    return tf.where(cut, per_channel(fill, images), images), labels


def inside(top, left, height, width, images):
    """Whether a pixel is in its image's rectangle, [n, h, w, 1]."""
    rows, columns = (tf.range(size, dtype=tf.float32) for size in images.shape[1:3])
    in_rows = (top[:, None] <= rows) & (rows < (top + height)[:, None])
    in_columns = (left[:, None] <= columns) & (columns < (left + width)[:, None])
    return in_rows[:, :, None, None] & in_columns[:, None, :, None]


def window(height, width, images, draws):
    """`inside` a rectangle around a pixel that is drawn over the whole image."""
    middle = [tf.cast(draws.uniform(low=0, high=size, dtype=tf.int32), tf.float32) for size in images.shape[1:3]]
    return inside(middle[0] - height // 2, middle[1] - width // 2, height, width, images)


def sides(drawn, area, scale, ratio):
    """Two sides of a share of the `area`: uniform in `scale`, the first over the second log-uniform in `ratio`."""
    part = area * (scale[0] + (scale[1] - scale[0]) * drawn[..., 0])
    over = tf.exp(log(ratio[0]) + (log(ratio[1]) - log(ratio[0])) * drawn[..., 1])
    return tf.round(tf.sqrt(part * over)), tf.round(tf.sqrt(part / over))


def first(fits, values):
    """The first of each row's values that fits."""
    index = tf.argmax(tf.cast(fits, tf.int32), axis=-1)
    return tf.gather(values, index, axis=-1, batch_dims=fits.shape.rank - 1)
