"""Encoded images, in files or in records, that are read by number and decoded only when they are looked at."""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.decoding import PIXELS, decode, decode_bounded, reason_of
from keras_resnet.data.sources import Arrays, Moments, Shape, Source, View, arranged, evenly
from keras_resnet.files import replaced
from keras_resnet.machine import on_terminal

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

    @cached_property
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
        return place, tf.shape(decode_bounded(store.read(number), store.channels))[:2]

    sizes = np.zeros((len(numbers), 2), "int64")
    bar = keras.utils.Progbar(len(numbers), unit_name="image", verbose=int(len(numbers) > QUIET and on_terminal()))
    seen = tf.data.Dataset.from_tensor_slices(np.asarray(numbers, "int64")).enumerate()
    for places, measured in seen.map(size, tf.data.AUTOTUNE).ignore_errors().batch(SIZE).as_numpy_iterator():
        sizes[places] = measured
        bar.add(len(places))
    return sizes


def unreadable(store: Store, numbers: np.ndarray, sizes: np.ndarray) -> list[tuple[str, str]]:
    """Name, and what is wrong, of those whose size is 0."""
    broken = numbers[sizes[:, 0] == 0]
    images = tf.data.Dataset.from_tensor_slices(broken).map(
        lambda number: decode_bounded(store.read(number), store.channels), tf.data.AUTOTUNE
    )
    reasons = map(reason, repeat(iter(images), len(broken)))
    return [(store.name(number), why) for number, why in zip(broken, reasons, strict=True)]


def reason(images: Iterator[tf.Tensor]) -> str:
    """The error with which a training would stop at the next image."""
    try:
        next(images)
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
    ignored: Sequence[tuple[str, str]] = (),
) -> Source:
    """The splits of a store; those of one size that fit are held in memory.

    Args:
        splits: The numbers of each.
        on_error: Of `load_data`.
        ignored: What is no image, and why.
    """
    if on_error == "ignore":
        shape: Shape = (None, None, store.channels)
        good, skipped = np.ones(len(store), bool), []
    else:
        every = np.arange(len(store))
        sizes = np.array(remembered(lambda: look(store, every).tolist(), "sizes", store.files))
        broken = np.flatnonzero((sizes[:, 0] == 0) | (sizes.prod(1) > PIXELS))
        sizes[broken] = look(store, broken)  # it may have been the disk
        skipped = unreadable(store, every, sizes)
        good = sizes[:, 0] > 0
        expect_readable(skipped, on_error)
        if skipped:
            gone = lost(labels[splits["train"]], good[splits["train"]], class_names)
            text = f"{len(skipped)} images cannot be decoded and are left out: {shown(skipped)}{gone}"
            warnings.warn(text, stacklevel=6)
        shape = (*common(sizes[good]), store.channels)
    kept = {split: numbers[good[numbers]] for split, numbers in splits.items()}
    examples = {split: Encoded(store, numbers, labels[numbers], shape) for split, numbers in kept.items()}
    if None not in shape and fits(sum(map(len, kept.values())), shape):
        held = {split: in_memory(part) for split, part in examples.items()}
        return arranged(name, about, class_names, held, skipped, ignored)
    return arranged(name, about, class_names, examples, skipped, ignored)


def fits(count: int, shape: Shape) -> bool:
    return count * np.prod(np.array(shape, "int64")) <= FITS


def common(sizes: np.ndarray) -> tuple[int | None, int | None]:
    """The one size, or None for both."""
    first = sizes[:1].tolist() or [[None, None]]
    return tuple(first[0]) if (sizes == sizes[:1]).all() else (None, None)


def lost(labels: np.ndarray, good: np.ndarray, class_names: Sequence[str]) -> str:
    """Names the classes of which no training image can be decoded, with how many there are.

    Raises:
        ArgumentError: If fewer than two classes are left.
    """
    had, left = (np.bincount(chosen, minlength=len(class_names)) for chosen in (labels, labels[good]))
    empty = [f"{name} ({had[label]:,})" for label, name in enumerate(class_names) if had[label] and not left[label]]
    wanted = "training images of at least two classes that can be decoded"
    expect(not empty or np.count_nonzero(left) > 1, "data", wanted, f"none of {', '.join(empty)}")
    return f". No training image is left of: {', '.join(empty)}" if empty else ""


def expect_readable(broken: Sequence[tuple[str, str]], on_error: str) -> None:
    wanted = "images that can be decoded; `on_error='skip'` leaves the others out"
    expect(on_error == "skip" or not broken, "data", wanted, shown(broken))


def shown(broken: Sequence[tuple[str, str]]) -> str:
    return some_of([f"{name} ({why})" for name, why in broken])


def some_of(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return "; ".join(names[:SHOWN]) + (f", and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def in_memory(examples: Encoded) -> Arrays:
    """Decoded, once."""
    images = np.empty((len(examples), *examples.shape), "uint8")  # type: ignore[type-var]
    numbers = tf.data.Dataset.range(len(examples)).enumerate()
    for start, (batch, _) in enumerate(examples.batched(numbers, SIZE, complete=False).as_numpy_iterator()):
        images[start * SIZE : (start + 1) * SIZE] = batch
    return Arrays(images, examples.labels)


def remembered(measure: Callable[[], Any], kind: str, files: Sequence[str], *more: str) -> Any:
    """What `measure` returns, or returned for the same files: as JSON, in Keras' folder of the user."""
    described = "\n".join((tf.__version__, *more, *map(state, files)))
    key = sha256(described.encode("utf-8", "surrogateescape")).hexdigest()
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
