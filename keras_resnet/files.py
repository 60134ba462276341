"""Nothing of the user's is overwritten or left half written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from keras_resnet.checks import expect


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """A name to write a file or folder to, that becomes `path` when all is written; an existing one is refused."""
    expect(not path.exists(), "path", "a path where nothing exists yet", str(path))
    with replaced(path) as partial:
        yield partial


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """As `completed`, for a file that may be there: it stays whole until the new one is."""
    with TemporaryDirectory(dir=path.parent, prefix=".partial-") as folder:
        partial = Path(folder) / path.name
        yield partial
        os.replace(partial, path)


def write_json(path: Path, record: object) -> None:
    """Whole or not at all."""
    with replaced(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


@contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """`parent/name`, or `parent/name-2`, `-3`, ... where that exists; removed again if nothing is put into it."""
    parent.mkdir(parents=True, exist_ok=True)
    for folder in (parent / (name if number == 1 else f"{name}-{number}") for number in count(1)):
        with suppress(FileExistsError):
            folder.mkdir()
            break
    try:
        yield folder
    finally:
        with suppress(OSError):  # not empty
            folder.rmdir()
