"""Several devices and several workers train to what one device trains to, and leave together when one of them dies."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.training import distribute
from keras_resnet.training import peers as peers_module
from keras_resnet.training.cluster import cluster, is_chief, workers
from keras_resnet.training.distribute import (
    LINEAR_SCALING,
    distributed,
    even_batch_size,
    from_chief,
    shared_folder,
    sharing,
    split,
    strategy,
    synchronized,
)
from keras_resnet.training.peers import lost, peers, peers_watched

WORKER = Path(__file__).with_name("distributed_worker.py")
SAME = 1e-10  # in float64, where it comes to 5e-14; in float32 momentum and ReLUs magnify rounding to several percent
A_THIRD = 1e-6  # Keras divides a loss by three replicas in float32: 6e-8


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for variable in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(variable, raising=False)


# Which strategy


@pytest.mark.parametrize("kind", ["auto", "none"])
def test_one_device_needs_no_strategy(kind):
    assert strategy(kind) is None


def test_several_gpus_are_mirrored(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr(distribute, "mirrored", lambda: "mirrored")
    assert strategy("auto") == "mirrored"


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"`kind`. Expected one of 'auto', 'none', 'mirrored', 'multi_worker'"):
        strategy("horovod")


def test_several_workers_need_a_cluster():
    with pytest.raises(ValueError, match=r"Expected TF_CONFIG or SLURM to describe several workers"):
        strategy("multi_worker")


def cluster_of(count, index=0, job="worker"):
    addresses = [f"localhost:{port}" for port in range(count)]
    return json.dumps({"cluster": {job: addresses}, "task": {"type": job, "index": index}})


@pytest.mark.parametrize("variables", [
    {"TF_CONFIG": ""},
    {"TF_CONFIG": "{}"},
    {"TF_CONFIG": cluster_of(1)},
    {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n1", "SLURM_STEP_TASKS_PER_NODE": "1"},
])  # fmt: skip
def test_a_cluster_of_one_is_none(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cluster() is None


@pytest.mark.parametrize("described", [
    "no json", "1", '{"cluster": {"worker": ["a:1", "b:1"]}}', cluster_of(2, 2), cluster_of(2, job="ps"),
    '{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}',
])  # fmt: skip
def test_a_cluster_without_a_place_for_this_process_is_refused(described, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", described)
    with pytest.raises(ValueError, match=r"`TF_CONFIG`. Expected a cluster of \"worker\" and \"chief\" tasks"):
        cluster()


@pytest.fixture
def slurm(monkeypatch):
    """As `srun` sets it, on nodes without GPUs whose names do not sort as they are counted."""
    step = {"PROCID": 1, "JOB_ID": 10023, "STEP_NUM_TASKS": 3, "STEP_NODELIST": "n[9-10]", "STEP_TASKS_PER_NODE": "1,2"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_slurms_tasks_are_the_workers_in_slurms_order(slurm):
    found = cluster()
    assert found.cluster_spec().as_dict() == {"worker": ["n9:10023", "n10:10023", "n10:10024"]}
    assert (found.task_type, found.task_id, found.num_accelerators()) == ("worker", 1, {"GPU": 0})


def test_slurm_without_its_variables_is_refused(slurm, monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(ValueError, match="SLURM_STEP_NODELIST not found"):
        cluster()


# Without a strategy


def test_one_process_is_chief_and_all_there_is():
    assert (workers(None), is_chief(None), from_chief(None, 7), peers(None)) == ((0, 1), True, 7, {})


def test_one_process_reads_its_dataset():
    dataset = tf.data.Dataset.range(4)
    assert distributed(None, lambda worker, workers: dataset if (worker, workers) == (0, 1) else None) is dataset


def test_one_process_shares_its_folder_with_itself(tmp_path):
    shared_folder(None, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_nobody_watches_one_process():
    with pytest.raises(tf.errors.UnavailableError), peers_watched(None):
        raise tf.errors.UnavailableError(None, None, "mine")


# Batches


def test_sharing_says_batches_and_the_rule_of_the_learning_rate():
    eight = SimpleNamespace(num_replicas_in_sync=8)
    assert sharing(eight, 128) == (
        f"8 replicas on 1 worker; a global batch of 128, 16 each, cut by TensorFlow.\n{LINEAR_SCALING}"
    )
    with pytest.raises(ValueError, match=r"`batch_size`. Expected a multiple of 8, the number of replicas"):
        sharing(eight, 100)


@pytest.mark.parametrize("replicas", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [97, 359, 10_000, 50_000])
def test_every_replica_has_images_in_every_batch(replicas, images):
    size = even_batch_size(SimpleNamespace(num_replicas_in_sync=replicas), 64, images)
    assert 8 < size <= 64
    assert size % replicas == 0
    assert images % size == 0 or images % size >= replicas


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match=r"`images`. Expected enough of them for 8 replicas"):
        even_batch_size(SimpleNamespace(num_replicas_in_sync=8), 64, 7)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_batch_is_split_into_nearly_equal_ones_in_order(parts):
    dataset = tf.data.Dataset.zip(tf.data.Dataset.range(17), tf.data.Dataset.range(17)).batch(12)
    pieces = [images.tolist() for images, labels in split(dataset, parts).as_numpy_iterator()]
    assert [image for piece in pieces for image in piece] == list(range(17))
    expected = {1: [12, 5], 2: [6, 6, 2, 3], 3: [4, 4, 4, 1, 2, 2]}
    assert list(map(len, pieces)) == expected[parts]


def test_synchronized_reaches_batch_norms_inside_and_can_be_undone():
    inside = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    model = keras.Sequential([inside, keras.layers.BatchNormalization()])
    norms = [inside.layers[0], model.layers[1]]
    assert synchronized(model) is model
    assert [norm.synchronized for norm in norms] == [True, True]
    synchronized(model, False)
    assert [norm.synchronized for norm in norms] == [False, False]


# A peer that is gone


OTHERS = {"/job:worker/replica:0/task:1": "b:1", "/job:worker/replica:0/task:11": "c:1"}


@pytest.mark.parametrize(("silent", "reason", "named"), [
    (["/job:worker/replica:0/task:1"], "", r"Lost /job:worker/replica:0/task:1 \(b:1\)\. All"),
    ([], "reported from /job:worker/task:11: unhealthy", r"Lost /job:worker/replica:0/task:11 \(c:1\)\. All"),
    ([], "remote target /job:worker/replica:0/task:1 while", r"Lost /job:worker/replica:0/task:1 \(b:1\)\. All"),
    ([], "Deadline Exceeded", "Lost a peer whose name is unknown. All .* Deadline Exceeded"),
])  # fmt: skip
def test_the_message_names_who_is_silent_or_who_the_error_names(silent, reason, named, monkeypatch):
    monkeypatch.setattr(peers_module, "answers", lambda peer: peer not in silent)
    assert re.match(named, lost(OTHERS, reason))


HANGS = """
import threading, time, tensorflow as tf
from keras_resnet.training import peers
peers.answers, peers.ANSWER, peers.PATIENCE = (lambda peer: False), 0.2, 1
threading.Thread(target=peers.watch, args=({"peer": "a:1"}, threading.Event(), threading.get_ident())).start()
time.sleep(3)
print("a chief may write as long as it takes", flush=True)
tf.queue.FIFOQueue(1, tf.int32).dequeue()
"""


def test_a_process_that_hangs_in_tensorflow_leaves_and_one_that_writes_does_not():
    process = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=300)
    assert process.returncode == 1
    assert "as long as it takes" in process.stdout
    assert "Lost peer (a:1). All workers have to be started again" in process.stderr


# Training


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [found.getsockname()[1] for found in sockets]


@contextmanager
def launched(folders, command=None, **arguments):
    """One worker for every folder that it is given, its output beside what it writes there; killed at the end."""
    addresses = [f"localhost:{port}" for port in free_ports(len(folders))]
    processes = []
    try:
        for index, folder in enumerate(folders):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONWARNINGS": "error::UserWarning"}
            folder.mkdir(exist_ok=True)
            with open(folder / f"worker{index}.log", "w") as log:
                started = command or [WORKER, json.dumps({"folder": str(folder), **arguments})]
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *started], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
                    )
                )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def logs(folder):
    return [path.read_text() for path in sorted(folder.glob("*.log"))]


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


@pytest.mark.xdist_group("distribute")
def test_two_mirrored_devices_train_a_short_network_to_what_one_does(tmp_path):
    arguments = dict(blocks=1, epochs=1, evaluated=True)
    (one,) = trained(tmp_path / "one", kind="none", **arguments)
    (two,) = trained(tmp_path / "two", kind="mirrored", devices=2, **arguments)
    assert_same(two, one)


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
def test_two_mirrored_devices_train_to_what_one_does(expected, tmp_path):
    (found,) = trained(tmp_path, kind="mirrored", devices=2, evaluated=True)
    assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
@pytest.mark.parametrize(("count", "atol"), [(2, SAME), (3, A_THIRD)])
def test_several_workers_train_to_what_one_does(count, atol, expected, tmp_path):
    for found in trained(tmp_path, count, kind="auto", evaluated=True):
        assert_same(found, expected, atol)


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
def test_two_workers_of_two_devices_train_to_what_one_does(expected, tmp_path):
    for found in trained(tmp_path, 2, kind="auto", devices=2, evaluated=True):
        assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
def test_batch_norms_that_are_not_synchronized_train_to_something_else(expected, tmp_path):
    (found,) = trained(tmp_path, kind="mirrored", devices=2, synchronized=False)
    assert abs(found["loss"] - expected["loss"]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
@pytest.mark.parametrize("victim", [0, 2])
def test_killed_workers_are_named_and_restarted_ones_end_as_if_nothing_had_happened(victim, tmp_path):
    arguments = dict(kind="auto", epochs=6, blocks=1)
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
    assert all(f"Lost /job:worker/replica:0/task:{victim} (localhost:" in logs(folder)[index] for index in survivors)
    for found in trained(folder, 3, **arguments):
        assert_same(found, weights)
        assert len(found["loss"]) < 6


# The command `keras-resnet train`

COMMAND = ["-m", "keras_resnet", "train", "resnet20", "--stages", "[[16], [32]]", "--resume", "--set", "batch_size=63",
           "steps_per_epoch=4", "lr=0.02", "momentum=0.5", "epochs=6"]  # fmt: skip


def weights_of(folder):
    return keras.models.load_model(folder / "saved_models" / "resnet20-digits" / "model.keras").get_weights()


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
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
    assert "Lost /job:worker/replica:0/task:1 (localhost:" in logs(killed)[0]
    with launched([killed] * 3, COMMAND) as processes:
        assert [process.wait(timeout=400) for process in processes] == [0] * 3, logs(killed)[0]
    for found, expected in zip(weights_of(killed), weights_of(three), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def wait_for(happened, processes, timeout=300):
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.xdist_group("distribute")
def test_a_folder_that_is_not_shared_ends_all_workers(tmp_path):
    folders = [tmp_path / "chief", tmp_path / "other"]
    with launched(folders, kind="auto") as processes:
        assert [process.wait(timeout=400) for process in processes] == [1, 1]
    for folder in folders:
        (log,) = logs(folder)
        assert f"`folder`. Expected one that all workers share; not seen by [1]. Received: folder='{folder}'" in log
    assert {path.name for path in tmp_path.glob("*/*")} == {"worker0.log", "worker1.log"}
