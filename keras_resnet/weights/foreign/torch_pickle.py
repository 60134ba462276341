"""torch's files, without torch: tensors and plain containers of a pickle, and the tensors' values by their places."""

import pickle
import pickletools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import numpy as np

from keras_resnet.files import member, opened_archive
from keras_resnet.weights.foreign.contents import BFLOAT16, Contents, Stored, UnreadableError, carrier, checked, require

MOST_PICKLED = 2**24  # bytes; ResNet-1202 has 1 MB
MAGIC = 0x1950A86A20F9469CFC6C  # of the files before torch 1.6
BLOCK = 2**20
STORAGES = {
    f"{name}Storage": dtype
    for name, dtype in {
        **dict(Bool="bool", Byte="uint8", Char="int8", Short="int16", Int="int32", Long="int64"),
        **dict(Half="float16", BFloat16=BFLOAT16, Float="float32", Double="float64"),
    }.items()
}
WHOLE = "a whole torch file of tensors and plain containers: what holds more could run code, and is not read"


class StorageType(NamedTuple):
    dtype: str


class Storage(NamedTuple):
    """Numbers one behind the other; `bytes_at(start, size)` reads some."""

    dtype: str
    size: int  # in numbers
    bytes_at: Callable[[int, int], bytes]


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@contextmanager
def contents(path: Path) -> Iterator[Contents]:
    """Tensors of the state dict by their names."""
    with archived(path) if is_zipfile(path) else older(path) as loaded:
        state = state_dict(loaded)
        tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
        yield Contents({}, {name: checked(name, stored(name, tensor)) for name, tensor in tensors.items()})


def state_dict(loaded: Any) -> Mapping[Any, Any]:
    for key in ("state_dict", "model", "net"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    return loaded if isinstance(loaded, Mapping) else {}


# Where the values are


@contextmanager
def archived(path: Path) -> Iterator[Any]:
    """torch 1.6 and later: a zip of the pickle and of one member a storage."""
    with opened_archive(path) as archive:
        top = next((name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")), None)
        require(top, "a zip without torch's data.pkl")
        order = f"{top}byteorder"
        is_little = order not in archive.namelist() or member(archive, order, 100) == b"little"
        require(is_little == (sys.byteorder == "little"), "numbers in another byte order than this machine's")

        def storage(kind: Any, key: Any, _location: Any, size: Any) -> Storage:
            return Storage(kind.dtype, size, partial(part, archive, f"{top}data/{key}"))

        yield unpickled(member(archive, f"{top}data.pkl", MOST_PICKLED), storage)


def part(archive: ZipFile, name: str, start: int, size: int) -> bytes:
    """Those bytes of a member, of which all are read: so that its CRC is checked."""
    require(archive.getinfo(name).compress_type == ZIP_STORED, f"{name} is compressed")
    found = []
    with archive.open(name) as file:
        place = 0
        while block := file.read(BLOCK):
            found.append(block[max(start - place, 0) : max(start + size - place, 0)])
            place += len(block)
    return b"".join(found)


@contextmanager
def older(path: Path) -> Iterator[Any]:
    """Before torch 1.6: pickles, and behind them the storages in the order of their keys."""
    places: dict[Any, tuple[int, int]] = {}  # key -> where it begins, how many numbers
    widths: dict[Any, int] = {}
    with open(path, "rb") as file:

        def bytes_at(key: Any, start: int, size: int) -> bytes:
            begin, numbers = places[key]
            require(start + size <= numbers * widths[key], "a tensor outside of its storage")
            file.seek(begin + start)
            return file.read(size)

        def storage(kind: Any, key: Any, _location: Any, size: Any, view: Any = None) -> Storage:
            require(view is None, "views of storages")
            widths[key] = carrier(kind.dtype).itemsize
            return Storage(kind.dtype, size, partial(bytes_at, key))

        require(unpickled(next_pickle(file)) == MAGIC, "neither a zip nor torch's older format")
        unpickled(next_pickle(file))  # the protocol
        facts = unpickled(next_pickle(file))
        little = facts.get("little_endian", True) if isinstance(facts, dict) else None
        require(little == (sys.byteorder == "little"), "numbers in another byte order than this machine's")
        loaded, keys = unpickled(next_pickle(file), storage), unpickled(next_pickle(file))
        end = path.stat().st_size
        for key in keys:
            numbers = int.from_bytes(file.read(8), sys.byteorder)
            require(key in widths, "a storage of nothing")
            places[key] = file.tell(), numbers
            require(file.tell() + numbers * widths[key] <= end, "a storage that ends behind the file")
            file.seek(numbers * widths[key], 1)
        require(places.keys() == widths.keys(), "tensors without a storage")
        yield loaded


def stored(name: str, tensor: Tensor) -> Stored:
    """A tensor's numbers lie apart from each other, inside of its storage."""
    sizes = (tensor.offset, tensor.storage.size, *tensor.shape, *tensor.strides)
    whole = all(type(size) is int and 0 <= size < 2**48 for size in sizes) and len(tensor.shape) == len(tensor.strides)
    require(whole, f"{name!r} has sizes that are none: {sizes}")
    reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    reach = reach if prod(tensor.shape) else 0
    require(prod(tensor.shape) <= reach or not reach, f"{name!r} shows the same numbers again and again")
    require(tensor.offset + reach <= tensor.storage.size, f"{name!r} is outside of its storage")
    return Stored(tensor.shape, tensor.storage.dtype, partial(values, name, tensor, reach))


def values(name: str, tensor: Tensor, reach: int) -> np.ndarray:
    dtype = carrier(tensor.storage.dtype)
    found = tensor.storage.bytes_at(tensor.offset * dtype.itemsize, reach * dtype.itemsize)
    require(len(found) == reach * dtype.itemsize, f"{name!r} ends behind its storage")
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(np.frombuffer(found, dtype), tensor.shape, strides)


# What a pickle may make


def rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *_more: Any) -> Tensor:
    require(isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple), WHOLE)
    return Tensor(storage, offset, shape, strides)


def parameter(tensor: Any, *_more: Any) -> Any:
    return tensor


def nothing(*_anything: Any) -> None:
    """In the place of what describes no weights, such as a device."""


MADE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): rebuilt,
    ("torch._utils", "_rebuild_tensor_v2"): rebuilt,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): nothing,
    **{("torch", name): StorageType(dtype) for name, dtype in STORAGES.items()},
    **{("torch", dtype): nothing for dtype in (*STORAGES.values(), "float", "half", "double", "long")},
}


