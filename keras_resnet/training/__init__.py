"""Recipes, and the thin path from a model, a source and a recipe to `model.fit`."""

from keras_resnet.training.evaluate import Evaluation, evaluate, source_for
from keras_resnet.training.recipes import RECIPES, Recipe, recipe_of
from keras_resnet.training.train import check_fit, rows, train

__all__ = ["RECIPES", "Evaluation", "Recipe", "check_fit", "evaluate", "recipe_of", "rows", "source_for", "train"]
