"""TensorFlow's private names are there and do what they are used for; where one is not, it is an error."""

from types import SimpleNamespace

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from keras_resnet.training.tensorflow_private import counted_in_steps, expect_answer, tasks_by_node

STEP = {"PROCID": "0", "STEP_NUM_TASKS": "3", "STEP_NODELIST": "n[9-10]", "STEP_TASKS_PER_NODE": "1,2"}


def test_slurms_nodes_are_in_slurms_order(monkeypatch):
    for name, value in STEP.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(gpus_per_node=3, gpus_per_task=1, auto_set_gpu=False)
    assert list(tasks_by_node(resolver).items()) == [("n9", 1), ("n10", 2)]


def test_a_worker_that_is_not_there_does_not_answer():
    with pytest.raises(tf.errors.OpError):
        expect_answer("/job:worker/replica:0/task:1", 1)


@pytest.mark.parametrize("steps", [3, 6])
def test_keras_takes_its_steps_from_a_distributed_dataset(steps):
    pieces = tf.data.Dataset.range(6)
    made = tf.distribute.MirroredStrategy(["CPU:0"]).distribute_datasets_from_function(lambda _: pieces)
    assert made.cardinality == 6
    assert counted_in_steps(made, steps).cardinality == steps


def test_a_renamed_one_is_an_error(monkeypatch):
    for use in (tasks_by_node, lambda renamed: counted_in_steps(renamed, 3)):
        with pytest.raises(AttributeError):
            use(SimpleNamespace())
    monkeypatch.delattr(context.Context, "check_collective_ops_peer_health")
    with pytest.raises(AttributeError):
        expect_answer("/job:worker/replica:0/task:1", 1)
