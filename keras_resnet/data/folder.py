"""A folder of images with a subfolder for each class, or with `train/`, `test/` and `validation/` over those."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.checks import expect
from keras_resnet.data.encoded import encoded_source, some_of
from keras_resnet.data.sources import Source
from keras_resnet.files import expect_data_folder, readable

SPLITS = {  # names of the subfolders, in any case
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
SUFFIXES = (  # of images, also of those that the decoder does not know: they are named, and not passed over
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif"),
    *(".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2"),
)
STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")  # of files without such a suffix that are images
NO_IMAGE, NO_FILE, NO_SPLIT, LOOP = "no image", "no regular file", "no split", "a link to a folder that is read anyway"
Ignored = tuple[str, str]  # a path, and why


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
        return readable(self.files[number])


def folder_source(path: Path, on_error: str) -> Source:
    """The images below a class's folder are those of the class; classes are the sorted folders' names.

    Hidden files and folders are passed over. What else is no image is named in the source's `ignored`.

    Raises:
        ArgumentError: If there is no such folder, it is laid out otherwise, or the splits have different classes.
    """
    path = path.expanduser().absolute()
    expect_data_folder(path)
    folders, others = split_folders(path)
    class_names, links = classes_in(folders["train"])
    expect_classes(folders, class_names)
    roots = {(split, name): folder / name for split, folder in folders.items() for name in class_names}
    walk = Walk({os.path.realpath(root) for root in roots.values()}, [*others, *links])
    files = {place: sorted(walk.images_below(str(root))) for place, root in roots.items()}
    ignored = [(readable(name), why) for name, why in walk.ignored]
    empty = [readable(name) for name in class_names if not files["train", name]]
    beside = f" (ignored: {summary(ignored)})" if ignored else ""
    wanted = f"images of every class in {readable(folders['train'])}{beside}"
    expect(not empty, "data", wanted, f"none of {empty}")
    if ignored and on_error != "ignore":
        warnings.warn(f"Ignored in {readable(path)}: {summary(ignored)}", stacklevel=5)
    counts = list(map(len, files.values()))
    parts = np.repeat([split for split, _ in roots], counts)
    labels = np.repeat(np.tile(np.arange(len(class_names), dtype="int32"), len(folders)), counts)
    return encoded_source(
        re.sub(
            r"[\[\]\\]", "_", readable(path.name)
        ),  # TensorFlow finds no SavedModel in a folder with these in its name
        f"the images in {readable(path)}{places(path, folders)}",
        list(map(readable, class_names)),
        Files(tuple(chain(*files.values()))),
        labels,
        {split: np.flatnonzero(parts == split) for split in folders},
        on_error,
        ignored,
    )


def places(path: Path, folders: Mapping[str, Path]) -> str:
    """Which folder is which split."""
    below = [f"{split} in {readable(folder.name)}/" for split, folder in folders.items() if folder != path]
    return f" ({', '.join(below)})" if below else ""


def expect_classes(folders: Mapping[str, Path], class_names: Sequence[str]) -> None:
    """Raises an ArgumentError unless all splits have the same classes, at least two, each a folder of its own."""
    train = readable(folders["train"])
    found = f"at least two, found: {', '.join(map(readable, class_names)) or 'none'}"
    expect(len(class_names) > 1, "data", f"a folder with a subfolder for each class, {found}", train)
    for folder in folders.values():
        other = sorted(map(readable, set(class_names) ^ set(classes_in(folder)[0])))
        expect(not other, "data", f"the same classes in {readable(folder)} as in {train}", other)
        names: dict[str, list[str]] = {}
        for name in class_names:
            names.setdefault(os.path.realpath(folder / name), []).append(name)
        several = [same for same in names.values() if len(same) > 1]
        expect(not several, "data", f"a folder of its own for each class in {readable(folder)}", several)


def split_folders(path: Path) -> tuple[dict[str, Path], list[Ignored]]:
    """`train/` and its likes, or the folder itself as the training split; the folders beside them."""
    names = subfolders(path)
    named = [(split, path / name) for split, known in SPLITS.items() for name in names if name.lower() in known]
    folders = dict(named)
    if "train" not in folders:
        return {"train": path}, []
    expect(len(folders) == len(named), "data", "one folder for a split", [folder.name for _, folder in named])
    others = sorted(set(names) - {folder.name for folder in folders.values()})
    return folders, [(str(path / name), NO_SPLIT) for name in others]


def classes_in(folder: Path) -> tuple[list[str], list[Ignored]]:
    """The names of the subfolders; and links among them that lead back to the folder, or to one above it."""
    here, names = os.path.realpath(folder), subfolders(folder)
    back = [name for name in names if is_in(here, os.path.realpath(folder / name))]
    return [name for name in names if name not in back], [(str(folder / name), LOOP) for name in back]


def is_in(inner: str, outer: str) -> bool:
    """Whether a real path is another, or below it."""
    return os.path.join(inner, "").startswith(os.path.join(outer, ""))


def subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


@dataclass
class Walk:
    """Through classes' folders, where links may lead anywhere: each real folder is read once for a class."""

    classes: set[str]  # real paths of all of them: no link from one class leads into another
    ignored: list[Ignored] = field(default_factory=list)

    def images_below(self, folder: str) -> Iterator[str]:
        """Of one class."""
        self.seen = {*self.classes}
        return self._images(folder, os.path.realpath(folder))

    def _images(self, folder: str, real: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in shown:
            if entry.is_dir():
                yield from self._below(entry, real)
            elif why := reason_to_ignore(entry):
                self.ignored.append((entry.path, why))
            else:
                yield entry.path

    def _below(self, entry: os.DirEntry, above: str) -> Iterator[str]:
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above, entry.name)
        if real in self.seen or is_in(above, real):
            self.ignored.append((entry.path, LOOP))
            return
        self.seen.add(real)
        yield from self._images(entry.path, real)


def reason_to_ignore(entry: os.DirEntry) -> str | None:
    """None for an image, for what its name calls one, and for a link to nothing: these are decoded, or named."""
    if not entry.is_file() and os.path.exists(entry.path):
        return NO_FILE  # such as a FIFO, at which a reader would wait
    return None if entry.name.lower().endswith(SUFFIXES) or starts_as_image(entry.path) else NO_IMAGE


def starts_as_image(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(STARTS)
    except OSError:
        return True  # whatever it is, it cannot be read: that is told with the images


def summary(ignored: Sequence[Ignored]) -> str:
    """How many there are of each kind, and the first names."""
    kinds = Counter(why for _, why in ignored)
    names = {kind: some_of([name for name, why in ignored if why == kind]) for kind in kinds}
    return "; ".join(f"{count:,} as {kind} ({names[kind]})" for kind, count in kinds.items())
