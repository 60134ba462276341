"""The gradients that reach a network's blocks, with and without shortcuts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.analysis.gates import Block, blocks, gated, gates, logits, opened
from keras_resnet.analysis.measuring import columns_text, compiled, mean_over
from keras_resnet.analysis.samples import Reading, sample


class Gradients(NamedTuple):
    names: tuple[str, ...]  # of the blocks
    norms: np.ndarray  # float64 [blocks]
    branches_alone: np.ndarray  # the same without what the shortcuts carry

    def __str__(self) -> str:
        return columns_text(self.names, self.norms, self.branches_alone)


def block_gradients(model: keras.Model, data: Any, **reading: Unpack[Reading]) -> Gradients:
    """Norms of the loss's gradient with respect to each block's input, with and without shortcuts.

    The loss is an image's cross-entropy, the norm is the L2 norm of an image's gradient, and the mean is taken over the
    images. Without shortcuts means: the activations are the network's own, and the gradient flows back through the
    branches alone, which is Veit et al.'s longest path. What training without shortcuts makes of a network, its
    plain twin shows. Batch norm uses its moving statistics.

    Args:
        model: A residual, plain or dense network of this package, also a loaded or nested one.
        data: As `keras_resnet.load_data` takes it.
        reading: As in `sample`: split, images, preprocessing, batch_size.

    Returns:
        Names and norms, in the network's order; of a plain network both norms are the same.

    Raises:
        ValueError: If the network has no blocks, or an argument is invalid.
    """
    batches, parts = sample(model, data, **reading), blocks(model)
    norms, forward, alone = gradient_norms(model, parts), opened(parts), np.tile([0.0, 1.0], (len(parts), 1))
    means = [mean_over(batches, partial(norms, gates=gates(forward, back)))[1:] for back in (forward, alone)]
    return Gradients(tuple(part.name for part in parts), *means)


def gradient_norms(model: keras.Model, parts: Sequence[Block]) -> Callable:
    """(images, labels, gates) -> [1 + blocks, N]: the norms at the images, and at what each block reads."""

    def norms(images: tf.Tensor, labels: tf.Tensor, gates: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape, gated(parts, gates) as entered, logits(model):
            tape.watch(images)
            outputs = tf.cast(model(images, training=False), tf.float32)
            loss = tf.nn.softmax_cross_entropy_with_logits(labels, outputs)
        inputs = [images, *(entered[part.first][0] for part in parts)]
        gradients = tape.gradient(loss, inputs, unconnected_gradients="zero")
        flat = [tf.reshape(tf.cast(gradient, tf.float32), (tf.shape(gradient)[0], -1)) for gradient in gradients]
        return tf.stack([tf.norm(gradient, axis=1) for gradient in flat])

    return compiled(norms, model, parts)
