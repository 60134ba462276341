"""One command at a time writes into a folder; the lock goes when its process does, however that ends."""

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from keras_resnet.files.disk import disk_full_named

LOCK = ".lock"  # in the folder; holds who has it
PARTIAL = ".partial-"  # before the name of a folder in which something is written


class InUseError(OSError):
    """Another process writes into the folder."""


@contextmanager
def locked(folder: Path, role: str = "") -> Iterator[None]:
    """No other process writes into the folder meanwhile. The process itself may lock it again.

    Args:
        folder: Made if it is not there, and then removed again if nothing was put into it.
        role: The id of a worker that shares the folder with the process that locks it without one.

    Raises:
        InUseError: At once, if another process has the lock. It says who.
        DiskFullError: If something cannot be written for want of room.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / f"{LOCK}{role and f'-{role}'}"
    lock = file_lock(path, is_singleton=True)
    if not acquired(lock):
        raise InUseError(in_use(folder, path))
    first = lock.lock_counter == 1
    try:
        if first:
            with suppress(OSError):  # the disk is full
                path.write_text(json.dumps(this_process()))
        with disk_full_named(folder):
            yield
    finally:
        if first:
            path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # not empty
            for empty in made if first else []:
                empty.rmdir()


def file_lock(path: Path, **settings: Any) -> Any:
    """The import takes as long as all that a command imports before it starts Keras."""
    from filelock import FileLock

    return FileLock(path, **settings)


def acquired(lock: Any) -> bool:
    from filelock import Timeout

    with suppress(Timeout):
        lock.acquire(timeout=0)
        return True
    return False


def this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def in_use(folder: Path, lock: Path) -> str:
    """One line: who holds the lock."""
    who = "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):  # it was about to write it
        known = json.loads(lock.read_text())
        who = f"process {known['pid']} on {known['host']}, since {known['since']}: {known['command']}"
    return f"{folder} is in use by {' '.join(who.split())}. Wait for it to end, or write to another folder."


# The folders in which something is written


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder to write in, beside what it will be. If this process dies, the next one that writes there sweeps it."""
    sweep(parent)
    folder, lock = own_folder(parent)
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def own_folder(parent: Path) -> tuple[Path, Any]:
    """A new folder with its lock. Between both, who sweeps may have taken it for a dead one's."""
    while True:
        folder = Path(mkdtemp(dir=parent, prefix=PARTIAL))
        lock = file_lock(folder / LOCK)
        with suppress(FileNotFoundError, FileExistsError):  # swept while filelock looked at it
            if acquired(lock) and (folder / LOCK).exists():
                return folder, lock


def sweep(parent: Path) -> None:
    """Removes what dead processes were writing: nobody holds its lock."""
    for folder in parent.glob(f"{PARTIAL}*"):
        lock = file_lock(folder / LOCK)
        with suppress(OSError):  # another one sweeps, or it is a file
            if acquired(lock):
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
