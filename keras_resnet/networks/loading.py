"""Our files, loaded with our kernels."""

from functools import partial
from pathlib import Path

import keras
from keras import layers

from keras_resnet.files import expect_model_file
from keras_resnet.graph.skipping import skip_dropped_paths
from keras_resnet.graph.tracing import walk
from keras_resnet.kernels import onednn
from keras_resnet.kernels.batch_norm import fused
from keras_resnet.kernels.grouped_conv import GroupedConv2D, grouped_convolution
from keras_resnet.modelcard import attach, card
from keras_resnet.networks.fractalnet import DrawColumns, Join

OURS = (DrawColumns, GroupedConv2D, Join)  # Keras finds them in a file once they are imported


def load_model(path: str | Path) -> keras.Model:
    """As `keras.models.load_model`, with the model's card, and with our kernels for norms and grouped convolutions.

    The layers are those of the file. They compute the same, and train faster.

    Raises:
        ValueError: Where the path is not that of a `.keras` file.
    """
    expect_model_file(path)
    onednn.hint()
    known, model = card(path), skip_dropped_paths(with_our_kernels(keras.models.load_model(path)))
    if known:
        attach(model, known)
    return model


def with_our_kernels(model: keras.Model) -> keras.Model:
    """The model itself: Keras' norms and grouped convolutions in it compute by our kernels."""
    for layer in walk(model):
        if type(layer) is layers.BatchNormalization:
            fused(layer)
        elif type(layer) is layers.Conv2D and layer.groups > 1:
            layer.convolution_op = partial(grouped_convolution, layer)
    return model
