"""A network small enough to export in seconds."""

import keras

from keras_resnet import Preprocessing, ResNetConfig, resnet
from keras_resnet.modelcard import Card, attach

PREPROCESSING = Preprocessing((20.0,), (90.0,)).sized(12, 12, share=0.75)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TINY = ResNetConfig(stages=((8,), (16,)), stem_filters=8)


def network(shape=(12, 12, 1), activation=None, row=TINY, **facts):
    """For the digits. The facts are fields of its card."""
    keras.utils.set_random_seed(0)
    model = resnet(row, input_shape=shape, classes=10, classifier_activation=activation)
    facts = {"preprocessing": PREPROCESSING, "class_names": NAMES} | facts
    attach(model, Card(network="tiny", config={}, input_shape=shape, **facts))
    return model
