"""DenseNet, whose layers concatenate what residual blocks would sum (Huang et al. 2017)."""

from typing import Unpack

import keras
from keras import KerasTensor, layers

from keras_resnet.networks.arguments import Interface, expect_row
from keras_resnet.networks.families import DenseNetConfig
from keras_resnet.networks.layers import conv, dropout, max_pool, norm_relu
from keras_resnet.networks.zoo import build

HEAD_POOL = layers.GlobalAveragePooling2D


def densenet(config: DenseNetConfig, *, name: str = "densenet", **interface: Unpack[Interface]) -> keras.Model:
    """The network of a row; `interface` is that of `keras_resnet.build`.

    >>> import keras_resnet
    >>> keras_resnet.densenet(keras_resnet.DenseNetConfig(stages=(2, 2), growth=4)).output.shape
    (None, 10)
    """
    expect_row(config, DenseNetConfig)
    return build(config, name=name, **interface)


def trunk(x: KerasTensor, config: DenseNetConfig) -> KerasTensor:
    x = stem(x, config)
    for stage, count in enumerate(config.stages, start=1):
        if stage > 1:
            x = transition(x, config, f"stage{stage}_in")
        for index in range(1, count + 1):
            name = f"stage{stage}_block{index}"
            x = layers.Concatenate(name=f"{name}_concat")([x, dense_layer(x, config, f"{name}_a")])
    return norm_relu(x, "head")


def stem(x: KerasTensor, config: DenseNetConfig) -> KerasTensor:
    if config.stem == "cifar":
        return conv(x, config.stem_filters, 3, "stem")
    return max_pool(norm_relu(conv(x, config.stem_filters, 7, "stem", stride=2), "stem"), "stem")


def dense_layer(x: KerasTensor, config: DenseNetConfig, name: str) -> KerasTensor:
    """H(x) of equation 2: norm-relu-conv, with a 1x1 before the 3x3 in B."""
    x, index = norm_relu(x, f"{name}0"), 1
    if config.bottleneck:
        x = dropout(conv(x, config.bottleneck * config.growth, 1, f"{name}1"), config.dropout, f"{name}1")
        x, index = norm_relu(x, f"{name}1"), 2
    return dropout(conv(x, config.growth, 3, f"{name}{index}"), config.dropout, f"{name}{index}")


def transition(x: KerasTensor, config: DenseNetConfig, name: str) -> KerasTensor:
    filters = max(1, int(x.shape[-1] * config.compression))
    x = dropout(conv(norm_relu(x, name), filters, 1, name), config.dropout, name)
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)
