"""Renaming as only Linux can: without replacing anything, and two names for each other."""

import ctypes
import errno
import os
import sys
from pathlib import Path

FREE, EXCHANGE = 1, 2  # RENAME_NOREPLACE, RENAME_EXCHANGE
HERE = -100  # AT_FDCWD: paths are as in any other call
UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)  # to the system, the file system or a sandbox


def renamed(source: Path, target: Path, how: int) -> bool:
    """In one step; False where the system cannot.

    Raises:
        FileExistsError: If the target is not `FREE`.
        OSError: As `os.rename`.
    """
    if sys.platform != "linux" or not (call := getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)):
        return False
    if call(HERE, os.fsencode(source), HERE, os.fsencode(target), how) == 0:
        return True
    if (code := ctypes.get_errno()) in UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))
