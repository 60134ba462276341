"""Nothing of the user's is overwritten or left half written, also where the power or the disk's space ends."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_resnet.checks import expect
from keras_resnet.files.disk import disk_full_named
from keras_resnet.files.lock import scratch
from keras_resnet.files.paths import aside, kept
from keras_resnet.files.renaming import EXCHANGE, FREE, renamed

Put = Callable[[Path, Path], None]


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """A name to write a file or folder to, that becomes `path` when all is written; an existing one is refused."""
    expect(not path.exists(), "path", "a path where nothing exists yet", str(path))
    with written(path, put_where_free) as partial:
        yield partial


@contextmanager
def replaced(path: Path, keep: bool = False) -> Iterator[Path]:
    """As `completed`, for a file that may be there: it stays whole until the new one is.

    Args:
        keep: The old file stays under the name that `kept` gives.
    """
    with written(path, keep_and_replace if keep else os.replace) as partial:
        yield partial


@contextmanager
def overwritten(folder: Path) -> Iterator[Path]:
    """As `completed`, for a folder that may be there: both are exchanged in one step.

    Where the system cannot, the old one is kept aside until the new one stands in its place.
    """
    with written(folder, exchange) as partial:
        yield partial
    shutil.rmtree(aside(folder), ignore_errors=True)


def write_json(path: Path, record: object, keep: bool = False) -> None:
    """Whole or not at all."""
    with replaced(path, keep) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n")


@contextmanager
def written(path: Path, put: Put) -> Iterator[Path]:
    """A name to write to, that is `put` at the path when it is on the disk."""
    with disk_full_named(path), scratch(path.parent) as folder:
        partial = folder / path.name
        yield partial
        synced(partial, *partial.rglob("*"))
        put(partial, path)
        synced(path.parent)


def put_where_free(partial: Path, path: Path) -> None:
    try:
        if renamed(partial, path, FREE):
            return
    except FileExistsError:
        pass
    expect(not path.exists(), "path", "a path where nothing else was written meanwhile", str(path))
    os.replace(partial, path)


def keep_and_replace(partial: Path, path: Path) -> None:
    if path.exists():
        os.replace(path, kept(path))
    os.replace(partial, path)


def exchange(partial: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(partial, folder)
    elif not renamed(partial, folder, EXCHANGE):  # otherwise the old one goes with the partial's folder
        folder.rename(aside(folder))
        os.replace(partial, folder)


def synced(*paths: Path) -> None:
    """What is written there survives a power cut: bytes of files, names in folders (which Windows cannot sync)."""
    for path in paths:
        if path.is_dir() and os.name == "nt":
            continue
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
