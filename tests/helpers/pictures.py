"""Images to augment, and what their distributions are compared by."""

import io

import numpy as np
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image

from keras_resnet.data.augment import AUGMENTATIONS
from keras_resnet.data.draws import Draws

MANY = 4096  # small images: a mean over them is within 5 / sqrt(4096) = 0.08 of its value, in standard deviations


def pictures(count, height=32, width=32, channels=3, seed=0):
    """Whole numbers, smooth enough to look like photographs, no channel over the full range."""
    noise = np.random.default_rng(seed).uniform(size=(count, height, width, channels))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0), mode="wrap")
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return np.round(20 + 200 * (smooth - low) / (high - low)).astype("float32")


def one_hot(count, classes=None):
    return np.eye(classes or count, dtype="float32")[np.arange(count) % (classes or count)]


def apply(name, images, labels=None, step=0, **parameters):
    """(images, labels) of one augmentation, as arrays."""
    labels = one_hot(len(images)) if labels is None else labels
    draws = Draws(0, step, len(images))
    return [np.asarray(tensor) for tensor in AUGMENTATIONS[name](tf.constant(images), labels, draws, **parameters)]


def coordinates(count, size):
    """Images whose first channel is x and second is y, from the middle: a linear warp can be read off its result."""
    middle = np.arange(size, dtype="float32") - (size - 1) / 2
    grid = np.stack(np.meshgrid(middle, middle), -1)
    return np.broadcast_to(grid, (count, size, size, 2)).astype("float32")


def is_uniform(values, low, high):
    """Kolmogorov and Smirnov do not object."""
    return scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3


def alike(ours, theirs):
    """Two samples [many, ...] have the same mean and second moment, to 6 standard errors, position by position."""
    for power in (1, 2):
        a, b = (np.asarray(values, "float64") ** power for values in (ours, theirs))
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b)) + 1e-6
        np.testing.assert_array_less(np.abs(a.mean(0) - b.mean(0)), 6 * error)


def shows(images, expected, tolerance=1.0, share=1.0):
    """At least that share of the pixels is within the tolerance."""
    close = np.abs(np.asarray(images, "float32") - np.asarray(expected, "float32")) <= tolerance
    assert close.mean() >= share, f"{close.mean()} of the pixels"


def erased_boxes(erased):
    """(top, left, height, width) of every image's zeros, of which none is outside the rectangle."""
    hit = np.all(erased == 0, -1)
    rows, columns = hit.any(2), hit.any(1)
    np.testing.assert_array_equal(hit, rows[:, :, None] & columns[:, None])
    spans = [np.stack([mask.argmax(1), mask.sum(1)]) for mask in (rows, columns)]
    for mask, (start, length) in zip((rows, columns), spans, strict=True):
        places = np.arange(mask.shape[1])
        np.testing.assert_array_equal(mask, (start[:, None] <= places) & (places < (start + length)[:, None]))
    return np.stack([spans[0][0], spans[1][0], spans[0][1], spans[1][1]], 1)


def boxes(function, shape, count):
    """int [count, 4], inside a `Dataset.map`."""
    numbers = tf.data.Dataset.range(count).map(lambda number: tf.stack(function(shape, tf.stack([0, number]))))
    return next(iter(numbers.batch(count))).numpy()


def encoded(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image, "uint8").squeeze()).save(buffer, kind)
    return buffer.getvalue()
