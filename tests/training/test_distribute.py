"""Which strategy trains, which worker a process is, and how batches are shared."""

import json
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from keras_resnet.training import distribute
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
from keras_resnet.training.peers import peers


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


ONE_TASK = {"STEP_NUM_TASKS": "1", "PROCID": "0", "STEP_NODELIST": "n1", "STEP_TASKS_PER_NODE": "1"}
OF_ONE = {
    "empty": {"TF_CONFIG": ""},
    "without a cluster": {"TF_CONFIG": "{}"},
    "one worker": {"TF_CONFIG": cluster_of(1)},
    "one task": {f"SLURM_{name}": value for name, value in ONE_TASK.items()},
}


@pytest.mark.parametrize("variables", OF_ONE.values(), ids=OF_ONE)
def test_a_cluster_of_one_is_none(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cluster() is None


WITHOUT_A_PLACE = {
    "no JSON": "no json",
    "a number": "1",
    "no task": '{"cluster": {"worker": ["a:1", "b:1"]}}',
    "a third of two": cluster_of(2, 2),
    "parameter servers": cluster_of(2, job="ps"),
    "also a parameter server": '{"cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]}, '
    '"task": {"type": "worker", "index": 0}}',
}


@pytest.mark.parametrize("described", WITHOUT_A_PLACE.values(), ids=WITHOUT_A_PLACE)
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


class Place(tf.distribute.MultiWorkerMirroredStrategy):
    """A place in a cluster, without its servers."""

    def __init__(self, tasks, job=None, task=None):
        spec = tf.train.ClusterSpec(tasks)
        self.described = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, task_type=job, task_id=task)

    @property
    def cluster_resolver(self):
        return self.described


WITH_CHIEF = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}


NUMBERS = [
    (WITH_CHIEF, "chief", 0, (0, 3)),
    (WITH_CHIEF, "worker", 0, (1, 3)),
    (WITH_CHIEF, "worker", 1, (2, 3)),
    ({"worker": ["a:1", "b:1"]}, "worker", 0, (0, 2)),
    ({"worker": ["a:1", "b:1"]}, "worker", 1, (1, 2)),
    ({}, None, None, (0, 1)),
]


@pytest.mark.parametrize(("tasks", "job", "task", "expected"), NUMBERS)
def test_workers_are_numbered_in_the_clusters_order_and_the_first_alone_is_chief(tasks, job, task, expected):
    place = Place(tasks, job, task)
    assert workers(place) == expected
    assert is_chief(place) == (expected[0] == 0)


def test_a_process_that_the_cluster_does_not_know_is_no_chief():
    with pytest.raises(ValueError, match="is not in list"):
        is_chief(Place(WITH_CHIEF, "evaluator", 0))


def test_a_workers_peers_are_the_others():
    names = {"/job:chief/replica:0/task:0": "a:1", "/job:worker/replica:0/task:1": "c:1"}
    assert peers(Place(WITH_CHIEF, "worker", 0)) == names


# Without a strategy


def test_one_process_is_chief_and_all_there_is():
    assert (workers(None), is_chief(None), from_chief(None, 7)) == ((0, 1), True, 7)


def test_one_process_reads_its_dataset():
    dataset = tf.data.Dataset.range(4)
    assert distributed(None, lambda worker, workers: dataset if (worker, workers) == (0, 1) else None) is dataset


def test_one_process_shares_its_folder_with_itself(tmp_path):
    shared_folder(None, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


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
