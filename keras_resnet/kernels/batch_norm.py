"""Batch normalization that trains by TensorFlow's fused kernels."""

from typing import Any

import keras
from keras import layers

KERNEL_DTYPES = ("float32", "bfloat16", "float16")


def fused(norm: layers.BatchNormalization) -> layers.BatchNormalization:
    """The norm itself, in place: its training calls TensorFlow's kernel, where that has one. Same weights and results.

    Keras 3 writes the norm of a batch out in some ten operations, each of which reads or writes all activations once
    more, and its gradient in as many. TensorFlow has one kernel for each, on every device (docs/benchmarks.md).

    It is the instance that computes otherwise, as `keras_resnet.rematerialize` has it, and not a class of ours: so a
    file of it, or of any model around it, is one of stock layers. A copy made from a config computes as Keras does.
    """
    call_of_keras = norm.call

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if training and norm.trainable and mask is None and has_kernel(norm, inputs):
            return normalized(norm, inputs)
        return call_of_keras(inputs, training=training, mask=mask)

    norm.call = call
    return norm


def has_kernel(norm: layers.BatchNormalization, inputs: Any) -> bool:
    """Of images, channels last, on one device."""
    return (
        keras.backend.backend() == "tensorflow"
        and norm.axis in (3, -1)
        and len(inputs.shape) == 4
        and keras.backend.standardize_dtype(inputs.dtype) in KERNEL_DTYPES
        and norm.variable_dtype == "float32"
        and norm.scale
        and norm.center
        and not (norm.synchronized or getattr(norm, "renorm", False))  # which older versions of Keras do not have
    )


def normalized(norm: layers.BatchNormalization, inputs: Any) -> Any:
    """[N, H, W, C] by the mean and variance of the batch, which the norm's moving ones move towards."""
    import tensorflow as tf

    none = tf.constant([], tf.float32)  # no statistics but the batch's
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=norm.gamma,
        offset=norm.beta,
        mean=none,
        variance=none,
        epsilon=norm.epsilon,
        is_training=True,
    )
    values = tf.cast(tf.size(inputs, tf.int64) // inputs.shape[-1], tf.float32)
    variance *= (values - 1) / values  # the kernel's is the unbiased one, Keras' moves by the biased one
    for moving, batch in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(moving * norm.momentum + batch * (1 - norm.momentum))
    return y
