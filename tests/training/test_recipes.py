"""Recipes are checked, and are data."""

import json
from dataclasses import asdict, replace

import pytest

from keras_resnet.training import RECIPES, Recipe


class TestRecipes:
    @pytest.mark.parametrize(
        "field", ["epochs", "batch_size", "lr", "warmup", "momentum", "nesterov", "augment", "schedule", "view", "ema"]
    )
    def test_are_checked(self, field):
        with pytest.raises(ValueError, match=f"`{field}`.*Received: {field}='much'"):
            replace(RECIPES["digits"], **{field: "much"})

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"drops": (0.75, 0.5)}, "`drops`"),
            ({"drops": (0.5, 1.0)}, "`drops`"),
            ({"warmup_error": 0.8}, "`warmup_lr`"),
            ({"warmup_error": 0.8, "warmup_lr": 0.01, "warmup": 0.1}, "`warmup`"),
            ({"schedule": "plateau", "warmup": 0.1}, "`warmup`"),
            ({"augment": {"twirl": 1}}, "`augment`"),
            ({"weight_decay": -1}, "`weight_decay`"),
        ],
    )
    def test_contradictions_are_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            replace(RECIPES["he2015_cifar"], **changes)

    @pytest.mark.parametrize("name", RECIPES)
    def test_are_json_and_name_their_paper(self, name):
        recipe = RECIPES[name]
        assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
        assert recipe.about
