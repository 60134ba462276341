"""The grouped convolution of ResNeXt, as fast on CPUs as its arithmetic allows."""

import keras
from keras import layers, ops

PIECE = 16  # channels: fewer are too narrow for the CPU's registers, more multiply too many zeros (benchmarks/)


@keras.saving.register_keras_serializable("keras_resnet")
class GroupedConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` with `groups`: same arguments, weights and results.

    On a CPU, neighbouring groups are joined to pieces of about 16 channels, each a dense convolution whose kernel has
    the groups' kernels on its diagonal and zeros elsewhere. TensorFlow has no grouped kernel for CPUs, and Keras
    compiles one that trains a hundred times slower. Elsewhere the backend's own kernel runs.

    >>> import keras, keras_resnet
    >>> x = keras.random.normal((1, 8, 8, 32))
    >>> keras_resnet.GroupedConv2D(64, 3, groups=8, padding="same")(x).shape
    TensorShape([1, 8, 8, 64])
    """

    def convolution_op(self, inputs, kernel):
        if self.groups == 1 or self.data_format == "channels_first" or not on_cpu():
            return native(self, inputs, kernel)
        pieces = self.groups // joined(self.groups, kernel.shape[2])
        inputs, kernels = ops.split(inputs, pieces, axis=-1), ops.split(kernel, pieces, axis=-1)
        return ops.concatenate([
            ops.conv(x, block_diagonal(k, self.groups // pieces), list(self.strides), self.padding,
                     dilation_rate=self.dilation_rate)
            for x, k in zip(inputs, kernels, strict=True)
        ], axis=-1)  # fmt: skip

    def stock(self):
        return layers.Conv2D.from_config(self.get_config())


def joined(groups: int, channels: int) -> int:
    """How many groups of that many channels make a piece: the most that divide them without exceeding it."""
    return max(
        count for count in range(1, groups + 1) if groups % count == 0 and count * channels <= max(PIECE, channels)
    )


def block_diagonal(kernel, groups: int):
    """[height, width, channels of a group, filters] -> [height, width, channels of all groups, filters]"""
    if groups == 1:
        return kernel
    height, width, channels, filters = kernel.shape
    blocks = ops.reshape(kernel, (height, width, 1, channels, groups, filters // groups))
    diagonal = ops.reshape(ops.eye(groups, dtype=kernel.dtype), (1, 1, groups, 1, groups, 1))
    return ops.reshape(blocks * diagonal, (height, width, groups * channels, filters))


def native(layer: layers.Conv2D, inputs, kernel):
    """The backend's kernel, on TensorFlow without the XLA-only function into which Keras wraps it."""
    if keras.backend.backend() != "tensorflow":
        return layers.Conv2D.convolution_op(layer, inputs, kernel)
    import tensorflow as tf

    layout = "NHWC" if layer.data_format == "channels_last" else "NCHW"
    return tf.nn.convolution(
        inputs, kernel, list(layer.strides), layer.padding.upper(), layout, list(layer.dilation_rate)
    )


def on_cpu() -> bool:
    """Asked without running anything: a distribution strategy may come after."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.config.list_physical_devices("GPU")
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False
