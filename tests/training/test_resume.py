"""A killed run against one that was not."""

import signal
from functools import cache

import numpy as np
import pytest

from helpers.interrupted import killed, run
from helpers.trained import log


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """name -> the folder of a run that nobody killed, and the arrays it ended with."""

    @cache
    def whole(name):
        folder = tmp_path_factory.mktemp(name)
        return folder, run(name, folder)

    return whole


def without_times(folder):
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in log(folder)]


def column(folder, key):
    return [float(epoch[key]) for epoch in log(folder)]


SEVERAL = [("on_train_batch_end", 0, 3), ("on_train_batch_end", 3, 7), ("on_epoch_end", 4, None)]
MOMENTS = {
    "while it writes a checkpoint": ("plateau", [("while writing", 2)]),
    "several times": pytest.param("plateau", SEVERAL, marks=pytest.mark.slow),
    "with an average": pytest.param(
        "ema", [("on_train_batch_end", 1, 2), ("on_epoch_end", 3, None)], marks=pytest.mark.slow
    ),
}


@pytest.mark.parametrize(("name", "moments"), MOMENTS.values(), ids=MOMENTS)
def test_a_killed_run_ends_as_one_that_was_not(name, moments, tmp_path, undisturbed):
    for moment in moments:
        assert killed(name, tmp_path, moment) == -signal.SIGKILL
    assert len(log(tmp_path)) < len(log(undisturbed(name)[0]))
    for ours, theirs in zip(run(name, tmp_path), undisturbed(name)[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert without_times(tmp_path) == without_times(undisturbed(name)[0])


def test_the_plateau_was_reached_and_the_best_epoch_was_not_the_last(undisturbed):
    rates, losses = (column(undisturbed("plateau")[0], key) for key in ("learning_rate", "val_loss"))
    assert rates[-1] < rates[0]
    assert losses.index(min(losses)) < len(losses) - 1


@pytest.mark.slow
def test_the_rate_was_held_and_let_go(undisturbed):
    held = [round(rate, 3) for rate in column(undisturbed("ema")[0], "learning_rate")]
    assert held[0] == 0.05
    assert held[-1] != 0.05
