"""Random numbers for a batch, without a state."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from helpers.pictures import MANY, is_uniform
from keras_resnet.data.draws import Draws


class TestDraws:
    def test_are_a_function_of_seed_step_and_how_many_were_drawn(self):
        first, again = Draws(1, 2, 8), Draws(1, tf.constant(2, tf.int64), 8)
        values = [first.uniform(3), first.uniform(3)]
        np.testing.assert_array_equal(values, [again.uniform(3), again.uniform(3)])
        others = [values[1], Draws(1, 3, 8).uniform(3), Draws(2, 2, 8).uniform(3), Draws(2, 1, 8).uniform(3)]
        assert all(not np.any(values[0] == other) for other in others)

    def test_are_the_same_inside_a_map(self):
        mapped = tf.data.Dataset.range(5, 6).map(lambda step: Draws(1, step, 8).normal(2))
        np.testing.assert_array_equal(next(iter(mapped)), Draws(1, 5, 8).normal(2))

    def test_of_a_worker_are_its_rows_of_those_of_all(self):
        everything, mine = Draws(1, 2, 8), Draws(1, 2, 8, slice(2, 5))
        for draw in (
            lambda draws: draws.uniform(),
            lambda draws: draws.uniform(2, low=-3, high=4, dtype=tf.int32),
            lambda draws: draws.normal(3, stddev=2.0),
            lambda draws: draws.beta(0.3),
            lambda draws: draws.chosen(0.5),
        ):
            np.testing.assert_array_equal(draw(everything)[2:5], draw(mine))

    def test_uniform_and_normal_numbers_are_those(self):
        draws = Draws(0, 0, MANY)
        assert is_uniform(draws.uniform(low=-2, high=3), -2, 3)
        assert scipy.stats.kstest(draws.normal(stddev=3.0), scipy.stats.norm(0, 3).cdf).pvalue > 1e-3
        integers = draws.uniform(low=0, high=5, dtype=tf.int32).numpy()
        assert scipy.stats.chisquare(np.bincount(integers, minlength=5)).pvalue > 1e-3

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
    def test_beta_numbers_are_those(self, alpha):
        assert scipy.stats.kstest(Draws(0, 0, MANY).beta(alpha), scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3

    def test_beta_numbers_are_numbers_where_both_gammas_underflow(self):
        numbers = Draws(0, 0, MANY).beta(1e-3).numpy()
        assert np.all((numbers >= 0) & (numbers <= 1))
        assert 0.4 < np.mean(numbers > 0.5) < 0.6
