"""Batch normalization that trains by TensorFlow's fused kernels."""

import keras
from keras import layers


class BatchNormalization(layers.BatchNormalization):
    """`keras.layers.BatchNormalization`: same arguments, weights and results, and the same in a file.

    Keras 3 writes the norm of a batch out in some ten operations, each of which reads or writes all activations once
    more, and its gradient in as many. TensorFlow has one kernel for each, on every device (docs/benchmarks.md).
    """

    __module__ = "keras.layers"  # a saved network is of stock layers, and loads where this package is not

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and self.has_kernel(inputs)):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        none = tf.constant([], tf.float32)  # no statistics but the batch's
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=self.gamma, offset=self.beta, mean=none, variance=none, epsilon=self.epsilon,
            is_training=True,
        )  # fmt: skip
        values = tf.cast(tf.size(inputs, tf.int64) // inputs.shape[-1], tf.float32)
        variance *= (values - 1) / values  # the kernel's is the unbiased one, Keras' moves by the biased one
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return normalized

    def has_kernel(self, inputs) -> bool:
        """Of images, channels last, on one device."""
        return (
            keras.backend.backend() == "tensorflow"
            and self.axis in (3, -1)
            and len(inputs.shape) == 4
            and keras.backend.standardize_dtype(inputs.dtype) in ("float32", "bfloat16", "float16")
            and self.variable_dtype == "float32"
            and self.scale
            and self.center
            and not (self.synchronized or self.renorm)
        )

    def __reduce__(self):  # pickle would look for this class under its module's name
        return layers.BatchNormalization._unpickle_model, super().__reduce__()[1]

    def stock(self):
        return layers.BatchNormalization.from_config(self.get_config())
