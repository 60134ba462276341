"""Our side of `torch_reference.py`: its records, the rows of its networks, and their weights in a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_resnet import ResNetConfig

with np.load(Path(__file__).with_name("torch_reference.npz")) as file:
    REFERENCE = dict(file)

BASIC = ResNetConfig(stages=((4, 4), (6,), (10,)), stem_filters=4)
BOTTLENECK = ResNetConfig(stages=((8,), (8, 8), (12,)), stem="imagenet", stem_filters=4, branch="bottleneck")
DILATED = ResNetConfig(stages=((4,), (6,), (8, 8), (10, 10)), stem="imagenet", stem_filters=4, output_stride=8)

NETWORKS = {
    "basic_a": replace(BASIC, shortcut="A"),
    "basic_b": BASIC,
    "preactivation": replace(BASIC, order="pre"),
    "wide": replace(BASIC, stages=((8,), (10, 10)), order="pre", dropout=0.3),
    "pyramid": replace(BASIC, stages=((5, 6), (8, 9)), order="pyramid", shortcut="pyramid"),
    "resnext_cifar": replace(BASIC, stages=((8,), (16, 16)), branch="bottleneck", inner=1 / 2, groups=4),
    "bottleneck_3x3": BOTTLENECK,
    "bottleneck_1x1": replace(BOTTLENECK, stride_in="1x1"),
    "resnext": replace(BOTTLENECK, inner=1 / 2, groups=2),
    "squeeze_and_excitation": replace(BOTTLENECK, se_ratio=4),
    "resnet_d": replace(BOTTLENECK, stem="deep", shortcut="D"),
    "resnet_rs": replace(BOTTLENECK, stem="deep_strided", shortcut="D", se_ratio=4),
    "preactivation_imagenet": replace(BOTTLENECK, order="pre", inner=1 / 2),
    "preactivation_bare": replace(BOTTLENECK, order="pre", inner=1 / 2, stem="imagenet_bare"),
    "dilated_basic": DILATED,
    "dilated_bottleneck_3x3": replace(DILATED, branch="bottleneck", inner=1 / 2),
    "dilated_bottleneck_1x1": replace(DILATED, branch="bottleneck", inner=1 / 2, stride_in="1x1"),
}


def assert_equal(actual, expected):
    """To 1e-5 of the largest value."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def variables(model):
    return {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.weights}


def load(model, record):
    """Weights by name: those of the record, no fewer and no more."""
    names = [name for name in record.dtype.names if "/" in name]
    assert sorted(variables(model)) == sorted(names)
    for name, variable in variables(model).items():
        variable.assign(record[name])
    return model
