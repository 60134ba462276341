"""Training on several devices and on several machines, with plain Keras `fit`."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import tensorflow as tf
from keras import layers
from tensorflow.python.eager import context

from keras_resnet.checks import expect, expect_rule, invalid, one_of
from keras_resnet.graph.tracing import walk

JOBS = ("chief", "worker")
ANSWER, PATIENCE = 3, 30  # seconds: for a peer to answer; for TensorFlow to notice by itself that one does not
LINEAR_SCALING = (
    "The learning rate is that of the global batch, and is not scaled for you: multiply it by what you multiply the "
    "batch with (Goyal et al. 2017, arXiv:1706.02677)."
)


class PeerLostError(ConnectionError):
    """A worker of the cluster is gone: the others cannot go on, and all have to be started again."""


class MultiWorkerMirrored(tf.distribute.MultiWorkerMirroredStrategy):
    """The strategy of several machines as Keras 3's `fit` and `evaluate` need it (keras#20585).

    They reduce scalars along the axis of a batch, and, only to learn its shapes, a whole structure: a batch.
    """

    def reduce(self, reduce_op, value, axis):
        if tf.nest.is_nested(value):
            return tf.nest.map_structure(lambda leaf: self.experimental_local_results(leaf)[0], value)
        scalar = self.experimental_local_results(value)[0].shape.rank == 0
        return super().reduce(reduce_op, value, None if scalar else axis)


class Slurm(tf.distribute.cluster_resolver.SlurmClusterResolver):
    """TensorFlow's, also for nodes without GPUs, with nodes in SLURM's order and the GPUs that SLURM shows a task."""

    def __init__(self):
        tasks, job = int(os.environ["SLURM_STEP_NUM_TASKS"]), int(os.environ.get("SLURM_JOB_ID", 0))
        super().__init__(port_base=10_000 + job % 10_000, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False)

    def cluster_spec(self):
        nodes = self._task_configuration.items()
        self.task_type, self.task_id = "worker", self._rank
        return tf.train.ClusterSpec(
            {"worker": [f"{node}:{self._port_base + task}" for node, tasks in nodes for task in range(tasks)]}
        )

    def num_accelerators(self, *args, **kwargs):
        return {"GPU": len(tf.config.list_physical_devices("GPU"))}


RESOLVERS: dict[str, Callable] = {  # the variable that shows who launched this process
    "TF_CONFIG": tf.distribute.cluster_resolver.TFConfigClusterResolver,
    "SLURM_STEP_NUM_TASKS": Slurm,
}


def strategy(kind: str = "auto") -> tf.distribute.Strategy | None:
    """The strategy for the devices and machines that there are, to build and compile a model in its `scope()`.

    Call it before anything that computes with TensorFlow, and never compile with `jit_compile=True` under it.

    Args:
        kind: "mirrored" (all GPUs of this machine, or else its logical CPUs), "multi_worker" (the workers that
            `TF_CONFIG` or SLURM describes, with all GPUs of each), "none", or "auto": several workers where
            `TF_CONFIG` or SLURM describes several, or else several GPUs, or else none.

    Returns:
        A strategy, or None where one device trains.

    Raises:
        ValueError: For an unknown kind, a cluster without a place for this process, or "multi_worker" without one.

    >>> import keras_resnet
    >>> keras_resnet.strategy("none")
    """
    expect_rule(one_of(*STRATEGIES), "kind", kind)
    return STRATEGIES[kind]()


def automatic() -> tf.distribute.Strategy | None:
    found = cluster()  # before GPUs are looked at
    several = found is None and len(tf.config.list_physical_devices("GPU")) > 1
    return MultiWorkerMirrored(found) if found else mirrored() if several else None


def mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def multi_worker() -> tf.distribute.Strategy:
    found = cluster()
    expect(found, "kind", "TF_CONFIG or SLURM to describe several workers", "multi_worker")
    return MultiWorkerMirrored(found)


STRATEGIES: dict[str, Callable] = {
    "auto": automatic, "none": lambda: None, "mirrored": mirrored, "multi_worker": multi_worker
}  # fmt: skip


def cluster() -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """The workers that the environment describes, or None where these are not several."""
    variable = next(filter(os.environ.get, RESOLVERS), None)
    if variable is None:
        return None
    expected = 'a cluster of "worker" and "chief" tasks, and which of them this is'
    try:
        resolver = RESOLVERS[variable]()
        tasks = resolver.cluster_spec().as_dict()
        own = (resolver.task_type, resolver.task_id)
    except (RuntimeError, TypeError, ValueError) as error:
        raise invalid(variable, f"{expected} ({error})", os.environ[variable]) from error
    if sum(map(len, tasks.values())) <= 1:
        return None
    expect(set(tasks) <= {*JOBS} and own in places(tasks), variable, expected, os.environ[variable])
    return resolver


def places(tasks: dict[str, list[str]]) -> dict[tuple[str, int], str]:
    """(job, task) of every worker, in the cluster's order, and its address."""
    return {(job, task): address for job in JOBS for task, address in enumerate(tasks.get(job, ()))}