class Unpickler(pickle.Unpickler):
    """Makes what MADE lists, and else nothing."""

    def __init__(self, pickled: bytes, storage: Callable[..., Storage] | None):
        super().__init__(BytesIO(pickled), encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        require((module, name) in MADE, f"{WHOLE} ({module}.{name})")
        return MADE[module, name]

    def persistent_load(self, told: Any) -> Storage:
        require(self.storage and isinstance(told, tuple) and len(told) in (5, 6) and told[0] == "storage", WHOLE)
        require(isinstance(told[1], StorageType) and isinstance(told[2], str), WHOLE)
        return self.storage(*told[1:])  # type: ignore[misc]


def unpickled(pickled: bytes, storage: Callable[..., Storage] | None = None) -> Any:
    refuse_large_numbers(pickled)
    try:
        return Unpickler(pickled, storage).load()
    except UnreadableError:
        raise
    except Exception as error:  # whatever an odd pickle makes of what it may make
        raise UnreadableError(f"{WHOLE} ({error})") from error


def refuse_large_numbers(pickled: bytes) -> None:
    """The unpickler reserves as much as a pickle's numbers say, and that can be anything."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if "PUT" in opcode.name:
            require(argument is not None and int(argument) <= len(pickled), WHOLE)


def next_pickle(file: IO[bytes]) -> bytes:
    """The bytes of the pickle that begins here; the file then stands behind it."""
    start = file.tell()
    pickled = file.read(MOST_PICKLED)
    try:
        *_, (_, _, stop) = pickletools.genops(pickled)
    except ValueError as error:
        raise UnreadableError(WHOLE) from error
    end = (stop or 0) + 1
    file.seek(start + end)
    return pickled[:end]
