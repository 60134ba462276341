"""Caffe's protobuf without its values: where these lie is found by walking the messages' lengths."""

import mmap
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_resnet.weights.foreign.contents import Contents, Stored, checked, require

BLOBS = {100: 7, 2: 6}  # the number of a layer's field in the network, and of the blobs' field in that layer
DATA = {5: "float32", 8: "float64"}
DIFFERENCES = (6, 9)  # what training left, and nobody reads
MOST_LAYERS, MOST_BLOBS, MOST_TEXT = 20_000, 100_000, 2**21
VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5
SIZES = {EIGHT: 8, FOUR: 4}


class Field(NamedTuple):
    number: int
    begin: int  # of its tag
    start: int  # of its value
    end: int


@contextmanager
def contents(path: Path) -> Iterator[Contents]:
    """Values by the numbers of the layer's field, of the layer and of the blob; the fact "net" has the rest."""
    with open(path, "rb") as file:
        require(file.seek(0, 2), "no layer has weights")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            arrays: dict[str, Stored] = {}
            net = b"".join(layers(data, arrays))
            yield Contents({"net": b64encode(net).decode()}, arrays)


def layers(data: mmap.mmap, arrays: dict[str, Stored]) -> Iterator[bytes]:
    counts, size = dict.fromkeys(BLOBS, 0), 0
    for field in fields(data, 0, len(data)):
        if field.number in BLOBS:
            kept = b"".join(without_values(data, field, f"{field.number}/{counts[field.number]}", arrays))
            yield tagged(field.number, kept)
            counts[field.number] += 1
            size += len(kept)
            require(sum(counts.values()) <= MOST_LAYERS, f"more than {MOST_LAYERS:,} layers")
            require(size <= MOST_TEXT, f"more than {MOST_TEXT:,} bytes beside the weights")


def without_values(data: mmap.mmap, layer: Field, name: str, arrays: dict[str, Stored]) -> Iterator[bytes]:
    count = 0
    for field in fields(data, layer.start, layer.end):
        if field.number != BLOBS[layer.number]:
            require(field.end - field.begin <= MOST_TEXT, f"more than {MOST_TEXT:,} bytes beside the weights")
            yield data[field.begin : field.end]
            continue
        pieces: dict[int, list[slice]] = {number: [] for number in DATA}
        kept = []
        for part in fields(data, field.start, field.end):
            if part.number in DATA:
                pieces[part.number].append(slice(part.start, part.end))
            elif part.number not in DIFFERENCES:
                kept.append(data[part.begin : part.end])
        yield tagged(field.number, b"".join(kept))
        number = next((number for number in DATA if any(piece.stop > piece.start for piece in pieces[number])), 5)
        arrays[f"{name}/{count}"] = checked(name, blob(data, pieces[number], DATA[number]))
        count += 1
        require(len(arrays) <= MOST_BLOBS, f"more than {MOST_BLOBS:,} blobs")


def blob(data: mmap.mmap, pieces: list[slice], dtype: str) -> Stored:
    size = sum(piece.stop - piece.start for piece in pieces)
    require(size % np.dtype(dtype).itemsize == 0, "protobuf: half a number")
    return Stored((size // np.dtype(dtype).itemsize,), dtype, partial(values, data, pieces, dtype))


def values(data: mmap.mmap, pieces: list[slice], dtype: str) -> np.ndarray:
    return np.frombuffer(b"".join(data[piece] for piece in pieces), np.dtype(dtype).newbyteorder("<")).astype(dtype)


def fields(data: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """Of one message, as protobuf's encoding has them."""
    while start < end:
        begin = start
        tag, start = varint(data, start, end)
        kind, size = tag & 7, 0
        require(tag >> 3 and kind in (VARINT, EIGHT, LENGTH, FOUR), "protobuf: a field of no known kind")
        if kind == VARINT:
            _, stop = varint(data, start, end)
        else:
            size, start = varint(data, start, end) if kind == LENGTH else (SIZES[kind], start)
            stop = start + size
        require(stop <= end, "protobuf: a message that ends too early")
        yield Field(tag >> 3, begin, start, stop)
        start = stop


def varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """The number, and where it ends."""
    value = 0
    for place in range(10):
        require(start + place < end, "protobuf: a message that ends too early")
        byte = data[start + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, start + place + 1
    require(False, "protobuf: a number that does not end")
    raise AssertionError


def tagged(number: int, message: bytes) -> bytes:
    return encoded(number << 3 | LENGTH) + encoded(len(message)) + message


def encoded(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + encoded(value >> 7)
