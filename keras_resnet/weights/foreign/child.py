"""The process in which files of others are read: under a limit of memory, and without Keras.

It reads a request in JSON, and answers with the length of a JSON text, that text, and the bytes of the wanted arrays.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from keras_resnet.weights.foreign.contents import UnreadableError, carrier


def main() -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no part of the answer
    request = json.load(sys.stdin)
    module = import_module(f"keras_resnet.weights.foreign.{request['format']}")
    limit_memory(request["memory"])
    try:
        with module.contents(Path(request["path"])) as (facts, arrays):
            told = {name: (stored.shape, stored.dtype) for name, stored in arrays.items()}
            send(answer, {"facts": facts, "arrays": told})
            write_arrays(answer, arrays, request["wanted"])
    except Exception as error:  # whatever the formats' libraries raise
        send(answer, {"error": reason(error)})


def limit_memory(more: int) -> None:
    """Where the system can; a file that needs more ends in a MemoryError, or ends the process."""
    with suppress(ImportError, OSError, ValueError, StopIteration):
        import resource

        lines = Path("/proc/self/status").read_text().splitlines()
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (used + more, used + more))


def send(answer: IO[bytes], record: Mapping[str, Any]) -> None:
    text = json.dumps(record).encode()
    answer.write(len(text).to_bytes(8, "little") + text)
    answer.flush()


def write_arrays(answer: IO[bytes], arrays: Mapping[str, Any], wanted: list[str]) -> None:
    """An array that cannot be read ends the answer, behind its reason."""
    for name in wanted:
        try:
            values: Any = arrays[name].read()
            as_told = values.shape == arrays[name].shape and values.dtype == carrier(arrays[name].dtype)
            if not as_told:
                raise UnreadableError(f"{name!r} is not of its shape")
        except Exception as error:
            send(answer, {"error": reason(error)})
            return
        send(answer, {})
        answer.write(np.ascontiguousarray(values).data.cast("B") if values.size else b"")
        answer.flush()


def reason(error: Exception) -> str:
    """Its first line."""
    if isinstance(error, MemoryError):
        return "reading it takes more memory than its weights need"
    if isinstance(error, RecursionError):
        return "too deeply nested"
    return str(error).strip().partition("\n")[0][:500] or type(error).__name__


if __name__ == "__main__":
    main()
