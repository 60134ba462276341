"""Image classification sets of TensorFlow Datasets, by name.

TFDS reads ArrayRecord files by number, but not the TFRecords that its sets are prepared as: where a set does not fit in
memory, one pass (which verifies the records' checksums) finds where each lies, and from then on it is read with `seek`.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_resnet.checks import expect, invalid
from keras_resnet.data.encoded import encoded_source, fits, remembered
from keras_resnet.data.sources import Arrays, Source, arranged
from keras_resnet.machine import on_terminal

SPLITS = ("train", "validation", "test")
SIZE = 1024  # of the batches that are read
NAMES = {  # of sets whose names TFDS finds only while it downloads them
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
PORTS = {"http": 80, "https": 443, "ftp": 21}
SECONDS = 10  # for a connection
FRAME = 12, 4  # bytes of a TFRecord before and after what it holds: its length, and checksums


def tfds_source(name: str, data_dir: str | Path | None, on_error: str) -> Source:
    """The set's training, validation and test images; a split without labels, as imagenet2012's test, is left out.

    Raises:
        ArgumentError: Where TFDS cannot prepare it, or it is not labelled images.
        OSError: Where it cannot be downloaded, or its files are damaged.
    """
    with tfds_errors(name):
        builder = tfds.builder(name, data_dir=data_dir and Path(data_dir).expanduser())
    keys = image_and_label(builder.info)
    with tfds_errors(name):
        expect_reachable(builder, Path(data_dir or tfds.core.constants.DATA_DIR).expanduser())
        if not on_terminal():
            tfds.disable_progress_bar()  # of escape codes
        builder.download_and_prepare()
    splits = [split for split in SPLITS if split in builder.info.splits and labelled(builder, split)]
    expect("train" in splits, "data", "a set with a labelled training split", f"{name} {list(builder.info.splits)}")
    image, label = (builder.info.features[key] for key in keys)
    numbered = label.names == list(map(str, range(label.num_classes)))
    class_names = NAMES.get(builder.name, label.names) if numbered else label.names
    count = sum(builder.info.splits[split].num_examples for split in splits)
    about = f"TFDS {builder.info.full_name}"
    if None not in image.shape and fits(count, image.shape):
        return arranged(builder.name, about, class_names, {split: read(builder, split) for split in splits})
    files_of = {split: [str(path) for path in builder.info.splits[split].filepaths] for split in splits}
    store, labels = records(builder.info, keys, [file for files in files_of.values() for file in files])
    shards = {split: [store.files.index(file) for file in files] for split, files in files_of.items()}
    numbers = {split: np.flatnonzero(np.isin(store.shards, those)) for split, those in shards.items()}
    return encoded_source(builder.name, about, class_names, store, labels, numbers, on_error)


def expect_reachable(builder: tfds.core.DatasetBuilder, folder: Path) -> None:
    """Raises an OSError if the set must be downloaded, and its server cannot be reached: TFDS would try for minutes."""
    by_hand, begun = builder.MANUAL_DOWNLOAD_INSTRUCTIONS, any((folder / "downloads").glob("*"))
    prepared = Path(builder.data_dir).exists()
    if prepared or by_hand or begun or getproxies() or not builder.url_infos:
        return
    address = urlsplit(next(iter(builder.url_infos)))
    try:
        socket.create_connection((address.hostname, address.port or PORTS[address.scheme]), timeout=SECONDS).close()
    except OSError as error:
        raise OSError(f"{address.hostname} cannot be reached ({error})") from error


@contextmanager
def tfds_errors(name: str) -> Iterator[None]:
    """What TFDS says of a name's configuration or version, or of files to be put into place by hand, as our error."""
    try:
        yield
    except (AssertionError, ValueError) as error:
        raise invalid("data", f"a set that TFDS can prepare ({error})", name) from error
    except OSError as error:
        raise OSError(f"{name} is not in TFDS' folder (`data_dir`), and was not downloaded: {error}") from error


