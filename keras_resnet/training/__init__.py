"""Recipes, and the thin path from a model, a source and a recipe to `model.fit`."""

from keras_resnet.training.evaluate import Evaluation, evaluate, source_for
from keras_resnet.training.fitting import Training, check_fit
from keras_resnet.training.recipes import RECIPES, Recipe, recipe_of
from keras_resnet.training.train import fit, read_history, train

__all__ = [
    "RECIPES",
    "Evaluation",
    "Recipe",
    "Training",
    "check_fit",
    "evaluate",
    "fit",
    "read_history",
    "recipe_of",
    "source_for",
    "train",
]
