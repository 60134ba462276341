"""Nothing of the user's is overwritten or left half written."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from io import FileIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from keras_resnet.checks import COUNT, expect, one_of

FIGURES = one_of(".png", ".pdf", ".svg")


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """A name to write a file or folder to, that becomes `path` when all is written; an existing one is refused."""
    expect(not path.exists(), "path", "a path where nothing exists yet", str(path))
    with replaced(path) as partial:
        yield partial
        expect(not path.exists(), "path", "a path where nothing else was written meanwhile", str(path))


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
        partial.write_text(json.dumps(record, indent=2) + "\n")


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


ASIDE = ".aside-"  # before the name of a version while another takes its place


@contextmanager
def overwritten(folder: Path) -> Iterator[Path]:
    """As `completed`, for a folder that may be there: it is kept aside until the new one stands in its place."""
    with replaced(folder) as partial:
        yield partial
        if folder.exists():
            folder.rename(aside(folder))
    shutil.rmtree(aside(folder), ignore_errors=True)


def aside(folder: Path) -> Path:
    return folder.with_name(f"{ASIDE}{folder.name}")


def restored(parent: Path) -> None:
    """Puts back what a crash left aside, and clears away what its successor had replaced."""
    for old in parent.glob(f"{ASIDE}*"):
        folder = parent / old.name.removeprefix(ASIDE)
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def version_folder(path: Path, version: int | str, overwrite: bool) -> Path:
    """`path/VERSION`, to write a version to; one that an earlier crash left aside is first put back."""
    expect(version == "next" or COUNT.holds(version), "version", "a number from 1, or 'next'", version)
    expect(path.is_dir() or not path.exists(), "path", "a folder, or a path where nothing exists yet", str(path))
    restored(path)
    if version == "next":
        version = 1 + max(versions_in(path), default=0)
    folder = path / str(version)
    free = f"one that {path} does not hold yet, 'next', or `overwrite=True`"
    expect(overwrite or not folder.exists(), "version", free, version)
    return folder


def versions_in(folder: Path) -> list[int]:
    """Names of subfolders that are numbers, ascending."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())


def expect_new_search(folder: Path, resume: bool) -> None:
    expect(resume or not folder.exists(), "folder", "a path where nothing exists yet, or `resume=True`", str(folder))


def readable(path: str | Path) -> str:
    r"""A path to be shown: bytes that are not UTF-8 as `\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_path(name: str) -> bool:
    """Whether data of that name can only be a folder, such as "./photos" or "~/photos"."""
    return name.startswith((os.sep, ".", "~"))


def expect_data_folder(name: str | Path) -> None:
    """Refuses the path of a folder that does not exist. A name that is no path may be that of a dataset."""
    exists = not is_path(str(name)) or Path(name).expanduser().is_dir()
    expect(exists, "data", "a folder that exists, or a name of a TFDS set", str(name))


def expect_model_file(path: str | Path) -> None:
    expect(str(path).endswith(".keras") and Path(path).is_file(), "path", "a `.keras` file", str(path))


def expect_new_figure(path: Path, argument: str = "output") -> None:
    """Raises a ValueError where no figure can be written to the path."""
    expect(find_spec("matplotlib"), argument, "matplotlib, as in keras-resnet-zoo[plots]", str(path))
    expect(FIGURES.holds(path.suffix), argument, f"a path that ends in {FIGURES.expected}", str(path))
    expect(path.parent.is_dir(), argument, "a path in a folder that exists", str(path))
    expect(not path.exists(), argument, "a path where nothing exists yet", str(path))


# Files of others, of which no more is read than there may be


BLOCK = 2**20
MOST_AT_ONCE = 2**22  # bytes; the table of contents of ResNet-1202's archive has 1 MB
MOST_UNPACKED = 20  # times its size in the archive: weights hardly pack


class FrugalFile(FileIO):
    """One that is not read in large pieces: `zipfile` takes the whole table of contents at once, however large."""

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        if size > MOST_AT_ONCE:
            raise zipfile.BadZipFile(f"a table of contents of {size:,} bytes")
        return super().read(size if size >= 0 else MOST_AT_ONCE)


@contextmanager
def opened_archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """A zip that others wrote, to read by `member` and `unpacked`."""
    with FrugalFile(path) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a limit
                raise zipfile.BadZipFile(f"{info.filename!r} is packed in a way that is not read")
        yield archive


def member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of a member, if they are no more than that. Its CRC is checked."""
    size = archive.getinfo(name).file_size
    if size > most:
        raise zipfile.BadZipFile(f"{name!r} unpacks to {size:,} bytes, and may to {most:,}")
    with archive.open(name) as file:
        return b"".join(iter(partial(file.read, BLOCK), b""))


def unpacked(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Writes a large member to a file. Its CRC is checked."""
    info = archive.getinfo(name)
    if info.file_size > MOST_UNPACKED * info.compress_size + BLOCK:
        raise zipfile.BadZipFile(f"{name!r} unpacks {info.compress_size:,} bytes to {info.file_size:,}")
    with archive.open(name) as file, open(path, "xb") as copy:
        shutil.copyfileobj(file, copy, BLOCK)


def checksum(archive: zipfile.ZipFile, name: str) -> None:
    """Raises a BadZipFile unless the member's CRC is right."""
    with archive.open(name) as file:
        while file.read(BLOCK):
            pass


def small_text(path: Path, most: int) -> str:
    """The text of a file, if it has no more bytes than that."""
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"a file of more than {most:,} bytes")
    return content.decode()
