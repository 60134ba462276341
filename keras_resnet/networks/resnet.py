"""A residual network: stem, a loop over the plan's blocks, and what the order puts before the head."""

from dataclasses import replace
from itertools import groupby
from typing import Unpack

import keras
from keras import KerasTensor, layers

from keras_resnet.networks.arguments import Interface, expect_row
from keras_resnet.networks.blocks import ORDERS, STEMS, residual_block
from keras_resnet.networks.config import LONGEST_CHAIN, Block, ResNetConfig, plan
from keras_resnet.networks.zoo import build

HEAD_POOL = layers.GlobalAveragePooling2D
PART = 50  # blocks of a nested model


def resnet(config: ResNetConfig, *, name: str = "resnet", **interface: Unpack[Interface]) -> keras.Model:
    """The network of a row; `interface` is that of `keras_resnet.build`, and so are its errors.

    >>> import keras_resnet
    >>> keras_resnet.resnet(keras_resnet.ResNetConfig(stages=((16, 16), (32, 32)))).output.shape
    (None, 10)
    """
    expect_row(config, ResNetConfig)
    return build(config, name=name, **interface)


def trunk(x: KerasTensor, config: ResNetConfig) -> KerasTensor:
    x = STEMS[config.stem](x, config)
    for part in parts(config):
        x = nest(x, part, config) if len(part) > 1 else residual_block(x, part[0], config)
    return ORDERS[config.order].head(x, "head")


def parts(config: ResNetConfig) -> list[list[Block]]:
    """The plan's blocks one by one; of a network too deep for Keras, each stage's first, then up to 50 at a time."""
    blocks = list(plan(config))
    if len(blocks) <= PART or len(blocks) * chain(blocks[-1], config) <= LONGEST_CHAIN:
        return [[block] for block in blocks]
    stages = [list(stage) for _, stage in groupby(blocks, lambda block: block.name.split("_")[0])]
    return [part for first, *rest in stages for part in ([first], *in_parts(rest))]


def in_parts(blocks: list[Block]) -> list[list[Block]]:
    return [blocks[start : start + PART] for start in range(0, len(blocks), PART)]


def nest(x: KerasTensor, blocks: list[Block], config: ResNetConfig) -> KerasTensor:
    name = f"{blocks[0].name}_to_{blocks[-1].name.split('block')[1]}"
    inside = y = keras.Input((None, None, x.shape[-1]), name=f"{name}_in")
    for block in blocks:
        y = residual_block(y, block, config)
    return keras.Model(inside, y, name=name)(x)


def chain(block: Block, config: ResNetConfig) -> int:
    """How many layers such a block, its shape unchanged, adds to the path along first inputs."""
    x = keras.Input((8, 8, block.filters))
    y = residual_block(x, replace(block, step=1, stride=1, dilation=1), config)
    maker = {id(layer.output): layer for layer in keras.Model(x, y).layers}
    links = 0
    while y is not x:
        y, links = keras.tree.flatten(maker[id(y)].input)[0], links + 1
    return links
