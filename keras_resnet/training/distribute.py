"""Training on several devices and on several machines, with plain Keras `fit`."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.checks import expect, expect_rule, one_of
from keras_resnet.graph.tracing import walk
from keras_resnet.training.cluster import cluster, is_chief, workers
from keras_resnet.training.peers import total
from keras_resnet.training.statistics import EqualStatistics
from keras_resnet.training.tensorflow_private import counted_in_steps

LINEAR_SCALING = (
    "The learning rate is that of the global batch, and is not scaled for you: multiply it by what you multiply the "
    "batch with (Goyal et al. 2017, arXiv:1706.02677)."
)
Batches = Callable[[int, int], tf.data.Dataset]  # from (this worker, how many there are) to its part of every batch


class Mirrored(EqualStatistics, tf.distribute.MirroredStrategy):
    """The strategy of one machine."""


class MultiWorkerMirrored(EqualStatistics, tf.distribute.MultiWorkerMirroredStrategy):
    """The strategy of several machines as Keras 3's `fit` and `evaluate` need it (keras#20585).

    They reduce scalars along the axis of a batch, and, only to learn its shapes, a whole structure: a batch.
    """

    def reduce(self, reduce_op: str | tf.distribute.ReduceOp, value: object, axis: int | None) -> object:
        if tf.nest.is_nested(value):
            return tf.nest.map_structure(lambda leaf: self.experimental_local_results(leaf)[0], value)
        scalar = self.experimental_local_results(value)[0].shape.rank == 0
        return super().reduce(reduce_op, value, None if scalar else axis)


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
    described = cluster()  # before GPUs are looked at
    if described:
        return MultiWorkerMirrored(described)
    return mirrored() if len(tf.config.list_physical_devices("GPU")) > 1 else None


def mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return Mirrored([device.name for device in devices])


def multi_worker() -> tf.distribute.Strategy:
    described = cluster()
    expect(described, "kind", "TF_CONFIG or SLURM to describe several workers", "multi_worker")
    return MultiWorkerMirrored(described)


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy | None]] = {
    "auto": automatic,
    "none": lambda: None,
    "mirrored": mirrored,
    "multi_worker": multi_worker,
}


def replicas(strategy: tf.distribute.Strategy | None) -> int:
    """How many devices share a global batch, on all workers together."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def distributed(
    strategy: tf.distribute.Strategy | None, batches: Batches
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
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
    pieces = strategy.distribute_datasets_from_function(lambda _: split(part, own))
    return counted_in_steps(pieces, part.cardinality().numpy())  # Keras takes its steps from there


def split(dataset: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Every batch as so many, of sizes that differ by one image at most."""

    def pieces(*batch: tf.Tensor) -> tf.data.Dataset:
        size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
        return tf.data.Dataset.from_tensors(batch).rebatch((size + tf.range(parts, dtype=tf.int64)) // parts)

    return dataset if parts == 1 else dataset.flat_map(pieces)


def even_batch_size(strategy: tf.distribute.Strategy | None, batch_size: int, images: int) -> int:
    """The largest global batch, up to `batch_size`, of which every replica has a part, also of the last, smaller one.

    A replica without images would make losses NaN, and fails in oneDNN's convolutions (TensorFlow 2.21).

    Raises:
        ValueError: If there is none: there are too few images.

    >>> even_batch_size(None, 128, 10_000)
    128
    """
    count = replicas(strategy)
    sizes = range(batch_size - batch_size % count, 0, -count)
    largest = next((size for size in sizes if images % size == 0 or images % size >= count), 0)
    expect(largest, "images", f"enough of them for {count} replicas and batches of up to {batch_size}", images)
    return largest


def replica_batch_size(strategy: tf.distribute.Strategy | None, batch_size: int) -> int:
    """The images of a global batch that one replica trains on.

    Raises:
        ValueError: If the replicas cannot have equal parts.
    """
    count = replicas(strategy)
    expect(batch_size % count == 0, "batch_size", f"a multiple of {count}, the number of replicas", batch_size)
    return batch_size // count


def sharing(strategy: tf.distribute.Strategy | None, batch_size: int) -> str:
    """Which devices share a global batch, how, and what that means for the learning rate.

    Raises:
        ValueError: If the replicas cannot have equal parts of the batch.

    >>> print(sharing(None, 128))  # doctest: +ELLIPSIS
    1 replica on 1 worker; a global batch of 128, 128 each, cut by TensorFlow.
    The learning rate is that of the global batch, and is not scaled for you: ...
    """
    worker, count = workers(strategy)
    cut = f"of which worker {worker} (this one) reads its own part" if count > 1 else "cut by TensorFlow"
    return (
        f"{counted(replicas(strategy), 'replica')} on {counted(count, 'worker')}; a global batch of {batch_size}, "
        f"{replica_batch_size(strategy, batch_size)} each, {cut}.\n{LINEAR_SCALING}"
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


def from_chief(strategy: tf.distribute.Strategy | None, number: int) -> int:
    """Broadcasts the chief's number to all workers, such as the epoch to resume at."""
    if strategy is None or workers(strategy)[1] == 1:
        return number
    return int(total(strategy, number * is_chief(strategy)))


def shared_folder(strategy: tf.distribute.Strategy | None, folder: str | Path, timeout: float = 60) -> None:
    """Checks that every worker sees the folder into which the chief writes. Creates it if it does not exist.

    Raises:
        ValueError: On every worker, if one does not see within `timeout` seconds what the chief wrote.
    """
    worker, count = workers(strategy)
    Path(folder).mkdir(parents=True, exist_ok=True)
    if strategy is None or count == 1:
        return
    token = Path(folder) / f".written-by-the-chief-{from_chief(strategy, int.from_bytes(os.urandom(6)))}"
    if is_chief(strategy):
        token.touch()
    blind = total(strategy, [index == worker and not seen(token, timeout) for index in range(count)])
    if is_chief(strategy):
        token.unlink()
    wanted = f"one that all workers share; not seen by {np.flatnonzero(blind).tolist()}"
    expect(not any(blind), "folder", wanted, str(folder))


def seen(path: Path, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while path.name not in os.listdir(path.parent) and time.monotonic() < end:
        time.sleep(0.5)
    return path.exists()
