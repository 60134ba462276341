"""Spaces to search, and a search that says nothing."""

import json
from dataclasses import replace
from functools import partial

import keras_resnet
from keras_resnet import RECIPES, ResNetConfig

RECIPE = replace(RECIPES["digits"], epochs=30)
search = partial(keras_resnet.search, say=lambda _: None)


def widths(hp):
    """48 networks, of which the wide ones are over the budgets of the tests."""
    width, stem = hp.Int("width", 4, 64, step=4, default=64), hp.Choice("stem", ["cifar", "deep", "imagenet"])
    return ResNetConfig(stages=((width,),), stem_filters=4, stem=stem), RECIPE


def tiny(hp):
    return ResNetConfig(stages=((hp.Choice("width", [4, 8, 64]),),), stem_filters=4), replace(RECIPE, epochs=1)


def width(resolved):
    return resolved.config.stages[0][0]


def statuses(folder):
    return [trial["status"] for trial in json.loads((folder / "trials.json").read_text())]
