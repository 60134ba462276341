"""Labelled images and what is known of them: the built-in digits and arrays in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_resnet.checks import expect

HELD_OUT = 5  # every fifth training image is the test, where a source has none
Shape = tuple[int | None, int | None, int]  # height, width and channels; None where they differ from image to image
View = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (image or the bytes of a file, position) -> image
Moments = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of the channels, 0 to 255


class Examples(Protocol):
    """A split of labelled images that is read by number: in memory, or from files."""

    @property
    def labels(self) -> np.ndarray:
        """int32 [N]."""

    @property
    def shape(self) -> Shape: ...

    @property
    def moments(self) -> Moments: ...

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: np.ndarray, /) -> "Examples":
        """Those with these numbers."""

    def batched(self, numbers: tf.data.Dataset, size: int, complete: bool, view: View | None = None) -> tf.data.Dataset:
        """Batches (images [size, H, W, C], labels int32 [size]).

        Args:
            numbers: Of (position in the whole training, number of the example), int64.
            size: Of a batch.
            complete: Leaves out a last batch that is smaller, so that the shapes are static.
            view: (image [H, W, C] or the bytes of a file, position) -> image; None takes the images as they are.
        """


@dataclass(frozen=True, eq=False)
class Arrays:
    """Images in memory: uint8 [N, H, W, C], and their labels, int32 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        shape: Any = getattr(self.images, "shape", None)
        wanted = "an array of uint8, [N, H, W, C], 0 to 255"
        pixels = shape and len(shape) == 4 and self.images.dtype == np.uint8
        expect(pixels, "images", wanted, shape and f"{self.images.dtype} {shape}")
        labels = np.asarray(self.labels)
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels  # as keras.datasets has them
        numbers = np.issubdtype(labels.dtype, np.integer) and labels.min(initial=0) >= 0
        wanted = f"an array of {shape[0]} integers, 0 and more"
        expect(labels.shape == shape[:1] and numbers, "labels", wanted, f"{labels.dtype} {labels.shape}")
        object.__setattr__(self, "labels", labels.astype("int32"))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray) -> "Arrays":
        return Arrays(self.images[chosen], self.labels[chosen])

    @property
    def shape(self) -> Shape:
        return self.images.shape[1:]

    @cached_property
    def pixel_mean(self) -> np.ndarray:
        return self.images.mean(0, dtype="float64")

    @cached_property
    def moments(self) -> Moments:
        mean = self.pixel_mean.mean((0, 1))
        squares = np.einsum("nhwc,nhwc->hwc", self.images, self.images, dtype="float64").mean((0, 1))
        return tuple(mean.tolist()), tuple(np.sqrt(squares / len(self) - mean**2).tolist())

    @cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Made once, for there may be gigabytes; and where the pipeline is, not on an accelerator."""
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(self.images), tf.constant(self.labels)

    def batched(self, numbers: tf.data.Dataset, size: int, complete: bool, view: View | None = None) -> tf.data.Dataset:
        images, labels = self._tensors
        if view is None:  # one gather for a batch
            batches = numbers.batch(size, drop_remainder=complete)
            return batches.map(
                lambda _, number: (tf.gather(images, number), tf.gather(labels, number)), tf.data.AUTOTUNE
            )
        seen = numbers.map(lambda position, number: (view(images[number], position), labels[number]), tf.data.AUTOTUNE)
        return seen.batch(size, drop_remainder=complete)


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images in splits.

    `validation` chooses between epochs, and `test` never does. Without a validation split the last epoch is delivered.
    """

    name: str
    about: str
    class_names: tuple[str, ...]
    train: Examples
    test: Examples
    validation: Examples | None = None
    skipped: tuple[tuple[str, str], ...] = ()  # images left out, and why
    ignored: tuple[tuple[str, str], ...] = ()  # files and folders beside the images, and why

    @property
    def splits(self) -> dict[str, Examples]:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in splits.items() if split is not None}

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> Shape:
        """Of the training images."""
        return self.train.shape

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the training images' channels, on their scale of 0 to 255."""
        return self.train.moments[0]

    @property
    def std(self) -> tuple[float, ...]:
        return self.train.moments[1]

    @property
    def pixel_mean(self) -> np.ndarray:
        """Of the training images, [H, W, C], which He et al. 2015, 4.2 subtract."""
        expect(isinstance(self.train, Arrays), "data", "images of one size that fit in memory", self.name)
        return self.train.pixel_mean  # type: ignore[attr-defined]


def arranged(
    name: str,
    about: str,
    class_names: Sequence[str],
    splits: Mapping[str, Any],
    skipped: Sequence[tuple[str, str]] = (),
    ignored: Sequence[tuple[str, str]] = (),
) -> Source:
    """A source with a test split: its own, or else its validation split, or else every fifth training image."""
    train, test, validation = splits["train"], splits.get("test"), splits.get("validation")
    if test is None and validation:
        test, validation, about = validation, None, f"{about}; the test is its validation split"
    elif test is None:
        (train, test), about = held_out(train, len(train) // HELD_OUT), f"{about}; a fifth is held out as the test"
    return Source(name, about, tuple(class_names), train, test, validation, tuple(skipped), tuple(ignored))


def held_out(examples: Examples, count: int) -> tuple[Examples, Examples]:
    """The examples that are left, and the `count` that are held out: evenly spaced in each class.

    It depends on nothing but the labels.

    Raises:
        ArgumentError: If one of both would be empty.
    """
    expect(0 < count < len(examples), "data", "training images of which some can be held out", len(examples))
    by_class = np.argsort(examples.labels, kind="stable")
    chosen = np.sort(by_class[evenly(count, len(examples))])
    return examples[np.delete(np.arange(len(examples)), chosen)], examples[chosen]


def evenly(count: int, total: int) -> np.ndarray:
    """`count` numbers below `total`: the middles of as many equal stretches, or all numbers where there are no more.

    >>> from keras_resnet.data import evenly
    >>> evenly(3, 12).tolist(), evenly(9, 4).tolist()
    ([2, 6, 10], [0, 1, 2, 3])
    """
    count = min(count, total)
    return (2 * np.arange(count) + 1) * total // (2 * count)


def digits() -> Source:
    """1,797 handwritten digits of 13 writers, 8x8 pixels, in the package (Alpaydin and Kaynak 1998, UCI, CC BY 4.0).

    The splits are fixed: every fifth of each class is the test, so that the 13 writers are in both; every tenth of the
    others is the validation.

    >>> from keras_resnet.data import digits
    >>> [len(split) for split in (digits().train, digits().validation, digits().test)]
    [1295, 143, 359]
    """
    with as_file(files("keras_resnet") / "data/digits/digits.npz") as path, np.load(path) as archive:
        images, labels = archive["images"], archive["labels"].astype("int32")
    whole = Arrays(np.round(images[..., np.newaxis] * (255 / 16)).astype("uint8"), labels)
    by_class = np.argsort(labels, kind="stable")
    test, rest = by_class[4::5], np.delete(by_class, np.s_[4::5])
    validation, train = rest[9::10], np.delete(rest, np.s_[9::10])
    return Source(
        name="digits",
        about="Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI 1998, CC BY 4.0",
        class_names=tuple("0123456789"),
        train=whole[np.sort(train)],
        validation=whole[np.sort(validation)],
        test=whole[np.sort(test)],
    )
