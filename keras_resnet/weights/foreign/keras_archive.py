"""Keras' `.keras`: a zip of JSON and of the weights in HDF5."""

import json
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from keras_resnet.files import checksum, member, opened_archive, unpacked
from keras_resnet.weights.foreign import hdf5
from keras_resnet.weights.foreign.contents import Contents, Stored, require

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MOST_CONFIG = 2**24  # bytes; ResNet-1202 has 4 MB
LOCAL_HEADER = 30  # bytes, and then a name and more, of the lengths that its last four bytes tell


@contextmanager
def contents(path: Path) -> Iterator[Contents]:
    """As of HDF5; the facts "config", which is JSON and small enough, and "members"."""
    with ExitStack() as stack:
        archive = stack.enter_context(opened_archive(path))
        names = archive.namelist()
        require(len(set(names)) == len(names), "two members of one name")
        config = member(archive, CONFIG, MOST_CONFIG).decode()
        require(isinstance(json.loads(config), dict), "a config.json that is no JSON object")
        if archive.getinfo(WEIGHTS).compress_type == zipfile.ZIP_STORED:
            weights: Any = stack.enter_context(Window(path, archive.getinfo(WEIGHTS)))
        else:
            weights = Path(stack.enter_context(TemporaryDirectory())) / WEIGHTS
            unpacked(archive, WEIGHTS, weights)
        facts, arrays = stack.enter_context(hdf5.contents(weights))
        whole = cache(partial(checksum, archive, WEIGHTS))
        arrays = {name: Stored(*stored[:2], partial(read_whole, whole, stored)) for name, stored in arrays.items()}
        yield Contents({**facts, "config": config, "members": names}, arrays)


def read_whole(whole: Any, stored: Stored) -> np.ndarray:
    """The values, if the CRC of the member in which they are is right."""
    whole()
    return stored.read()


class Window(RawIOBase):
    """The bytes of a member that is not packed, where they lie in the archive."""

    def __init__(self, path: Path, info: zipfile.ZipInfo):
        self.file = open(path, "rb")  # noqa: SIM115
        self.file.seek(info.header_offset)
        header = self.file.read(LOCAL_HEADER)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        self.start, self.size, self.place = info.header_offset + LOCAL_HEADER + lengths, info.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        self.place = offset + {SEEK_SET: 0, SEEK_CUR: self.place, SEEK_END: self.size}[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.start + self.place)
        count = self.file.readinto(memoryview(buffer)[: max(self.size - self.place, 0)])
        self.place += count
        return count

    def close(self) -> None:
        self.file.close()
        super().close()