def workers(strategy: tf.distribute.Strategy | None) -> tuple[int, int]:
    """(which worker this process is, how many there are); (0, 1) on one machine."""
    extended = getattr(strategy, "extended", None)
    return getattr(extended, "_id_in_cluster", 0), getattr(extended, "_num_workers", 1)


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes."""
    return workers(strategy)[0] == 0


def replicas(strategy: tf.distribute.Strategy | None) -> int:
    return getattr(strategy, "num_replicas_in_sync", 1)


def distributed(strategy: tf.distribute.Strategy | None, batches: Callable[[int, int], tf.data.Dataset]) -> Any:
    """What `fit` and `evaluate` read: each replica's part of every global batch.

    Args:
        strategy: What `strategy` returned.
        batches: From (this worker, how many workers there are) to its part of every global batch. All workers need as
            many batches, and as many images in each as they have replicas: see `even_batch_size`.
    """
    if strategy is None:
        return batches(0, 1)
    worker, count = workers(strategy)
    part, own = batches(worker, count), replicas(strategy) // count
    found = strategy.distribute_datasets_from_function(lambda _: split(part, own))
    found._cardinality = part.cardinality().numpy()  # what Keras takes for its steps, and TensorFlow counts pieces
    return found


def split(dataset: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Every batch as so many, of sizes that differ by one image at most."""

    def pieces(*batch):
        size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
        return tf.data.Dataset.from_tensors(batch).rebatch((size + tf.range(parts, dtype=tf.int64)) // parts)

    return dataset if parts == 1 else dataset.flat_map(pieces)


def even_batch_size(strategy: tf.distribute.Strategy | None, batch_size: int, images: int) -> int:
    """The largest global batch, up to `batch_size`, of which every replica has a part, also of the last, smaller one.

    A replica without images would make losses NaN, and fails in oneDNN's convolutions (TensorFlow 2.21).

    Raises:
        ValueError: Where there is none: there are too few images.

    >>> even_batch_size(None, 128, 10_000)
    128
    """
    count = replicas(strategy)
    sizes = range(batch_size - batch_size % count, 0, -count)
    found = next((size for size in sizes if images % size == 0 or images % size >= count), 0)
    expect(found, "images", f"enough of them for {count} replicas and batches of up to {batch_size}", images)
    return found


def describe(strategy: tf.distribute.Strategy | None, batch_size: int) -> str:
    """Which devices share a global batch, how, and what that means for the learning rate.

    Raises:
        ValueError: Where the replicas cannot have equal parts of the batch.

    >>> print(describe(None, 128))  # doctest: +ELLIPSIS
    1 replica on 1 worker; a global batch of 128, 128 each, cut by TensorFlow.
    The learning rate is that of the global batch, and is not scaled for you: ...
    """
    count, (worker, processes) = replicas(strategy), workers(strategy)
    expect(batch_size % count == 0, "batch_size", f"a multiple of {count}, the number of replicas", batch_size)
    cut = f"of which worker {worker} (this one) reads its own part" if processes > 1 else "cut by TensorFlow"
    return (
        f"{counted(count, 'replica')} on {counted(processes, 'worker')}; a global batch of {batch_size}, "
        f"{batch_size // count} each, {cut}.\n{LINEAR_SCALING}"
    )


def counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


def synchronized(model: keras.Model, whether: bool = True) -> keras.Model:
    """The model itself, its batch norms taking statistics over the global batch; before `fit` first runs.

    Files of such a model load on the TensorFlow backend only: undo it with `whether=False` before saving.
    """
    for layer in walk(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.synchronized = whether
    return model


def total(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """The sum over the workers, once all of them have come here."""
    return strategy.reduce("SUM", tf.constant(values, tf.int64), axis=None).numpy()


def from_chief(strategy: tf.distribute.Strategy | None, number: int) -> int:
    """The chief's number, on every worker: what they must not each find out for themselves, as where to resume."""
    return number if workers(strategy)[1] == 1 else int(total(strategy, number * is_chief(strategy)))


def shared_folder(strategy: tf.distribute.Strategy | None, folder: str | Path, timeout: float = 60) -> None:
    """Checks that every worker sees the folder into which the chief writes; made where it does not exist.

    Raises:
        ValueError: On every worker, where one does not see within `timeout` seconds what the chief wrote.
    """
    worker, count = workers(strategy)
    Path(folder).mkdir(parents=True, exist_ok=True)
    if count == 1:
        return
    token = Path(folder) / f".written-by-the-chief-{from_chief(strategy, int.from_bytes(os.urandom(6)))}"
    if is_chief(strategy):
        token.touch()
    blind = total(strategy, [index == worker and not seen(token, timeout) for index in range(count)])
    if is_chief(strategy):
        token.unlink()
    expect(not any(blind), "folder", f"one that all workers share; not seen by {blind.nonzero()[0]}", str(folder))


def seen(path: Path, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while path.name not in os.listdir(path.parent) and time.monotonic() < end:
        time.sleep(0.5)
    return path.exists()


def peers(strategy: tf.distribute.Strategy | None) -> dict[str, str]:
    """The other workers: their names in TensorFlow, and their addresses."""
    if strategy is None or workers(strategy)[1] == 1:
        return {}
    resolver = strategy.cluster_resolver
    others = places(resolver.cluster_spec().as_dict())
    del others[resolver.task_type, resolver.task_id]
    return {f"/job:{job}/replica:0/task:{task}": address for (job, task), address in others.items()}


def answers(peer: str) -> bool:
    try:
        context.context().check_collective_ops_peer_health(peer, timeout_in_ms=ANSWER * 1000)
    except tf.errors.OpError:
        return False
    return True


def loss(others: dict[str, str], reason: str) -> str:
    """The message that says who is gone: whoever does not answer, or else whoever the reason names."""
    silent = [peer for peer in others if not answers(peer)]
    named = [peer for peer in others if re.search(peer.replace("/replica:0", "(/replica:0)?") + r"\b", reason)]
    gone = ", ".join(f"{peer} ({others[peer]})" for peer in silent or named) or "a peer whose name is unknown"
    return f"Lost {gone}. All workers have to be started again; they resume from the last checkpoint. {reason}"


@contextmanager
def peers_watched(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Around `fit`: a process does not outlive its peers, and says which of them it lost; all leave together.

    Raises:
        PeerLostError: Where a peer is gone. Where TensorFlow hangs instead of noticing, the process says so and exits.
    """
    others = peers(strategy)
    if not others:
        yield
        return
    left = threading.Event()
    threading.Thread(target=watch, args=(others, left, threading.get_ident()), daemon=True).start()
    try:
        yield
        total(strategy, 0)
    except tf.errors.OpError as error:
        if all(map(answers, others)) and "Collective ops is aborted" not in error.message:
            raise
        raise PeerLostError(loss(others, error.message)) from error
    finally:
        left.set()


def watch(others: dict[str, str], left: threading.Event, thread: int) -> None:
    """Ends the process where a peer is silent and the thread waits in one call of TensorFlow, both for too long."""
    since, before = time.monotonic(), None
    while not left.wait(ANSWER):
        waiting = None if all(map(answers, others)) else call_of_tensorflow(thread)
        if waiting is None or waiting is not before:
            since, before = time.monotonic(), waiting
        elif time.monotonic() - since > PATIENCE:
            print(loss(others, "TensorFlow hangs."), file=sys.stderr, flush=True)
            os._exit(1)


def call_of_tensorflow(thread: int) -> FrameType | None:
    """Where the thread is, if in TensorFlow: a frame is the same object only while the call lasts."""
    frame = sys._current_frames().get(thread)
    return frame if frame and frame.f_globals.get("__name__", "").startswith("tensorflow.") else None
