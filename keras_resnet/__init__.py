"""Residual networks for Keras, exact to the published parameter and multiply-add."""

from keras_resnet import applications
from keras_resnet._version import __version__
from keras_resnet.applications import *  # noqa: F403
from keras_resnet.blocks import ORDERS, SHORTCUTS, STEMS
from keras_resnet.complexity import Complexity, complexity
from keras_resnet.config import ResNetConfig
from keras_resnet.densenet import DenseNetConfig, densenet
from keras_resnet.fractalnet import FractalNetConfig, fractalnet
from keras_resnet.model import features, portable
from keras_resnet.resnet import resnet
from keras_resnet.zoo import NETWORKS, build, names

__all__ = [
    "NETWORKS",
    "ORDERS",
    "SHORTCUTS",
    "STEMS",
    "Complexity",
    "DenseNetConfig",
    "FractalNetConfig",
    "ResNetConfig",
    "__version__",
    "build",
    "complexity",
    "densenet",
    "features",
    "fractalnet",
    "names",
    "portable",
    "resnet",
]  # fmt: skip
__all__ += applications.__all__
