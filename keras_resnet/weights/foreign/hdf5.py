"""HDF5: groups and arrays that lie in the file itself, and nothing that the file only points at."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import h5py
import numpy as np

from keras_resnet.weights.foreign.contents import BFLOAT16, Contents, Stored, checked, require

MOST_OBJECTS = 100_000  # ResNet-1202 with Adam has 24,000
DEEPEST = 64  # groups in groups
LONGEST = 1_000  # characters of an attribute
SPARE = 2**20  # bytes that a chunk may be larger than its array


@contextmanager
def contents(path: Any) -> Iterator[Contents]:
    """Arrays by their paths; the fact "groups" has all groups, with Keras' name of the layer or None."""
    with h5py.File(path, "r") as file:
        found = Contents({"groups": {}}, {})
        describe(file, "", 0, found, set())
        yield found


def describe(group: h5py.Group, path: str, depth: int, found: Contents, seen: set[int]) -> None:
    require(depth <= DEEPEST, f"groups in groups, deeper than {DEEPEST}")
    for name in group:
        where = f"{path}/{name}".removeprefix("/")
        link = group.get(name, getlink=True)
        require(isinstance(link, h5py.HardLink), f"{where!r} is a {type(link).__name__} to somewhere else")
        child = group[name]
        place = h5py.h5o.get_info(child.id).addr
        require(place not in seen, f"{where!r} is linked twice")
        seen.add(place)
        require(len(seen) <= MOST_OBJECTS, f"more than {MOST_OBJECTS:,} groups and arrays")
        if isinstance(child, h5py.Group):
            found.facts["groups"][where] = attribute(child, "name")
            describe(child, where, depth + 1, found, seen)
        else:
            require(isinstance(child, h5py.Dataset), f"{where!r} is neither group nor array")
            found.arrays[where] = checked(where, stored(child, where))


def stored(dataset: h5py.Dataset, where: str) -> Stored:
    require(not dataset.external and not dataset.is_virtual, f"the values of {where!r} are in another file")
    require(dataset.shape is not None, f"{where!r} is empty")
    dtype, size = dataset.dtype, dataset.dtype.itemsize
    chunk = prod(dataset.chunks or (0,)) * size
    require(chunk <= prod(dataset.shape) * size + SPARE, f"{where!r} is in chunks larger than itself")
    if attribute(dataset, "dtype") == BFLOAT16 and size == 2:
        return Stored(dataset.shape, BFLOAT16, lambda: np.asarray(dataset[()]).view("uint16"))
    return Stored(dataset.shape, dtype.name, lambda: np.asarray(dataset[()], dtype.name))


def attribute(of: Any, name: str) -> str | None:
    value = of.attrs.get(name)
    return value if isinstance(value, str) and len(value) <= LONGEST else None
