"""The workers that share a training, as `TF_CONFIG` or SLURM describes them."""

import os
from collections.abc import Callable

import tensorflow as tf

from keras_resnet.checks import expect, invalid
from keras_resnet.training.tensorflow_private import tasks_by_node

JOBS = ("chief", "worker")


def slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    """SLURM's tasks in SLURM's order, each with the GPUs that SLURM shows it, which may be none."""
    tasks, job = int(os.environ["SLURM_STEP_NUM_TASKS"]), int(os.environ.get("SLURM_JOB_ID", 0))
    port = 10_000 + job % 10_000
    settings = dict(port_base=port, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False)
    nodes = tasks_by_node(tf.distribute.cluster_resolver.SlurmClusterResolver(**settings))
    addresses = [f"{node}:{port + task}" for node, count in nodes.items() for task in range(count)]
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}),
        task_type="worker",
        task_id=int(os.environ["SLURM_PROCID"]),
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )


RESOLVERS: dict[
    str, Callable[[], tf.distribute.cluster_resolver.ClusterResolver]
] = {  # by the variable that shows who launched this process
    "TF_CONFIG": tf.distribute.cluster_resolver.TFConfigClusterResolver,
    "SLURM_STEP_NUM_TASKS": slurm,
}


def cluster() -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """The workers that the environment describes, or None where these are not several.

    Raises:
        ArgumentError: Where the description has no place for this process, or cannot be read.
    """
    variable = next(filter(os.environ.get, RESOLVERS), None)
    if variable is None:
        return None
    expected = 'a cluster of "worker" and "chief" tasks, and which of them this is'
    try:
        resolver = RESOLVERS[variable]()
        tasks, own = tasks_of(resolver), own_task(resolver)
    except (RuntimeError, TypeError, ValueError) as error:
        raise invalid(variable, f"{expected} ({error})", os.environ[variable]) from error
    if sum(map(len, tasks.values())) <= 1:
        return None
    expect(set(tasks) <= {*JOBS} and own in addresses(tasks), variable, expected, os.environ[variable])
    return resolver


def tasks_of(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> dict[str, list[str]]:
    """The addresses of each job."""
    return resolver.cluster_spec().as_dict()


def own_task(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> tuple[str, int]:
    """(job, task) of this process."""
    return resolver.task_type, resolver.task_id


def addresses(tasks: dict[str, list[str]]) -> dict[tuple[str, int], str]:
    """(job, task) of every worker, the chief first, and its address."""
    return {(job, task): address for job in JOBS for task, address in enumerate(tasks.get(job, ()))}


def workers(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """(which worker this process is, how many there are); (0, 1) on one machine."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    everyone = list(addresses(tasks_of(strategy.cluster_resolver)))
    return (everyone.index(own_task(strategy.cluster_resolver)), len(everyone)) if everyone else (0, 1)


def lock_role(strategy: tf.distribute.Strategy | None) -> str:
    """Under which a worker locks the folder that all share: the chief as any command does."""
    worker, _ = workers(strategy)
    return f"worker-{worker}" if worker else ""


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes."""
    return workers(strategy)[0] == 0
