"""The grouped convolution of ResNeXt, as fast on CPUs as its arithmetic allows."""

from typing import Any

import keras
from keras import layers, ops

from keras_resnet.kernels.devices import must_run_on_cpu

PIECE = 16  # channels: fewer are too narrow for the CPU's registers, more multiply too many zeros (benchmarks/)


@keras.saving.register_keras_serializable("keras_resnet")
class GroupedConv2D(layers.Conv2D):
    """`keras.layers.Conv2D` with `groups`: same arguments, weights and results.

    On a CPU, neighbouring groups are joined to pieces of about 16 channels, each a dense convolution whose kernel has
    the groups' kernels on its diagonal and zeros elsewhere. TensorFlow's own grouped kernel is slow there and without
    oneDNN has no gradient, and Keras compiles one that trains a hundred times slower. Elsewhere the backend's own
    kernel runs. `keras_resnet.export` writes the pieces also on a GPU; `model.export` writes what runs where it is.

    >>> import keras, keras_resnet
    >>> x = keras.random.normal((1, 8, 8, 32))
    >>> keras_resnet.GroupedConv2D(64, 3, groups=8, padding="same")(x).shape
    TensorShape([1, 8, 8, 64])
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return grouped_convolution(self, inputs, kernel)

    def stock(self) -> layers.Conv2D:
        return layers.Conv2D.from_config(self.get_config())


def grouped_convolution(layer: layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    """inputs [N, H, W, C], kernel [height, width, C / groups, filters]: what the layer's convolution makes of them."""
    if layer.groups == 1 or layer.data_format == "channels_first" or not must_run_on_cpu():
        return native(layer, inputs, kernel)
    pieces = layer.groups // joined(layer.groups, kernel.shape[2])
    parts = zip(ops.split(inputs, pieces, axis=-1), ops.split(kernel, pieces, axis=-1), strict=True)
    return ops.concatenate([dense(layer, x, block_diagonal(k, layer.groups // pieces)) for x, k in parts], axis=-1)


def dense(layer: layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    return ops.conv(inputs, kernel, list(layer.strides), layer.padding, dilation_rate=layer.dilation_rate)


def joined(groups: int, channels: int) -> int:
    """How many groups of that many channels make a piece: the most that divide them without exceeding it."""
    most = max(1, PIECE // channels)
    return max(count for count in range(1, groups + 1) if groups % count == 0 and count <= most)


def block_diagonal(kernel: Any, groups: int) -> Any:
    """[height, width, channels of a group, filters] -> [height, width, channels of all groups, filters]"""
    if groups == 1:
        return kernel
    height, width, channels, filters = kernel.shape
    blocks = ops.reshape(kernel, (height, width, 1, channels, groups, filters // groups))
    diagonal = ops.reshape(ops.eye(groups, dtype=kernel.dtype), (1, 1, groups, 1, groups, 1))
    return ops.reshape(blocks * diagonal, (height, width, groups * channels, filters))


def native(layer: layers.Conv2D, inputs: Any, kernel: Any) -> Any:
    """The backend's kernel, on TensorFlow without the XLA-only function into which Keras wraps it."""
    if keras.backend.backend() != "tensorflow":
        return layers.Conv2D.convolution_op(layer, inputs, kernel)
    import tensorflow as tf

    layout = "NHWC" if layer.data_format == "channels_last" else "NCHW"
    strides, dilations = list(layer.strides), list(layer.dilation_rate)
    return tf.nn.convolution(inputs, kernel, strides, layer.padding.upper(), layout, dilations)
