"""Image files, JPEG, PNG, BMP or GIF, as pixels.

TensorFlow's decoders do not turn an image as its EXIF says, drop alpha without blending, keep the higher 8 of 16 bits,
and ignore ICC profiles.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.checks import expect, invalid
from keras_resnet.data.headers import pixels_in

HEADER = 54  # bytes of a BMP before its palette
PALETTES = (1, 2, 4, 8)  # bits of a pixel that is the number of a colour
PIXELS = 2**29 // 3  # of the largest image that is decoded: 512 MiB of RGB, 13,377 x 13,377; Pillow's limit too


@partial(tf.function, autograph=False)  # traced once, and not for every dataset
def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """The image of a file's bytes, uint8 [H, W, channels]; of a GIF the first frame.

    TensorFlow takes the numbers of a BMP's palette for grey, without an error: they are looked up here.
    """
    start = tf.strings.join([tf.strings.substr(encoded, 0, HEADER), tf.constant(bytes(HEADER))])
    header = tf.io.decode_raw(tf.strings.substr(start, 10, 40), tf.int32)
    has_palette = (tf.strings.substr(start, 0, 2) == b"BM") & (header[4] // 2**16 <= max(PALETTES))
    image = tf.cond(
        has_palette,
        lambda: with_channels(decode_palette(encoded, header), channels),
        lambda: tf.io.decode_image(encoded, channels, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, channels))


def decode_bounded(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """As `decode`. An image of more than PIXELS is refused by its header, before memory is taken for it."""
    shape = tf.io.extract_jpeg_shape
    pixels = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.reduce_prod(tf.cast(shape(encoded)[:2], tf.int64)),
        lambda: tf.ensure_shape(tf.numpy_function(pixels_in, [encoded], tf.int64, stateful=False), ()),
    )
    refused = tf.debugging.Assert(pixels <= PIXELS, [pixels, f"pixels, more than {PIXELS:,}"])
    with tf.control_dependencies([refused]):
        return decode(tf.identity(encoded), channels)


def decode_palette(encoded: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """The RGB image of a BMP whose pixels are numbers of colours, from the ten int32 behind its tenth byte."""
    first_pixel, size, width, height, bits, compression, *_, colors = tf.unstack(header, 10)
    bits = bits // 2**16  # the lower half is the number of planes
    plain = (compression == 0) & (size >= 40) & tf.reduce_any(bits == PALETTES)
    with tf.control_dependencies([tf.debugging.Assert(plain, ["a compressed BMP, or one of OS/2"])]):
        bits, data = tf.identity(bits), tf.io.decode_raw(encoded, tf.uint8)
    colors = tf.where(colors == 0, 2**bits, colors)
    palette = tf.reshape(data[14 + size :][: 4 * colors], (-1, 4))[:, 2::-1]  # blue, green, red, nothing
    rows, stride = tf.abs(height), (width * bits + 31) // 32 * 4  # a row ends where 32 bits end
    pixels = tf.reshape(data[first_pixel:][: rows * stride], (rows, stride, 1))
    numbers = tf.cast(pixels, tf.int32) // 2 ** tf.range(8 - bits, -1, -bits) % 2**bits
    image = tf.gather(palette, tf.reshape(numbers, (rows, -1))[:, :width])
    return tf.where(height > 0, image[::-1], image)  # usually the last row comes first


def with_channels(image: tf.Tensor, channels: int) -> tf.Tensor:
    """An RGB image in grey, or with an alpha that hides nothing."""
    if channels == 1:
        return tf.image.rgb_to_grayscale(image)
    return image if channels == 3 else tf.concat([image, 255 * tf.ones_like(image[..., :1])], -1)


def read_image(path: str | Path, channels: int) -> np.ndarray:
    """The image of a file, uint8 [H, W, channels].

    Raises:
        ArgumentError: Where there is no such file, or it is no image.
    """
    expect(Path(path).is_file(), "image", "the path of an image", str(path))
    file = tf.data.Dataset.from_tensors(Path(path).read_bytes())
    try:
        return next(file.map(lambda encoded: decode_bounded(encoded, channels)).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise invalid("image", f"a JPEG, PNG, GIF or BMP ({reason_of(error)})", str(path)) from error


def reason_of(error: tf.errors.OpError) -> str:
    """What TensorFlow says, without where it says it."""
    where = r".*Iterator::Root\S*: |\{\{.*?\}\} *|assertion failed: |\w+::\w+ failed\. |ValueError: |[\[\]]"
    return re.sub(where, "", error.message.splitlines()[0])
