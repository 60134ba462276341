"""Encoded images, in files or in records, that are read by number and decoded only when they are looked at."""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.decoding import decode, reason_of
from keras_resnet.data.sources import Arrays, Moments, Shape, Source, View, arranged, evenly
from keras_resnet.files import replaced

FITS = 4 * 2**30  # bytes of decoded images that are held in memory
SAMPLE = 4096  # images that mean and standard deviation are taken from, evenly spaced
QUIET = 50_000  # images that are looked at without a progress bar
SIZE = 1024  # of the batches that are read
SHOWN = 5  # names in an error


class Store(Protocol):
    """Where encoded images are: JPEG, PNG, BMP, GIF or WebP."""

    @property
    def channels(self) -> int: ...

    @property
    def files(self) -> Sequence[str]:
        """What is read, to see whether it is still the same."""

    def __len__(self) -> int: ...

    def read(self, number: tf.Tensor) -> tf.Tensor:
        """The bytes of one image."""

    def name(self, number: int) -> str:
        """As errors call it."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A split of images in a store."""

    store: Store
    numbers: np.ndarray  # in the store, int64 [N]
    labels: np.ndarray  # int32 [N]
    shape: Shape

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, chosen: np.ndarray) -> "Encoded":
        return replace(self, numbers=self.numbers[chosen], labels=self.labels[chosen])

    def batched(self, numbers: tf.data.Dataset, size: int, complete: bool, view: View | None = None) -> tf.data.Dataset:
        expect(view or None not in self.shape, "view", "a function that makes images of different sizes one", view)
        view = view or (lambda encoded, _: tf.ensure_shape(decode(encoded, self.shape[2]), self.shape))
        with tf.init_scope(), tf.device("CPU:0"):
            stored, labels = tf.constant(self.numbers), tf.constant(self.labels)
        seen = numbers.map(
            lambda position, number: (view(self.store.read(stored[number]), position), labels[number]),
            tf.data.AUTOTUNE,
            deterministic=True,
        )
        return seen.batch(size, drop_remainder=complete)

    @property
    def moments(self) -> Moments:
        """Every image counts the same, whatever its size; from `SAMPLE` images, remembered on disk."""
        sample = self.numbers[evenly(SAMPLE, len(self))]

        def measured() -> tuple[list[float], list[float]]:
            images = tf.data.Dataset.from_tensor_slices(sample).map(
                lambda number: image_moments(decode(self.store.read(number), self.store.channels)), tf.data.AUTOTUNE
            )
            mean, squares = np.mean(list(images.as_numpy_iterator()), axis=0)
            return mean.tolist(), np.sqrt(squares - mean**2).tolist()

        mean, std = remembered(measured, "moments", self.store.files, sample.tobytes().hex())
        return tuple(mean), tuple(std)


def image_moments(image: tf.Tensor) -> tf.Tensor:
    """Mean, and mean of the squares, of the channels: float64 [2, C]."""
    image = tf.cast(image, tf.float64)
    return tf.reduce_mean(tf.stack([image, image**2]), (1, 2))


