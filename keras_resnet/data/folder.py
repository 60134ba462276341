"""A folder of images with a subfolder for each class, or with `train/`, `test/` and `validation/` over those."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.encoded import encoded_source
from keras_resnet.data.sources import Source
from keras_resnet.files import expect_data_folder

SPLITS = {  # names of the subfolders, in any case
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True, eq=False)
class Files:
    """One image in each; what it is, is seen from its first bytes and not from its name."""

    files: tuple[str, ...]
    channels: int = 3

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def _paths(self) -> tf.Tensor:
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant([os.fsencode(file) for file in self.files])

    def read(self, number: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(tf.gather(self._paths, number))

    def name(self, number: int) -> str:
        return self.files[number]


def folder_source(path: Path, on_error: str) -> Source:
    """Every file below a class's folder is an image of it, hidden ones aside; classes are the sorted folders' names.

    Raises:
        ArgumentError: If there is no such folder, it is laid out otherwise, or the splits have different classes.
    """
    path = path.expanduser().absolute()
    expect_data_folder(path)
    folders = split_folders(path)
    class_names = subfolders(folders["train"])
    expect(len(class_names) > 1, "data", "a folder with a subfolder for each class", str(folders["train"]))
    for folder in folders.values():
        other = sorted(set(class_names) ^ set(subfolders(folder)))
        expect(not other, "data", f"the same classes in {folder} as in {folders['train']}", other)
    of_class = {
        (split, label): files_below(folder / name)
        for split, folder in folders.items()
        for label, name in enumerate(class_names)
    }
    empty = [name for label, name in enumerate(class_names) if not of_class["train", label]]
    expect(not empty, "data", f"images of every class in {folders['train']}", f"none of {empty}")
    parts, numbers = zip(*of_class, strict=True)
    counts = list(map(len, of_class.values()))
    splits = {split: np.flatnonzero(np.repeat(parts, counts) == split) for split in folders}
    store, labels = Files(tuple(chain(*of_class.values()))), np.repeat(numbers, counts).astype("int32")
    return encoded_source(path.name, f"the images in {path}", class_names, store, labels, splits, on_error)


def split_folders(path: Path) -> dict[str, Path]:
    """`train/` and its likes, or the folder itself as the training split."""
    names = subfolders(path)
    named = [(split, path / name) for split, known in SPLITS.items() for name in names if name.lower() in known]
    folders = dict(named)
    if "train" not in folders:
        return {"train": path}
    expect(len(folders) == len(named), "data", "one folder for a split", [folder.name for _, folder in named])
    others = sorted(set(names) - {folder.name for folder in folders.values()})
    expect(not others, "data", f"folders of splits alone beside {folders['train'].name}", others)
    return folders


def subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def files_below(folder: Path) -> list[str]:
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_fail, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))


def _fail(error: OSError) -> None:
    """`os.walk` would pass over a folder that may not be read."""
    raise error
