"""One straight column from a source to batches: shuffle, repeat, batch, and only then augment, batch by batch."""

import tensorflow as tf

from keras_resnet.data.sources import Arrays


def training_batches(arrays: Arrays, batch_size: int, seed: int, padding: int) -> tf.data.Dataset:
    """Endless batches (float32 [batch_size, H, W, C] in 0 to 255, int32 [batch_size]), every draw a function of seed.

    Args:
        arrays: Images, uint8 [N, H, W, C], and labels.
        batch_size: At most N; a shorter last batch is not left over but filled from the next epoch.
        seed: Of the order and of the augmentation.
        padding: Pixels by which an image is moved at random: see `pad_crop`.
    """
    batches = tf.data.Dataset.from_tensor_slices(arrays)
    batches = batches.shuffle(len(arrays[1]), seed).repeat().batch(batch_size, drop_remainder=True)
    batches = batches.enumerate().map(
        lambda step, batch: (pad_crop(batch[0], padding, (seed, step)), batch[1]), tf.data.AUTOTUNE, deterministic=True
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def evaluation_batches(arrays: Arrays, batch_size: int) -> tf.data.Dataset:
    """Every example once, in order."""
    batches = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)
    return batches.map(lambda images, labels: (tf.cast(images, tf.float32), labels)).prefetch(tf.data.AUTOTUNE)


def pad_crop(images, padding: int, seed):
    """Each image moved by up to `padding` pixels up or down, left or right, zeros behind it: He et al. 2015, 4.2."""
    count, height, width, _ = images.shape
    images = tf.pad(tf.cast(images, tf.float32), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    starts = tf.random.stateless_uniform((count, 2), seed, 0, 2 * padding + 1, tf.int32)
    images = tf.gather(images, starts[:, :1] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(images, starts[:, 1:] + tf.range(width), axis=2, batch_dims=1)
