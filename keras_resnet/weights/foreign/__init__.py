"""The one door for files that others wrote: what they hold is told first, and values come only as they were asked for.

A file of weights may lie. It may point at other files, declare more than any memory holds, or hang the library that
reads it. So a process of its own reads it (`child`), with a limit of time and one of memory. `declared` returns names,
shapes and types. After these were compared with what the model needs, `values` returns the arrays. This process never
opens the file. The formats are the modules beside this one: each has `contents(path)`.
"""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest
from importlib import import_module
from math import prod
from pathlib import Path
from threading import Timer
from typing import IO, Any, NamedTuple

import numpy as np

import keras_resnet
from keras_resnet.weights.foreign.contents import BFLOAT16, UnreadableError, carrier

__all__ = ["Declared", "File", "UnreadableError", "declared", "float32_values", "stand_in", "values"]

SECONDS, SECOND_OF = 60, 10_000_000  # to read a file in, and a second more for so many bytes
MEMORY = 160 * 2**20  # bytes, of the process that reads, besides three times the largest array
MOST_TOLD = 2**25  # bytes of JSON
SHIPPED = {  # files in this package, which are read here
    "resnet20-cifar10.keras": "fe5774d923f678d3c2bbec40285529e0120dee090780adc1dfc89eb4e905ee95",
}


class Declared(NamedTuple):
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return prod(self.shape) * carrier(self.dtype).itemsize


class File(NamedTuple):
    """What a file says that it holds."""

    path: Path
    format: str  # a module beside this one
    facts: Mapping[str, Any]
    arrays: Mapping[str, Declared]


def declared(path: Path, format: str) -> File:  # noqa: A002
    """What the file says that it holds. No value is read.

    Raises:
        UnreadableError: Where it is of another format, damaged, or refers to anything outside of itself.
    """
    if is_shipped(path):
        with import_module(f"{__name__}.{format}").contents(path) as (facts, arrays):
            return File(path, format, facts, {name: Declared(*stored[:2]) for name, stored in arrays.items()})
    with answer_to(path, format, (), MEMORY) as stream:
        told = received(stream)
        arrays = {name: Declared(tuple(shape), dtype) for name, (shape, dtype) in told["arrays"].items()}
        return File(path, format, told["facts"], arrays)


def values(file: File, wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Those arrays, one by one; bfloat16 as the bits in uint16.

    Raises:
        UnreadableError: Where they cannot be read, or are not what was declared.
    """
    wanted = list(wanted)
    if is_shipped(file.path):
        with import_module(f"{__name__}.{file.format}").contents(file.path) as (_, arrays):
            yield from ((name, arrays[name].read()) for name in wanted)
        return
    memory = MEMORY + 3 * max((file.arrays[name].bytes for name in wanted), default=0)
    with answer_to(file.path, file.format, wanted, memory) as stream:
        told = received(stream)["arrays"]
        for name in wanted:
            if told.get(name) != [list(file.arrays[name].shape), file.arrays[name].dtype]:
                raise UnreadableError("it changed while it was read")
            received(stream)
            array: Any = np.empty(file.arrays[name].shape, carrier(file.arrays[name].dtype))
            if array.size:
                fill(stream, memoryview(array).cast("B"))
            yield name, array


def stand_in(array: Declared) -> np.ndarray:
    """Of its shape, and without memory."""
    return np.broadcast_to(np.float32(0), array.shape)


def float32_values(file: File, wanted: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """As `values`, in float32. A double that is too large becomes infinite."""
    for name, array in values(file, wanted):
        with np.errstate(all="ignore"):
            if file.arrays[name].dtype == BFLOAT16:
                yield name, (array.astype("uint32") << 16).view("float32")
            else:
                yield name, array.astype("float32", copy=False)


def is_shipped(path: Path) -> bool:
    if path.name not in SHIPPED:
        return False
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest() == SHIPPED[path.name]


# The process that reads


@contextmanager
def answer_to(path: Path, format: str, wanted: Iterable[str], memory: int) -> Iterator[IO[bytes]]:  # noqa: A002
    """What the child says, or an UnreadableError with the reason why it does not."""
    expect_file(path)
    request = {"path": str(path), "format": format, "wanted": list(wanted), "memory": memory}
    command = [sys.executable, "-S", "-P", "-m", f"{__name__}.child"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
        pipesize=2**20,
    )
    assert process.stdin
    assert process.stdout
    seconds = SECONDS + path.stat().st_size // SECOND_OF
    timer = Timer(seconds, process.kill)
    timer.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
        yield process.stdout
    except EOFError:
        overdue = not timer.is_alive()
        raise UnreadableError(ending(process.wait(), seconds if overdue else None)) from None
    finally:
        timer.cancel()
        process.kill()
        process.stdout.close()
        process.wait()


def expect_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    if not stat.S_ISREG(mode):
        raise UnreadableError("a directory" if stat.S_ISDIR(mode) else "no file but a pipe or a device")


def ending(code: int, seconds: int | None) -> str:
    if seconds is not None:
        return f"reading it takes more than {seconds} seconds"
    return f"reading it fails: {signal.Signals(-code).name if code < 0 else f'exit {code}'}"


def environment() -> dict[str, str]:
    """As `-S` leaves out the site's folders, they are told; it is what makes a start fast."""
    ours = str(Path(keras_resnet.__file__).parent.parent)
    path = os.pathsep.join([ours, *filter(None, sys.path)])
    # HDF5 loads no plugins for what a file says that it is packed with; one thread needs less memory
    return {**os.environ, "PYTHONPATH": path, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"}


def received(stream: IO[bytes]) -> Any:
    """The child's next record."""
    length = bytearray(8)
    fill(stream, memoryview(length))
    size = int.from_bytes(length, "little")
    if size > MOST_TOLD:
        raise UnreadableError(f"names and settings of {size:,} bytes")
    text = bytearray(size)
    fill(stream, memoryview(text))
    record = json.loads(text)
    if "error" in record:
        raise UnreadableError(record["error"])
    return record


def fill(stream: IO[bytes], place: memoryview) -> None:
    """As many bytes as have room there."""
    done = 0
    while done < len(place):
        count = stream.readinto(place[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
