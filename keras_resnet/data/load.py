"""Labelled images from whatever holds them, and a report of what is in them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.checks import Rule, expect, expect_rule, is_integer, is_number, one_of
from keras_resnet.data.encoded import Encoded, look, unreadable
from keras_resnet.data.folder import folder_source
from keras_resnet.data.names import kind_of
from keras_resnet.data.sources import Arrays, Source, arranged, digits, held_out

VALIDATION = Rule(
    lambda value: value is None or (is_number(value) and (0 < value < 1 or (is_integer(value) and value > 0))),
    "None, a share in (0, 1), or a number of training images",
)
ON_ERROR = one_of("raise", "skip", "ignore")


def load_data(
    data: Any, *, data_dir: str | Path | None = None, validation: float | None = None, on_error: str = "raise"
) -> Source:
    """Images and labels in splits for training, test and perhaps validation.

    Where there is no test, the validation split is the test, or else every fifth training image; `about` says so.

    Args:
        data: "digits"; the name of a TFDS set such as "cifar10", "cifar10:3.0.2" or "imagenet2012"; the path of a
            folder, where one word that is also a name is written "./cifar10"; arrays (images, labels) or, as
            `keras.datasets.cifar10.load_data()` returns, ((images, labels), (images, labels)); or a `Source`.
        data_dir: Where TFDS keeps its sets.
        validation: The share or number of training images to hold out, the same share of every class and always
            the same ones; None for the validation split that the data have, if they have one.
        on_error: What is done about images that cannot be decoded, each of which is looked at once: "raise" names
            them in an error; "skip" leaves them out, warns, and names them in the source's `skipped`; "ignore"
            looks at none, for `check` to do so.

    Raises:
        ArgumentError: A `ValueError` that says what is wrong with the data, and with which image.
        OSError: Where data cannot be read or downloaded.

    >>> from keras_resnet.data import load_data
    >>> source = load_data("digits")
    >>> source.shape, source.classes
    ((8, 8, 1), 10)
    """
    expect_rule(VALIDATION, "validation", validation)
    expect_rule(ON_ERROR, "on_error", on_error)
    source = source_of(data, data_dir, on_error)
    return source if validation is None else with_validation(source, validation)


def source_of(data: Any, data_dir: str | Path | None, on_error: str) -> Source:
    if isinstance(data, Source):
        return data
    if isinstance(data, str | os.PathLike):
        return named(data, data_dir, on_error)
    return arrays(data)


def named(data: str | os.PathLike, data_dir: str | Path | None, on_error: str) -> Source:
    kind = kind_of(data, data_dir)
    if kind == "digits":
        return digits()
    if kind == "folder":
        return folder_source(Path(data), on_error)
    from keras_resnet.data.tfds_source import tfds_source  # takes seconds to import

    return tfds_source(str(data), data_dir, on_error)


def arrays(data: Any) -> Source:
    """Classes are named by their numbers."""
    wanted = "a name, a folder, (images, labels) or ((images, labels), (images, labels))"
    expect(isinstance(data, tuple | list) and len(data) == 2, "data", wanted, type(data))
    pairs = data if isinstance(data[0], tuple | list) else [data]
    expect(all(len(pair) == 2 for pair in pairs), "data", "(images, labels) in each split", list(map(len, pairs)))
    splits = {split: pair_of(*pair) for split, pair in zip(("train", "test"), pairs, strict=False)}
    shapes = {part.shape for part in splits.values()}
    expect(len(shapes) == 1, "data", "images of one size in both splits", shapes)
    classes = 1 + max(int(part.labels.max(initial=0)) for part in splits.values())
    return arranged("arrays", "arrays in memory", list(map(str, range(classes))), splits)


def pair_of(images: Any, labels: Any) -> Arrays:
    images = np.asarray(images)
    return Arrays(images[..., np.newaxis] if images.ndim == 3 else images, np.asarray(labels))  # grey, as MNIST


def with_validation(source: Source, validation: float) -> Source:
    expect(source.validation is None, "validation", "data without a validation split of their own", validation)
    count = validation if is_integer(validation) else round(validation * len(source.train))
    wanted = f"from 1 to less than all of the {len(source.train)} training images"
    expect(0 < count < len(source.train), "validation", wanted, validation)
    train, held = held_out(source.train, int(count))
    return replace(source, train=train, validation=held)


@dataclass(frozen=True)
class Report:
    """What is in a source; as a text, what `keras-resnet check` prints."""

    name: str
    classes: int
    images: Mapping[str, int]  # of each split, with those that cannot be decoded
    per_class: tuple[int, int]  # training images of the smallest and of the largest class
    sizes: tuple[tuple[int, int], tuple[int, int]]  # least and greatest height and width
    unreadable: tuple[tuple[str, str], ...]  # names, and why
    ignored: tuple[tuple[str, str], ...] = ()  # what is beside the images, and why

    def __str__(self) -> str:
        splits = ", ".join(f"{split} {count:,}" for split, count in self.images.items())
        low, high = ("x".join(map(str, size)) for size in self.sizes)
        lines = [
            f"{self.name}: {sum(self.images.values()):,} images of {self.classes} classes: {splits}",
            "training images of a class: {:,} to {:,}".format(*self.per_class),
            f"height x width: {low if low == high else f'{low} to {high}'}",
            f"cannot be decoded: {len(self.unreadable)}",
        ]
        lines += [f"  {name}: {why}" for name, why in self.unreadable]
        lines += [f"ignored: {len(self.ignored)}"] * bool(self.ignored)
        return "\n".join(lines + [f"  {name}: {why}" for name, why in self.ignored])


def check(source: Source) -> Report:
    """Decodes every encoded image of every split, whole."""
    looked = [looked_at(split) for split in source.splits.values()]
    sizes = np.concatenate([measured for measured, _ in looked])
    sizes = sizes[sizes.all(1)]
    of_class = np.bincount(source.train.labels, minlength=source.classes)
    return Report(
        name=source.name,
        classes=source.classes,
        images={name: len(split) for name, split in source.splits.items()},
        per_class=(int(of_class.min()), int(of_class.max())),
        sizes=(pair(sizes.min(0, initial=2**31)), pair(sizes.max(0, initial=0))),
        unreadable=(*source.skipped, *(image for _, broken in looked for image in broken)),
        ignored=source.ignored,
    )


def looked_at(split: Any) -> tuple[np.ndarray, list[tuple[str, str]]]:
    if not isinstance(split, Encoded):
        return np.full((len(split), 2), split.shape[:2]), []
    sizes = look(split.store, split.numbers)
    return sizes, unreadable(split.store, split.numbers, sizes)


def pair(values: np.ndarray) -> tuple[int, int]:
    return int(values[0]), int(values[1])
