"""Networks small enough to compute by hand what is found in them, and images for them."""

import keras
import numpy as np
import tensorflow as tf

from keras_resnet import DenseNetConfig, FractalNetConfig, ResNetConfig, densenet, fractalnet, resnet
from keras_resnet.analysis.gates import blocks, gated, gates

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3)).astype("uint8")
DATA = ((PIXELS, np.arange(50) % 3),) * 2
READING = dict(preprocessing="unit", batch_size=20)
SHAPE = (8, 8, 3)

ROWS = {
    "resnet": dict(stages=((4, 4), (8, 8)), shortcut="A"),
    "plain": dict(stages=((4, 4), (8, 8)), shortcut="none"),
    "bottleneck in groups, pre-activation": dict(
        stages=((8,), (16, 16)), branch="bottleneck", order="pre", groups=2, inner=0.5
    ),
    "pyramid": dict(stages=((5, 6), (7, 8)), shortcut="pyramid", order="pyramid", drop_path=0.5),
    "two branches, gated shortcuts": dict(stages=((4,), (8,)), shortcut="exclusive_gating", branches=2),
}


def shuffled(model):
    """With norms, too, that do something."""
    random = np.random.default_rng(1)
    for variable in model.weights:
        if len(variable.shape) == 1 and variable.dtype == "float32":
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


def network(classifier_activation="softmax", **changes):
    keras.utils.set_random_seed(0)
    row = ResNetConfig(**{"stem_filters": 4, **ROWS["resnet"], **changes})
    return shuffled(resnet(row, classes=3, input_shape=SHAPE, classifier_activation=classifier_activation))


def dense():
    row = DenseNetConfig(stages=(2, 2), growth=4, stem_filters=4)
    return shuffled(densenet(row, classes=3, input_shape=SHAPE))


def batch():
    return tf.constant(PIXELS / 255, tf.float32), tf.one_hot(DATA[0][1], 3)


def under(model, forward, backward=None):
    with gated(blocks(model), gates(forward, forward if backward is None else backward)):
        return np.asarray(model(batch()[0], training=False))


def gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def fractal():
    return fractalnet(FractalNetConfig(stages=(4, 8), columns=2), classes=3, input_shape=SHAPE)