def image_and_label(info: tfds.core.DatasetInfo) -> tuple[str, str]:
    """The features' keys."""
    keys = tuple(info.supervised_keys or ())
    features = dict(info.features.items())
    kinds: list[Any] = [features.get(key) for key in keys if isinstance(key, str)]
    labelled_images = [type(kind) for kind in kinds] == [tfds.features.Image, tfds.features.ClassLabel]
    expect(labelled_images, "data", "an image classification set", f"{info.name} of {features}")
    grey_or_rgb = kinds[0].np_dtype == np.uint8 and kinds[0].shape[2] in (1, 3)
    expect(grey_or_rgb, "data", "images of 8 bits, grey or RGB", kinds[0])
    return keys[0], keys[1]


def in_order(builder: tfds.core.DatasetBuilder, split: str) -> tf.data.Dataset:
    """(image, label) as they are in the files, which TFDS sorts by a hash of the examples' keys."""
    one_file_after_another = tfds.ReadConfig(interleave_cycle_length=1)
    return builder.as_dataset(split, shuffle_files=False, as_supervised=True, read_config=one_file_after_another)


def labelled(builder: tfds.core.DatasetBuilder, split: str) -> bool:
    return all(label >= 0 for _, label in in_order(builder, split).take(1))


def read(builder: tfds.core.DatasetBuilder, split: str) -> Arrays:
    """All of it, decoded."""
    count, shape = builder.info.splits[split].num_examples, in_order(builder, split).element_spec[0].shape
    images, labels = np.empty((count, *shape), "uint8"), np.empty(count, "int32")
    for start, batch in enumerate(in_order(builder, split).batch(SIZE).as_numpy_iterator()):
        images[start * SIZE : (start + 1) * SIZE], labels[start * SIZE : (start + 1) * SIZE] = batch
    return Arrays(images, labels)


@dataclass(frozen=True, eq=False)
class Records:
    """The images of TFRecords."""

    files: tuple[str, ...]
    shards: np.ndarray  # which file each is in
    places: np.ndarray  # where it starts there, and how many bytes it has, [N, 2]
    parse: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    key: str
    channels: int

    def __len__(self) -> int:
        return len(self.shards)

    def read(self, number: tf.Tensor) -> tf.Tensor:
        record = tf.numpy_function(self._bytes, [number], tf.string, stateful=False)
        return self.parse(tf.ensure_shape(record, ()))[self.key]

    def _bytes(self, number: int) -> bytes:
        start, length = self.places[number].tolist()
        with open(self.files[self.shards[number]], "rb") as file:
            file.seek(start)
            return file.read(length)

    def name(self, number: int) -> str:
        shard = self.shards[number]
        return f"{self.files[shard]}, record {number - np.searchsorted(self.shards, shard)}"


def records(info: tfds.core.DatasetInfo, keys: tuple[str, str], files: Sequence[str]) -> tuple[Records, np.ndarray]:
    """The records of the files, and their labels."""
    features = tfds.features.FeaturesDict({key: info.features[key] for key in keys})

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        return features.deserialize_example(record, decoders={keys[0]: tfds.decode.SkipDecoding()})

    def lengths_and_labels(file: str) -> list:
        parsed = tf.data.TFRecordDataset(file).map(
            lambda record: (tf.strings.length(record), parse(record)[keys[1]]), tf.data.AUTOTUNE, deterministic=True
        )
        try:
            columns = zip(*parsed.batch(SIZE).as_numpy_iterator(), strict=True)
            return [np.concatenate(column).tolist() for column in columns]
        except tf.errors.DataLossError as error:
            raise OSError(f"{file} is damaged; TFDS prepares the set anew where it is deleted") from error

    empty: list[list[int]] = [[], []]
    columns = [shard or empty for shard in remembered(lambda: list(map(lengths_and_labels, files)), "records", files)]
    lengths = [np.array(shard[0], "int64") for shard in columns]
    starts = [np.cumsum(length + sum(FRAME)) - length - FRAME[1] for length in lengths]
    shards = np.repeat(np.arange(len(files)), list(map(len, lengths)))
    places = np.stack([np.concatenate(starts), np.concatenate(lengths)], 1)
    store = Records(tuple(files), shards, places, parse, keys[0], info.features[keys[0]].shape[2])
    return store, np.concatenate([shard[1] for shard in columns]).astype("int32")
