"""Parts that are not trained."""

from dataclasses import replace

import numpy as np
import pytest

import keras_resnet
from helpers.trained import FEW, tiny
from keras_resnet.graph.initialization import without_weights
from keras_resnet.training import Recipe, train


class TestFreeze:
    def test_frozen_parts_do_not_move_and_their_norms_neither(self, tmp_path):
        model = keras_resnet.freeze(tiny(), "stage1")
        before = {v.path: np.array(v) for v in model.variables}
        train(model, replace(FEW, validation=None), Recipe(epochs=1, batch_size=16), tmp_path, verbose=0)
        moved = {v.path.split("_")[0] for v in model.variables if (np.array(v) != before[v.path]).any()}
        still = {v.path.split("_")[0] for v in model.variables if (np.array(v) == before[v.path]).all()}
        assert moved == {"stage2", "predictions/kernel", "predictions/bias"}
        assert still == {"stem", "stage1"}

    def test_frozen_norms_use_their_moving_statistics(self):
        model = keras_resnet.freeze(tiny(), "head")
        x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
        np.testing.assert_array_equal(model(x, training=True), model(x, training=False))

    @pytest.mark.parametrize("name", ["resnet20", "resnet50v2", "densenet121", "fractalnet20", "resnetrs50", "plain20"])
    def test_knows_every_familys_parts(self, name):
        with without_weights():
            model = keras_resnet.build(name)
        whole = len(model.trainable_variables)
        assert {v.path.split("/")[0] for v in keras_resnet.freeze(model, "head").trainable_variables} == {"predictions"}
        parts = {v.path.split("_")[0] for v in keras_resnet.freeze(model, "stage2").trainable_variables}
        assert not parts & {"stem", "stem1", "stage1", "stage2"}
        assert "stage3" in parts
        assert len(keras_resnet.freeze(model, None).trainable_variables) == whole

    def test_says_which_parts_there_are(self):
        with pytest.raises(ValueError, match=r"`until`.*'stage2', 'head'"):
            keras_resnet.freeze(tiny(), "stage3")
