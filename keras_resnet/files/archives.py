"""Files of others, of which no more is read than there may be."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path

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
