"""The primitives: what a convolution, a norm and a dropped path are in every network here."""

from typing import Any

import keras
from keras import KerasTensor, layers

from keras_resnet.kernels.batch_norm import fused
from keras_resnet.kernels.grouped_conv import GroupedConv2D
from keras_resnet.networks import he_normal

BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}  # the papers' and torch's; Keras' own are 0.99 and 1e-3


def conv(
    x: KerasTensor, filters: int, kernel_size: int, name: str, *, stride: int = 1, dilation: int = 1, **settings: Any
) -> KerasTensor:
    """A convolution without bias, padded alike on all sides: with strides, TensorFlow's "same" would pad one only."""
    settings = {"use_bias": False, "kernel_initializer": "he_normal", **settings}
    padding = "same"
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D((kernel_size - 1) // 2 * dilation, name=f"{name}_pad")(x)
        padding = "valid"
    kind = GroupedConv2D if settings.get("groups", 1) > 1 else layers.Conv2D
    layer = kind(filters, kernel_size, stride, padding, dilation_rate=dilation, name=f"{name}_conv", **settings)
    return he_normal.called(layer, x)


def identity(x: KerasTensor, name: str, gamma: str = "ones") -> KerasTensor:
    return x


def norm(x: KerasTensor, name: str, gamma: str = "ones") -> KerasTensor:
    return fused(layers.BatchNormalization(**BATCH_NORM, gamma_initializer=gamma, name=f"{name}_norm"))(x)


def relu(x: KerasTensor, name: str, gamma: str = "ones") -> KerasTensor:
    return layers.ReLU(name=f"{name}_relu")(x)


def norm_relu(x: KerasTensor, name: str, gamma: str = "ones") -> KerasTensor:
    return relu(norm(x, name, gamma), name)


def max_pool(x: KerasTensor, name: str, before: int = 1) -> KerasTensor:
    """3x3, stride 2, behind a relu: there a border of zeros is as good as one of minus infinity."""
    x = layers.ZeroPadding2D(((before, 1), (before, 1)), name=f"{name}_pool_pad")(x)
    return layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)


def max_pool_signed(x: KerasTensor, name: str) -> KerasTensor:
    """`max_pool` for values of either sign, with a border of minus infinity."""
    x = keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=float("-inf"))
    return layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)


def average_pool(x: KerasTensor, stride: int, name: str) -> KerasTensor:
    """2x2 and "same": an odd border is averaged over the pixels that are there."""
    return layers.AveragePooling2D(2, stride, "same", name=f"{name}_pool")(x)


def pad_channels(x: KerasTensor, before: int, after: int, name: str) -> KerasTensor:
    """Zero channels around those of x: padding of a NHWC tensor's last two axes, whatever Keras calls them."""
    padding = ((0, 0), (before, after))
    return layers.ZeroPadding2D(padding, data_format="channels_first", name=f"{name}_pad")(x) if before + after else x


def dropout(x: KerasTensor, rate: float, name: str) -> KerasTensor:
    return layers.Dropout(rate, name=f"{name}_dropout")(x) if rate else x


def drop_path(x: KerasTensor, rate: float, name: str, per: str = "sample") -> KerasTensor:
    """Whole samples, or the whole batch, kept and scaled by 1 / (1 - rate), or dropped (Huang et al. 2016)."""
    drawn = {"sample": (None, 1, 1, 1), "batch": (1, 1, 1, 1)}[per]
    return layers.Dropout(rate, noise_shape=drawn, name=f"{name}_drop_path")(x) if rate else x


def squeeze_excite(x: KerasTensor, ratio: int, name: str) -> KerasTensor:
    """x * sigmoid(W2 relu(W1 pool(x))), as in Hu et al. 2018, equations 2 to 4; the squeeze is 1/ratio as wide."""
    if not ratio:
        return x
    filters = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_pool")(x)
    gate = layers.Dense(max(1, filters // ratio), "relu", name=f"{name}_se_squeeze")(gate)
    gate = layers.Dense(filters, "sigmoid", name=f"{name}_se_excite")(gate)
    return layers.Multiply(name=f"{name}_se_scale")([x, gate])


def classifier(x: KerasTensor, pool: type[layers.Layer], rate: float, classes: int, activation: Any) -> KerasTensor:
    """A global pool, dropout, and a dense layer that computes in full precision: softmax in half loses accuracy."""
    x = dropout(pool(name="head_pool")(x), rate, "head")
    whole = keras.config.dtype_policy().variable_dtype
    return layers.Dense(classes, activation, dtype=whole, name="predictions")(x)
