"""Images mixed with others of their batch, and labels with them."""

import tensorflow as tf

from keras_resnet.data.draws import per_image
from keras_resnet.data.rectangles import window


def mixup(images, labels, draws, alpha=0.2, rate=1.0):
    """w x + (1 - w) x', w of Beta(alpha, alpha), of images and of labels: Zhang et al. 2017.

    Every image has a weight of its own (the authors' code draws one a batch); partners are within the worker's rows.
    """
    weight = tf.where(draws.chosen(rate), draws.beta(alpha), 1.0)
    partner = tf.argsort(draws.uniform())
    return mixed(images, partner, weight), mixed(labels, partner, weight)


def cutmix(images, labels, draws, alpha=1.0, rate=1.0):
    """A window of another image, labels by the areas: Yun et al. 2019, algorithm A1.

    Of the area 1 - w, w of Beta(alpha, alpha), before it is cut off at the border. Every image has a window of its own
    (the authors' code draws one a batch); partners are within the worker's rows.
    """
    height, width = images.shape[1:3]
    half = tf.sqrt(1 - draws.beta(alpha)) / 2
    box = window(2 * tf.floor(half * height), 2 * tf.floor(half * width), images, draws)
    box &= per_image(draws.chosen(rate))
    partner = tf.argsort(draws.uniform())
    kept = 1 - tf.reduce_mean(tf.cast(box, tf.float32), (1, 2, 3))
    return tf.where(box, tf.gather(images, partner), images), mixed(labels, partner, kept)


def mixed(values, partner, weight):
    """weight values + (1 - weight) their partners."""
    weight = tf.reshape(weight, (-1, *[1] * (len(values.shape) - 1)))
    return weight * values + (1 - weight) * tf.gather(values, partner)
