"""Every private name of TensorFlow that training uses, without a default: a rename must fail, and not pass unseen."""

import tensorflow as tf
from tensorflow.python.eager import context


def tasks_by_node(resolver: tf.distribute.cluster_resolver.SlurmClusterResolver) -> dict[str, int]:
    """The number of tasks on each node, in SLURM's order. Public is `cluster_spec`, which sorts the nodes by name."""
    return resolver._task_configuration


def expect_answer(peer: str, seconds: int) -> None:
    """Raises a `tf.errors.OpError` unless the worker answers. Public is only a thread that checks every 30 seconds."""
    context.context().check_collective_ops_peer_health(peer, timeout_in_ms=seconds * 1000)


def counted_in_steps(dataset: tf.distribute.DistributedDataset, steps: int) -> tf.distribute.DistributedDataset:
    """The dataset, whose cardinality is then the number of steps. TensorFlow's is that of a worker's pieces."""
    if dataset._cardinality != steps:  # reads the name before it is written
        dataset._cardinality = steps
    return dataset