def look(store: Store, numbers: np.ndarray) -> np.ndarray:
    """Heights and widths, int [N, 2], by decoding each image whole. 0 for those that cannot be decoded."""

    def size(place: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return place, tf.shape(decode(store.read(number), store.channels))[:2]

    sizes = np.zeros((len(numbers), 2), "int64")
    bar = keras.utils.Progbar(len(numbers), unit_name="image", verbose=int(len(numbers) > QUIET))
    seen = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64")).enumerate()
    for places, measured in seen.map(size, tf.data.AUTOTUNE).ignore_errors().batch(SIZE).as_numpy_iterator():
        sizes[places] = measured
        bar.add(len(places))
    return sizes


def unreadable(store: Store, numbers: np.ndarray, sizes: np.ndarray) -> list[tuple[str, str]]:
    """Name, and what is wrong, of those whose size is 0."""
    return [(store.name(number), reason(store, number)) for number in numbers[sizes[:, 0] == 0]]


def reason(store: Store, number: int) -> str:
    """The error with which a training would stop."""
    image = tf.data.Dataset.from_tensors(number).map(lambda number: decode(store.read(number), store.channels))
    try:
        next(iter(image))
    except tf.errors.OpError as error:
        return reason_of(error)
    return "an empty image"


def encoded_source(
    name: str,
    about: str,
    class_names: Sequence[str],
    store: Store,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    on_error: str,
) -> Source:
    """The splits of a store; those of one size that fit are held in memory.

    Args:
        splits: The numbers of each.
        on_error: Of `load_data`.
    """
    if on_error == "ignore":
        shape: Shape = (None, None, store.channels)
        good, skipped = np.ones(len(store), bool), []
    else:
        every = np.arange(len(store))
        sizes = np.array(remembered(lambda: look(store, every).tolist(), "sizes", store.files))
        broken = np.flatnonzero(sizes[:, 0] == 0)
        sizes[broken] = look(store, broken)  # it may have been the disk
        skipped = unreadable(store, every, sizes)
        report(skipped, on_error)
        good = sizes[:, 0] > 0
        shape = (*common(sizes[good]), store.channels)
    kept = {split: numbers[good[numbers]] for split, numbers in splits.items()}
    examples = {split: Encoded(store, numbers, labels[numbers], shape) for split, numbers in kept.items()}
    if None not in shape and fits(sum(map(len, kept.values())), shape):
        return arranged(name, about, class_names, {split: in_memory(part) for split, part in examples.items()}, skipped)
    return arranged(name, about, class_names, examples, skipped)


def fits(count: int, shape: Shape) -> bool:
    return count * np.prod(np.array(shape, "int64")) <= FITS


def common(sizes: np.ndarray) -> tuple[int | None, int | None]:
    """The one size, or None for both."""
    first = sizes[:1].tolist() or [[None, None]]
    return tuple(first[0]) if (sizes == sizes[:1]).all() else (None, None)


def report(broken: Sequence[tuple[str, str]], on_error: str) -> None:
    names = "; ".join(f"{name} ({why})" for name, why in broken[:SHOWN])
    names += f", and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    wanted = "images that can be decoded; `on_error='skip'` leaves the others out"
    expect(on_error == "skip" or not broken, "data", wanted, names)
    if broken:
        warnings.warn(f"{len(broken)} images cannot be decoded and are left out: {names}", stacklevel=5)


def in_memory(examples: Encoded) -> Arrays:
    """Decoded, once."""
    images = np.empty((len(examples), *examples.shape), "uint8")  # type: ignore[type-var]
    numbers = tf.data.Dataset.range(len(examples)).enumerate()
    for start, (batch, _) in enumerate(examples.batched(numbers, SIZE, complete=False).as_numpy_iterator()):
        images[start * SIZE : (start + 1) * SIZE] = batch
    return Arrays(images, examples.labels)


def remembered(measure: Callable[[], Any], kind: str, files: Sequence[str], *more: str) -> Any:
    """What `measure` returns, or returned for the same files: as JSON, in Keras' folder of the user."""
    key = sha256("\n".join((tf.__version__, *more, *map(state, files))).encode()).hexdigest()
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras_resnet"
    path = folder / f"{kind}-{key[:32]}.json"
    with suppress(OSError, ValueError):  # nothing there, or not whole
        return json.loads(path.read_text())
    measured = measure()
    with suppress(OSError):  # nowhere to write: it is measured again
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(path) as partial:
            partial.write_text(json.dumps(measured))
    return json.loads(json.dumps(measured))


def state(file: str) -> str:
    """What changes where the file does."""
    try:
        status = os.stat(file)
    except OSError as error:
        return f"{file} {error.errno}"
    return f"{file} {status.st_size} {status.st_mtime_ns}"
