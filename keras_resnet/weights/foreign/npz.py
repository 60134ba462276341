"""NumPy's `.npz`: the shapes from the members' first bytes, values by NumPy without pickles."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from keras_resnet.files import opened_archive
from keras_resnet.weights.foreign.contents import Contents, Stored, checked, require

MOST_TEXT = 2**20  # characters
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@contextmanager
def contents(path: Path) -> Iterator[Contents]:
    """Numbers by name; the fact "texts" has the single strings."""
    with opened_archive(path) as archive:
        texts, arrays = {}, {}
        for member in archive.namelist():
            shape, dtype = header(archive, member)
            name, read = member.removesuffix(".npy"), partial(values, archive, member)
            if dtype.kind == "U" and shape == ():
                require(dtype.itemsize <= 4 * MOST_TEXT, f"{name!r} is a text of {dtype.itemsize:,} bytes")
                texts[name] = str(read())
            else:
                arrays[name] = checked(name, Stored(shape, dtype.name, read))
        yield Contents({"texts": texts}, arrays)


def header(archive: ZipFile, member: str) -> tuple[tuple[int, ...], Any]:
    with archive.open(member) as file:
        version = npy.read_magic(file)
        require(version in HEADERS, f"{member!r} is of NumPy's format {version}")
        shape, _, dtype = HEADERS[version](file)
    return shape, dtype


def values(archive: ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        found = npy.read_array(file, allow_pickle=False)
        require(not file.read(1), f"{member!r} has more values than its shape")  # which checks the CRC
    return found.astype(found.dtype.newbyteorder("="), copy=False)
