"""One straight column from a split to batches, in which every draw is a function of (seed, position) alone.

So a run starts at any step as if it had come there, and several workers share the global batches of one.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from keras_resnet.data.augment import augment
from keras_resnet.data.draws import Draws
from keras_resnet.data.sources import Examples, View

FOREVER = tf.int64.max


def training_batches(
    examples: Examples,
    classes: int,
    batch_size: int,
    seed: int,
    augmentations: Mapping[str, Any] = {},
    *,
    view: View | None = None,
    start: int = 0,
    worker: int = 0,
    workers: int = 1,
) -> tf.data.Dataset:
    """Endless batches (float32 [n, H, W, C] in 0 to 255, one-hot float32 [n, classes]), a worker's part of each.

    Args:
        examples: The split; every epoch has another order of all of it, and a batch may span two epochs.
        classes: How many there are.
        batch_size: Of the global batch: all workers' parts together.
        seed: Of the order and of the augmentation.
        augmentations: Of `keras_resnet.data.AUGMENTATIONS`, in their order.
        view: What to make of each image before it joins a batch, such as a random crop of a file's.
        start: The step to start at, as if those before it had been taken.
        worker: Which of the `workers` this process is; each has the same number of rows of every batch.
        workers: Among whom a batch is divided.
    """
    part = batch_size // workers
    first, rows = start * batch_size, slice(worker * part, (worker + 1) * part)
    epochs = tf.data.Dataset.range(first // len(examples), FOREVER)
    numbers = epochs.flat_map(lambda epoch: shuffled(len(examples), seed, epoch)).skip(first % len(examples))
    batched = numbers.enumerate(first).batch(batch_size)
    mine = batched.map(lambda positions, numbers: (positions[rows], numbers[rows])).unbatch()
    batches = examples.batched(mine, part, complete=True, view=view).enumerate(start)

    def augmented(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        draws = Draws(seed, step, batch_size, rows)
        return augment(tf.cast(images, tf.float32), tf.one_hot(labels, classes), draws, augmentations)

    return batches.map(augmented, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    examples: Examples,
    classes: int,
    batch_size: int,
    *,
    view: View | None = None,
    worker: int = 0,
    workers: int = 1,
) -> tf.data.Dataset:
    """Every example once, in order, each worker every `workers`-th: the last batch may be smaller."""
    numbers = tf.data.Dataset.range(len(examples)).enumerate().shard(workers, worker)
    batches = examples.batched(numbers, batch_size // workers, complete=False, view=view)
    return batches.map(
        lambda images, labels: (tf.cast(images, tf.float32), tf.one_hot(labels, classes)), tf.data.AUTOTUNE
    ).prefetch(tf.data.AUTOTUNE)


def shuffled(count: int, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """The numbers up to `count` in the order of that epoch."""
    order = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), (seed, epoch))
    return tf.data.Dataset.from_tensor_slices(order)
