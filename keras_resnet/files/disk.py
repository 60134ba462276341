"""A full disk, said in one line with the path."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]  # the disk, a quota, the longest file


class DiskFullError(OSError):
    """There is no room for a file."""


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Whoever finds the disk full (Python, HDF5, TensorFlow) says so in one line with the path.

    Raises:
        DiskFullError: In place of their errors.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        reason = next((reason for reason in FULL if reason in str(error)), None)
        if reason is None:
            raise
        raise DiskFullError(f"{reason}: {path} was not written. What was there before is whole.") from error


def expect_room(path: Path, size: int) -> None:
    """Raises an OSError if so many bytes cannot be written there. HDF5 would fail, and crash when Python ends."""
    if size and hasattr(os, "posix_fallocate"):
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        path.unlink()
