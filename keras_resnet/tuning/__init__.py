"""Searches for networks and recipes with keras-tuner."""

from keras_resnet.tuning.spaces import SPACES

__all__ = ["SPACES"]
