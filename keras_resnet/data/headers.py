"""How many pixels an image file promises, from its first bytes and without decoding it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from struct import error, unpack_from

import numpy as np


def pixels_in(encoded: bytes) -> np.int64:
    """Of a PNG, BMP, GIF or WebP, of a GIF those of all its frames; 0 where no header can be read.

    Raises:
        ValueError: For a JPEG XL, which TensorFlow from 2.21 on decodes.
    """
    with suppress(error, IndexError):
        return np.int64(next((count(encoded) for start, count in COUNTS.items() if encoded.startswith(start)), 0))
    return np.int64(0)


def in_png(encoded: bytes) -> int:
    width, height = unpack_from(">II", encoded, 16)
    return width * height


def in_bmp(encoded: bytes) -> int:
    width, height = unpack_from("<ii", encoded, 18)
    return abs(width * height)


def in_gif(encoded: bytes) -> int:
    """The decoder takes memory for every frame, each of its own size."""
    return sum(width * height for width, height in gif_frames(encoded))


def gif_frames(encoded: bytes) -> Iterator[tuple[int, int]]:
    place = 13 + gif_palette(encoded[10])
    while (block := encoded[place : place + 1]) in (b",", b"!"):
        if block == b",":
            if len(encoded) < place + 10:
                return
            yield unpack_from("<HH", encoded, place + 5)
            place += 9 + gif_palette(encoded[place + 9])
        place = end_of_parts(encoded, place + 2)


def gif_palette(flags: int) -> int:
    """How many bytes it has."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def end_of_parts(encoded: bytes, place: int) -> int:
    """Behind the parts of a GIF's block: each says how long it is, and the last one is empty."""
    while place < len(encoded) and encoded[place]:
        place += 1 + encoded[place]
    return place + 1


def in_webp(encoded: bytes) -> int:
    if encoded[12:16] == b"VP8X":
        return (1 + int.from_bytes(encoded[24:27], "little")) * (1 + int.from_bytes(encoded[27:30], "little"))
    if encoded[12:16] == b"VP8L":
        bits = int.from_bytes(encoded[21:25], "little")
        return (1 + bits % 2**14) * (1 + (bits >> 14) % 2**14)
    width, height = unpack_from("<HH", encoded, 26)
    return (width % 2**14) * (height % 2**14)


def in_jpeg_xl(encoded: bytes) -> int:
    raise ValueError("a JPEG XL, whose size is not known before it is decoded")


COUNTS: dict[bytes, Callable[[bytes], int]] = {
    b"\x89PNG": in_png,
    b"BM": in_bmp,
    b"GIF8": in_gif,
    b"RIFF": in_webp,
    b"\xff\x0a": in_jpeg_xl,
    b"\0\0\0\x0cJXL ": in_jpeg_xl,
}
