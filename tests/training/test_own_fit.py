"""A user's own `compile` and `fit` under our strategy: all devices of all workers hold the same model."""

import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from helpers.workers import launched, logs, wait_for

OWN_FIT = Path(__file__).with_name("own_fit_worker.py")
LIMIT = 120  # seconds in which a process has ended, or hangs


def fit(folder, workers, **arguments):
    """The exit codes."""
    with launched([folder] * workers, script=OWN_FIT, **arguments) as processes:
        return [process.wait(timeout=400) for process in processes]


def shown(folder, epoch, worker):
    return list(np.load(folder / f"epoch{epoch}-worker{worker}.npz").values())


def assert_equal_everywhere(folder, workers, epochs):
    for epoch in range(epochs):
        first = shown(folder, epoch, 0)
        for worker in range(workers):
            for ours, theirs in zip(shown(folder, epoch, worker), first, strict=True):
                np.testing.assert_array_equal(ours, np.broadcast_to(theirs[:1], ours.shape))


def assert_saved(path, weights):
    """The file holds them: those of the first device."""
    saved = keras.models.load_model(path)
    for found, expected in zip(saved.get_weights(), (weight[0] for weight in weights), strict=False):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_two_devices_hold_the_same_model_after_every_epoch(tmp_path):
    assert fit(tmp_path, 1, kind="mirrored", devices=2, epochs=2) == [0], logs(tmp_path)[0]
    assert {len(weight) for weight in shown(tmp_path, 0, 0)} == {2}
    assert_equal_everywhere(tmp_path, workers=1, epochs=2)
    before, after = (shown(tmp_path, epoch, 0) for epoch in range(2))
    assert all((one != other).any() for one, other in zip(before, after, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_two_workers_hold_the_same_model_after_every_epoch_and_the_chief_saves_alone(devices, tmp_path):
    assert fit(tmp_path, 2, kind="auto", devices=devices, epochs=2) == [0, 0], logs(tmp_path)[0]
    assert_equal_everywhere(tmp_path, workers=2, epochs=2)
    for number in (1, 2):
        assert_saved(tmp_path / f"epoch{number}.keras", shown(tmp_path, number - 1, 1))
    assert_saved(tmp_path / "final.keras", shown(tmp_path, 1, 1))


@pytest.mark.slow
def test_the_chief_saves_when_the_others_are_dead(tmp_path):
    with launched([tmp_path] * 2, script=OWN_FIT, kind="auto", epochs=1, leaves=1) as processes:
        assert processes[1].wait(timeout=400) == -signal.SIGKILL
        assert processes[0].wait(timeout=LIMIT) == 0
    assert "saved" in logs(tmp_path)[0]
    assert_saved(tmp_path / "final.keras", shown(tmp_path, 0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_nobody_waits_for_a_killed_worker(victim, tmp_path):
    with launched([tmp_path] * 2, script=OWN_FIT, kind="auto", epochs=1000) as processes:
        wait_for(lambda: "epoch 2" in logs(tmp_path)[victim], processes)
        os.kill(processes[victim].pid, signal.SIGKILL)
        killed = time.monotonic()
        assert processes[1 - victim].wait(timeout=LIMIT) != 0
        print(f"the other left after {time.monotonic() - killed:.1f} s")
    assert "Collective" in logs(tmp_path)[1 - victim]  # TensorFlow's error: `train` says whom it lost
    assert_saved(tmp_path / "epoch1.keras", shown(tmp_path, 0, 1))
