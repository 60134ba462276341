"""Recipes, and the thin path from a model, a source and a recipe to `model.fit`."""

from keras_resnet.training.recipes import RECIPES, Recipe
from keras_resnet.training.train import accuracy, check_fit, train

__all__ = ["RECIPES", "Recipe", "accuracy", "check_fit", "train"]
