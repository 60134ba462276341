"""Image files as pixels: what a BMP's palette says, eagerly and inside a `Dataset.map`."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnet.checks import ArgumentError
from keras_resnet.data import Arrays, decode, evaluation_view, load_data, read_image
from keras_resnet.data.crops import read_crop
from keras_resnet.modelcard import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype="uint8")  # whose rows end within 32 bits


def bmp(mode, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode, **options).save(file, "BMP")
    return file.getvalue()


def four_bits():
    """13 x 9 pixels of 16 colours, which PIL reads and does not write."""
    numbers = np.arange(9 * 16).reshape(9, 16) % 16  # a row of 8 bytes, the last three pixels of none
    palette = np.arange(64, dtype="uint8")
    data = (numbers[::-1, ::2] << 4 | numbers[::-1, 1::2]).astype("uint8").tobytes()
    fields = [40, 13, 9, 1 | 4 << 16, 0, len(data), 0, 0, 0, 0]
    head = b"BM" + np.array([118 + len(data), 0, 118, *fields], "<i4").tobytes()
    return head + palette.tobytes() + data


def top_down(file):
    """The same rows, the first one first."""
    height = int.from_bytes(file[22:26], "little", signed=True)
    start, stride = int.from_bytes(file[10:14], "little"), len(file[int.from_bytes(file[10:14], "little") :]) // height
    rows = [file[start + stride * row : start + stride * (row + 1)] for row in range(height)]
    return file[:22] + (-height).to_bytes(4, "little", signed=True) + file[26:start] + b"".join(rows[::-1])


BMPS = {
    "24 bits": bmp("RGB"),
    "palette": bmp("P", palette=Image.Palette.ADAPTIVE),
    "short palette": bmp("P", palette=Image.Palette.ADAPTIVE, colors=7),
    "grey": bmp("L"),
    "4 bits": four_bits(),
    "1 bit": bmp("1"),
    "top down": top_down(bmp("P", palette=Image.Palette.ADAPTIVE)),
}


def as_pil(file, mode="RGB"):
    return np.asarray(Image.open(io.BytesIO(file)).convert(mode))


@pytest.mark.parametrize("file", BMPS.values(), ids=BMPS)
def test_bmps_are_decoded_as_pil_decodes_them(file):
    np.testing.assert_array_equal(decode(tf.constant(file), 3), as_pil(file))
    mapped = tf.data.Dataset.from_tensors(file).map(lambda file: decode(file, 3))
    assert mapped.element_spec.shape == (None, None, 3)
    np.testing.assert_array_equal(next(iter(mapped)), as_pil(file))


@pytest.mark.parametrize("name", ["palette", "grey", "4 bits", "1 bit"])
def test_palettes_have_a_grey_and_an_alpha_too(name):
    grey, colored = (decode(tf.constant(BMPS[name]), channels).numpy() for channels in (1, 4))
    assert np.abs(grey[..., 0].astype(int) - as_pil(BMPS[name], "L")).max() <= 1  # PIL rounds otherwise
    np.testing.assert_array_equal(colored, np.dstack([as_pil(BMPS[name]), np.full(grey.shape[:2], 255)]))


@pytest.mark.parametrize("name", ["palette", "1 bit"])
def test_palettes_are_looked_up_wherever_a_file_is_read(name, tmp_path):
    """In a folder that fits in memory and in one that does not, by random crops, and by its path."""
    for place in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "image.bmp").write_bytes(BMPS[name])
    expected = as_pil(BMPS[name])
    held, read = load_data(tmp_path), load_data(tmp_path, on_error="ignore")
    assert isinstance(held.train, Arrays)
    view = evaluation_view(read.train, Preprocessing((0.0,) * 3, (1.0,) * 3), 3)
    number = tf.data.Dataset.range(1).enumerate()
    ((image, _),) = read.train.batched(number, 1, complete=False, view=view).as_numpy_iterator()
    crop = read_crop(tf.constant(BMPS[name]), (0, 0), 5, lambda shape, seed: (2, 3, 5, 5))
    for found, wanted in ((held.train.images[0], expected), (image[0], expected), (crop, expected[2:7, 3:8])):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(read_image(tmp_path / "train/a/image.bmp", 3), expected)


REFUSED = {
    "cut off": (BMPS["palette"][:-30], "reshape"),
    "compressed": (BMPS["palette"][:30] + b"\1" + BMPS["palette"][31:], "a compressed BMP, or one of OS/2"),
    "without a header": (b"BM", "a compressed BMP, or one of OS/2"),
    "colours that are not there": (bmp("P")[:46] + b"\2" + bmp("P")[47:], "indices"),
    "no image": (b"no image", "Unknown image file format"),
    "nothing": (b"", "Input is empty"),
}


@pytest.mark.parametrize(("file", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_cannot_be_decoded_is_named_with_the_reason(file, reason, tmp_path):
    (tmp_path / "image.bmp").write_bytes(file)
    message = rf"`image`. Expected a JPEG, PNG, GIF or BMP \([^\[{{]*{reason}.*image\.bmp"
    with pytest.raises(ArgumentError, match=message):
        read_image(tmp_path / "image.bmp", 3)


def test_a_path_without_a_file_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"`image`. Expected the path of an image"):
        read_image(tmp_path / "nowhere.png", 3)
