"""Small classifiers, data to train them on, and callbacks that interfere."""

import csv
from dataclasses import replace

import keras
import numpy as np

import keras_resnet
from keras_resnet.data import digits
from keras_resnet.modelcard import Card, Preprocessing, attach

SOURCE = digits()
FEW = replace(SOURCE, train=SOURCE.train[np.arange(64)])
READ = Preprocessing(FEW.mean, FEW.std).sized(8, 8)


def linear(shape=(8, 8, 1), classes=10, activation=None, **known):
    """The cheapest classifier: what is no matter of layers is as true of it. With a card where something is known."""
    keras.utils.set_random_seed(0)
    images = keras.Input(shape)
    predictions = keras.layers.Dense(classes, activation, name="predictions")
    model = keras.Model(images, predictions(keras.layers.Flatten()(images)))
    if known:
        attach(model, Card(network="linear", config={}, input_shape=shape, **known))
    return model


def normed():
    """With statistics that are trained, and evaluated."""
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 1))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8)(keras.layers.Flatten()(images)))
    return keras.Model(images, keras.layers.Dense(10, name="predictions")(hidden))


def tiny(**changes):
    """A residual network."""
    keras.utils.set_random_seed(0)
    config = keras_resnet.ResNetConfig(stages=((4,), (8,)), stem_filters=4)
    return keras_resnet.resnet(config, **{"input_shape": (8, 8, 1), "classifier_activation": None} | changes)


def log(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


class Stop(keras.callbacks.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.after = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 == self.after


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


class Poison(keras.callbacks.Callback):
    """Multiplies the classifier before that epoch."""

    def __init__(self, epoch, factor=np.nan):
        super().__init__()
        self.poisoned, self.factor = epoch, factor

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.poisoned:
            kernel = self.model.get_layer("predictions").kernel
            kernel.assign(kernel * self.factor)
