"""What a file holds, told before any of its values is read."""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

BFLOAT16 = "bfloat16"  # which NumPy has not: such values are passed on as uint16
DTYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", BFLOAT16),
}
MOST_DIMENSIONS = 32


class UnreadableError(Exception):
    """Why a file is refused."""


def require(holds: object, reason: str) -> None:
    if not holds:
        raise UnreadableError(reason)


class Stored(NamedTuple):
    """An array in a file: its shape and type, and what reads it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]

    @property
    def bytes(self) -> int:
        return prod(self.shape) * carrier(self.dtype).itemsize


class Contents(NamedTuple):
    facts: dict[str, Any]  # as JSON has them
    arrays: dict[str, Stored]


def carrier(dtype: str) -> np.dtype:
    """NumPy's type of the values that are passed on."""
    return np.dtype("uint16" if dtype == BFLOAT16 else dtype)


def checked(name: str, stored: Stored) -> Stored:
    """Numbers in a shape, at most 8 bytes each; their reader gives just that."""
    require(stored.dtype in DTYPES, f"{name!r} holds {stored.dtype}, not numbers")
    sizes = stored.shape
    whole = len(sizes) <= MOST_DIMENSIONS and all(isinstance(size, int) and 0 <= size < 2**48 for size in sizes)
    require(whole, f"{name!r} has the shape {sizes}")
    return stored
