"""Residual networks for Keras, exact to the published parameter and multiply-add."""

from importlib import import_module

from keras_resnet.kernels import onednn as environment

environment.prepare()  # before anything imports TensorFlow

from keras_resnet import applications
from keras_resnet._version import __version__
from keras_resnet.applications import *  # noqa: F403
from keras_resnet.graph.complexity import Complexity, complexity
from keras_resnet.graph.fold import fold_batch_norm
from keras_resnet.graph.loading import load_model
from keras_resnet.graph.remake import portable
from keras_resnet.graph.remat import rematerialize
from keras_resnet.graph.stages import features, freeze
from keras_resnet.kernels.grouped_conv import GroupedConv2D
from keras_resnet.modelcard import PREPROCESSINGS, Card, Preprocessing, card
from keras_resnet.networks.blocks import ORDERS, SHORTCUTS, STEMS
from keras_resnet.networks.config import ResNetConfig
from keras_resnet.networks.densenet import DenseNetConfig, densenet
from keras_resnet.networks.fractalnet import FractalNetConfig, fractalnet
from keras_resnet.networks.resnet import resnet
from keras_resnet.networks.zoo import NETWORKS, build, names
from keras_resnet.predict import decode_predictions, preprocessing
from keras_resnet.weights import load_weights

__all__ = [
    "NETWORKS",
    "ORDERS",
    "PREPROCESSINGS",
    "SHORTCUTS",
    "STEMS",
    "Card",
    "Complexity",
    "DenseNetConfig",
    "FractalNetConfig",
    "GroupedConv2D",
    "Preprocessing",
    "ResNetConfig",
    "__version__",
    "build",
    "card",
    "complexity",
    "decode_predictions",
    "densenet",
    "features",
    "fold_batch_norm",
    "fractalnet",
    "freeze",
    "load_model",
    "load_weights",
    "names",
    "portable",
    "preprocessing",
    "rematerialize",
    "resnet",
]  # fmt: skip
__all__ += applications.__all__

LATER = {  # needs TensorFlow, and is loaded on first use
    "HyperResNet": "tuning.hypermodel",
    "RECIPES": "training",
    "Recipe": "training",
    "evaluate": "training",
    "export": "serving.export",
    "load_data": "data",
    "search": "tuning.search",
    "strategy": "training.distribute",
    "train": "training",
}
__all__ += LATER

ROOMS_LATER = ("analysis",)


def __getattr__(name):
    if name in ROOMS_LATER:
        return import_module(f"keras_resnet.{name}")
    if name not in LATER:
        raise AttributeError(f"module 'keras_resnet' has no attribute {name!r}")
    return getattr(import_module(f"keras_resnet.{LATER[name]}"), name)
