"""Several devices and several workers train to what one device trains to, and leave together when one of them dies."""

import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from helpers.workers import launched, logs, wait_for

SAME = 1e-10  # in float64, where it comes to 5e-14; in float32 momentum and ReLUs magnify rounding to several percent
SHORT = [[16], [32]]
A_THIRD = 1e-6  # Keras divides a loss by three replicas in float32: 6e-8


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for variable in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(variable, raising=False)


def trained(folder, count=1, **arguments):
    """What every worker saw and ended with."""
    with launched([folder] * count, **arguments) as processes:
        codes = [process.wait(timeout=400) for process in processes]
    assert codes == [0] * count, logs(folder)[0]
    return [dict(np.load(folder / f"worker{index}.npz")) for index in range(count)]


def assert_same(found, expected, atol=SAME):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """One device's losses, metrics, predictions and weights."""
    found = trained(tmp_path_factory.mktemp("one"), kind="none", evaluated=True)[0]
    assert (found["images"].tolist(), found["val_images"].tolist()) == ([192, 192], [97, 97])
    return found


@pytest.mark.slow
def test_two_mirrored_devices_train_a_short_network_to_what_one_does(tmp_path):
    arguments = {"kinds": ["none", "mirrored"], "devices": 2, "stages": SHORT, "epochs": 1, "evaluated": True}
    with launched([tmp_path], **arguments) as (process,):
        assert process.wait(timeout=400) == 0, logs(tmp_path)[0]
    one, two = (dict(np.load(tmp_path / kind / "worker0.npz")) for kind in arguments["kinds"])
    assert (one["images"].tolist(), one["val_images"].tolist()) == ([192], [97])
    assert_same(two, one)


@pytest.mark.slow
def test_two_mirrored_devices_train_to_what_one_does(expected, tmp_path):
    (found,) = trained(tmp_path, kind="mirrored", devices=2, evaluated=True)
    assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "atol"), [(2, SAME), (3, A_THIRD)])
def test_several_workers_train_to_what_one_does(count, atol, expected, tmp_path):
    for found in trained(tmp_path, count, kind="auto", evaluated=True):
        assert_same(found, expected, atol)


@pytest.mark.slow
def test_two_workers_of_two_devices_train_to_what_one_does(expected, tmp_path):
    for found in trained(tmp_path, 2, kind="auto", devices=2, evaluated=True):
        assert_same(found, expected)


@pytest.mark.slow
def test_batch_norms_that_are_not_synchronized_train_to_something_else(expected, tmp_path):
    (found,) = trained(tmp_path, kind="mirrored", devices=2, synchronized=False)
    assert abs(found["loss"] - expected["loss"]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 2])
def test_killed_workers_are_named_and_restarted_ones_end_as_if_nothing_had_happened(victim, tmp_path):
    arguments = dict(kind="auto", epochs=6, stages=[[16], [32], [64]])
    undisturbed = trained(tmp_path / "undisturbed", 3, **arguments)[0]
    weights = {name: weight for name, weight in undisturbed.items() if name.startswith("weight")}
    folder = tmp_path / "killed"
    with launched([folder] * 3, **arguments) as processes:
        wait_for(lambda: "epoch 1" in logs(folder)[victim], processes)
        os.kill(processes[victim].pid, signal.SIGKILL)
        killed = time.monotonic()
        survivors = [index for index in range(3) if index != victim]
        codes = [processes[index].wait(timeout=60) for index in survivors]
        print(f"the survivors left after {time.monotonic() - killed:.1f} s")
    assert 0 not in codes
    for index in survivors:  # who leaves last has lost the other one too
        assert re.search(rf"Lost .*/job:worker/replica:0/task:{victim} \(localhost:", logs(folder)[index])
    for found in trained(folder, 3, **arguments):
        assert_same(found, weights)
        assert len(found["loss"]) < 6


# The command `keras-resnet train`

CHANGES = ["batch_size=63", "steps_per_epoch=4", "lr=0.02", "momentum=0.5", "epochs=6"]
NETWORK = ["resnet20", "--stages", "[[16], [32]]"]
COMMAND = ["-m", "keras_resnet", "train", *NETWORK, "--precision", "float32", "--resume", "--set", *CHANGES]


def weights_of(folder):
    return keras.models.load_model(folder / "saved_models" / "resnet20-digits" / "model.keras").get_weights()


@pytest.mark.slow
def test_the_command_on_three_workers_ends_as_on_one_also_when_one_is_killed(tmp_path):
    """24 steps in float32, in which three workers drift from one by rounding."""
    one, three, killed = (tmp_path / name for name in ("one", "three", "killed"))
    one.mkdir()
    subprocess.run([sys.executable, *COMMAND], cwd=one, check=True, capture_output=True)
    with launched([three] * 3, COMMAND) as processes:
        assert [process.wait(timeout=400) for process in processes] == [0] * 3, logs(three)[0]
    assert "3 replicas on 3 workers; a global batch of 63, 21 each" in logs(three)[0]
    for found, expected in zip(weights_of(three), weights_of(one), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
    history = killed / "saved_models" / "resnet20-digits" / "history.csv"
    with launched([killed] * 3, COMMAND) as processes:
        wait_for(lambda: history.exists() and len(history.read_text().splitlines()) > 2, processes)
        processes[1].kill()
        assert 0 not in [process.wait(timeout=60) for process in processes]
    assert re.search(r"Lost .*/job:worker/replica:0/task:1 \(localhost:", logs(killed)[0])
    with launched([killed] * 3, COMMAND) as processes:
        assert [process.wait(timeout=400) for process in processes] == [0] * 3, logs(killed)[0]
    for found, expected in zip(weights_of(killed), weights_of(three), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_folder_that_is_not_shared_ends_all_workers(tmp_path):
    folders = [tmp_path / "chief", tmp_path / "other"]
    with launched(folders, kind="auto") as processes:
        assert [process.wait(timeout=400) for process in processes] == [1, 1]
    for folder in folders:
        (log,) = logs(folder)
        assert f"`folder`. Expected one that all workers share; not seen by [1]. Received: folder='{folder}'" in log
    assert {path.name for path in tmp_path.glob("*/*")} == {"worker0.log", "worker1.log"}
