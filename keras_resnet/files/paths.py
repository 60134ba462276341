"""Which paths are free, taken, or what they have to be."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from keras_resnet.checks import COUNT, expect, invalid, one_of
from keras_resnet.files.lock import LOCK, PARTIAL

FIGURES = one_of(".png", ".pdf", ".svg")
BEFORE = ".before"  # in the name of a file that was replaced and is kept


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


def numbered(parent: Path, name: str) -> list[Path]:
    """What there is of `parent/name`, `parent/name-2`, `-3`, ..., in that order."""
    known = [(path, path.name.removeprefix(name)) for path in parent.glob("*") if path.name.startswith(name)]
    places = {1 if not more else int(more[1:]): path for path, more in known if re.fullmatch("|-[1-9][0-9]*", more)}
    return [places[number] for number in sorted(places)]


ASIDE = ".aside-"  # before the name of a version while another takes its place


def kept(path: Path) -> Path:
    """Where the file is kept that this one has replaced."""
    return path.with_name(f"{path.stem}{BEFORE}{path.suffix}")


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
    expect_export_folder(path)
    restored(path)
    if version == "next":
        version = 1 + max(versions_in(path), default=0)
    folder = path / str(version)
    free = f"one that {path} does not hold yet, 'next', or `overwrite=True`"
    expect(overwrite or not folder.exists(), "version", free, version)
    return folder


def expect_export_folder(path: Path) -> None:
    expect(path.is_dir() or not path.exists(), "path", "a folder, or a path where nothing exists yet", str(path))


def versions_in(folder: Path) -> list[int]:
    """Names of subfolders that are numbers, ascending."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())


def expect_new_search(folder: Path, resume: bool) -> None:
    free = not folder.exists() or {path.name for path in folder.iterdir()} == {LOCK}  # which this process may have
    expect(resume or free, "folder", "a path where nothing exists yet, or `resume=True`", str(folder))


def expect_writable(path: Path, argument: str) -> None:
    """Raises a ValueError unless something can be made at the path."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    there = there.parent if there == path.absolute() and path.is_file() else there
    try:
        TemporaryDirectory(dir=there, prefix=PARTIAL).cleanup()
    except OSError as error:
        raise invalid(argument, f"a path that can be written to ({error.strerror})", str(path)) from error


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
    expect_writable(path, argument)
