"""Our files, loaded with our kernels."""

from pathlib import Path

import keras
from keras import layers

from keras_resnet.files import expect_model_file
from keras_resnet.graph.tracing import walk
from keras_resnet.kernels import onednn
from keras_resnet.kernels.batch_norm import BatchNormalization
from keras_resnet.kernels.grouped_conv import GroupedConv2D
from keras_resnet.modelcard import attach, card
from keras_resnet.networks.fractalnet import DrawColumns, Join

OURS = (DrawColumns, GroupedConv2D, Join)  # Keras finds them in a file once they are imported


def load_model(path: str | Path) -> keras.Model:
    """As `keras.models.load_model`, with the model's card, and with our norms and grouped convolutions for Keras'.

    They compute the same, and train faster. `portable` is the way back, for a file that loads without this package.

    Raises:
        ValueError: Where the path is not that of a `.keras` file.
    """
    expect_model_file(path)
    onednn.hint()
    known, model = card(path), with_our_kernels(keras.models.load_model(path))
    if known:
        attach(model, known)
    return model


def with_our_kernels(model: keras.Model) -> keras.Model:
    """Keras' norms and grouped convolutions become ours, in place: these have no state of their own."""
    for layer in walk(model):
        if type(layer) is layers.BatchNormalization:
            layer.__class__ = BatchNormalization
        elif type(layer) is layers.Conv2D and layer.groups > 1:
            layer.__class__ = GroupedConv2D
    return model
