"""Spaces: what they draw are rows, and what these keep constant."""

from dataclasses import replace
from itertools import pairwise

import keras_tuner
import numpy as np
import pytest

import keras_resnet
from keras_resnet import NETWORKS, RECIPES, complexity
from keras_resnet.tuning.spaces import RESIZED, SPACES

RECIPE = replace(RECIPES["digits"], epochs=30)
BASES = [
    "resnet20",
    "resnet50",
    "wide_resnet28_10",
    "pyramidnet110_a48",
    "resnext29_8x64d",
    "resnext50_32x4d",
    "densenet40_k12",
    "fractalnet20",
    "resnetrs50",
    "plain20",
]


def drawn(space, config, seed):
    """A random one."""
    hp = keras_tuner.HyperParameters()
    space(hp, config, RECIPE)
    hp.values = {known.name: known.random_sample(seed + place) for place, known in enumerate(hp.space)}
    return space(hp, config, RECIPE)


class TestSpaces:
    @pytest.mark.parametrize("space", SPACES)
    @pytest.mark.parametrize("base", BASES)
    def test_draw_rows_without_contradictions(self, space, base):
        others = {"shortcut_order": ("dense", "fractal"), "cardinality": ("dense", "fractal", "pyramid")}
        if base.startswith(others.get(space, ())):
            with pytest.raises(ValueError, match="`network`"):
                drawn(SPACES[space], NETWORKS[base], 0)
            return
        rows = {str(drawn(SPACES[space], NETWORKS[base], 100 * seed)) for seed in range(20)}
        assert len(rows) > 1

    @pytest.mark.parametrize("base", ["resnet20", "resnet50", "wide_resnet28_10", "densenet40_k12", "fractalnet20"])
    def test_width_depth_starts_from_the_base_network(self, base):
        assert SPACES["width_depth"](keras_tuner.HyperParameters(), NETWORKS[base], RECIPE)[0] == NETWORKS[base]

    def test_width_depth_knows_every_family(self):
        assert {type(row) for row in NETWORKS.values()} == set(RESIZED)

    @pytest.mark.parametrize("seed", range(20))
    def test_stages_do_not_narrow_so_that_shortcuts_may_pad(self, seed):
        config = drawn(SPACES["width_depth"], NETWORKS["resnet20"], 100 * seed)[0]
        channels = [config.stem_filters, *(width for stage in config.stages for width in stage)]
        assert all(a <= b for a, b in pairwise(channels))
        assert config.shortcut == "A"

    def test_cardinality_is_the_papers_trade_off(self):
        """Xie et al. 2017, table 2: 1 x 64d, 2 x 40d, 4 x 24d, 8 x 14d, 32 x 4d."""
        hp, widths = keras_tuner.HyperParameters(), {}
        for groups in (1, 2, 4, 8, 32):
            hp.values = {"cardinality": groups}
            config = SPACES["cardinality"](hp, NETWORKS["resnet50"], RECIPE)[0]
            widths[config.groups] = config.width(256) / config.groups
        assert widths == {1: 64, 2: 40, 4: 24, 8: 14, 32: 4}

    def test_bottlenecks_from_basic_blocks_cost_as_much(self):
        config = SPACES["cardinality"](keras_tuner.HyperParameters(), NETWORKS["resnet20"], RECIPE)[0]
        assert (config.branch, config.stages[0]) == ("bottleneck", (64,) * 3)
        ours, theirs = (complexity(keras_resnet.resnet(row)).macs for row in (config, NETWORKS["resnet20"]))
        assert ours == pytest.approx(theirs, rel=0.1)

    def test_regularization_changes_what_the_family_has(self):
        hp = keras_tuner.HyperParameters()
        SPACES["regularization"](hp, NETWORKS["densenet40_k12"], RECIPE)
        assert [known.name for known in hp.space] == ["dropout", "head_dropout"]

    @pytest.mark.parametrize("space", SPACES)
    def test_rows_survive_the_32_bits_of_a_worker(self, space):
        class Worker(keras_tuner.HyperParameters):
            def Float(self, *args, **kwargs):  # noqa: N802
                return float(np.float32(super().Float(*args, **kwargs)))

        hp, worker = keras_tuner.HyperParameters(), Worker()
        assert SPACES[space](hp, NETWORKS["resnet20"], RECIPE) == SPACES[space](worker, NETWORKS["resnet20"], RECIPE)
