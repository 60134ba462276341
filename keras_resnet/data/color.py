"""Colours changed: Krizhevsky's shift of a whole image, and the operations of PIL that RandAugment draws from."""

import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.draws import per_image
from keras_resnet.data.rectangles import inside

EIGENVALUES = (0.2175, 0.0188, 0.0045)

EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def color(images, labels, draws, stddev=0.1):
    """[p1, p2, p3][a1 l1, a2 l2, a3 l3] added to every pixel, p and l of ImageNet: Krizhevsky et al. 2012, 4.1.

    The sum is not clipped to 0...255, and is for RGB only.
    """
    expect(images.shape[-1] == 3, "images", "RGB for the augmentation 'color'", tuple(images.shape))
    shift = tf.matmul(draws.normal(3, stddev=stddev) * EIGENVALUES, EIGENVECTORS, transpose_b=True) * 255
    return images + shift[:, None, None, :], labels


def blend(degenerate, images, strength):
    """The image's difference from a degenerate one, 1 + strength times as large."""
    return tf.clip_by_value(degenerate + per_image(1 + strength) * (images - degenerate), 0.0, 255.0)


def grey(images):
    """The luma of ITU-R 601, [n, h, w, 1]."""
    weights = (0.299, 0.587, 0.114) if images.shape[-1] == 3 else (1.0,)
    return tf.reduce_sum(images * weights, -1, keepdims=True)


def mean_grey(images):
    """Of each image, [n, 1, 1, 1]."""
    return tf.reduce_mean(grey(images), (1, 2, 3), keepdims=True)


def smooth(images):
    """A 3x3 mean with weight 5 in the middle, the border as it is (PIL's ImageFilter.SMOOTH)."""
    height, width, channels = images.shape[1:]
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]])[:, :, None, None] / 13
    smoothed = tf.nn.depthwise_conv2d(images, tf.tile(kernel, (1, 1, channels, 1)), (1, 1, 1, 1), "SAME")
    one = tf.ones(tf.shape(images)[:1])
    return tf.where(inside(one, one, one * (height - 2), one * (width - 2), images), smoothed, images)


def posterize(images, bits):
    """The highest bits of every value."""
    step = per_image(2 ** (8 - bits))
    return step * tf.floor(images / step)


def solarize(images, threshold):
    """Values from the threshold on inverted."""
    return tf.where(images >= per_image(threshold), 255 - images, images)


def autocontrast(images, _):
    """Each channel stretched to 0...255, unless it is constant."""
    least, greatest = (reduce(images, (1, 2), keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    return tf.where(greatest > least, 255 * tf.math.divide_no_nan(images - least, greatest - least), images)


def equalize(images, _):
    """Each channel's histogram flattened, as far as whole bins allow (PIL's ImageOps.equalize)."""
    _, height, width, channels = images.shape
    values = tf.reshape(tf.transpose(tf.cast(images, tf.int32), (0, 3, 1, 2)), (-1, height * width))
    counts = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
    greatest = tf.reduce_max(values, 1, keepdims=True)
    step = (height * width - tf.reduce_sum(tf.cast(values == greatest, tf.int32), 1, keepdims=True)) // 255
    table = (tf.cumsum(counts, 1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    equal = tf.reshape(tf.gather(table, values, batch_dims=1), (-1, channels, height, width))
    return tf.cast(tf.transpose(equal, (0, 2, 3, 1)), tf.float32)
