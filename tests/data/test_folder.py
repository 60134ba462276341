"""Folders as they are in the wild: links in circles, files that are no images, folders that are no splits, bombs."""

import io
import os
import socket
import struct
import zlib
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers.folders import classes, encoded_as, folder_of, picture
from keras_resnet.checks import ArgumentError
from keras_resnet.data import check, decode, decoding, encoded, load_data, read_image
from keras_resnet.data.headers import pixels_in

PNG = encoded_as("PNG", picture())


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))


@pytest.fixture
def two(tmp_path):
    """Ten images in two classes."""
    return classes(tmp_path / "photographs", {"ant": 5, "bee": 5})


def names(source):
    """Of the files, below the folder of the class."""
    return sorted(file.split("photographs" + os.sep)[1] for file in source.train.store.files)


ORIGINAL = sorted(f"{label}/{number}.png" for label in ("ant", "bee") for number in range(5))


# Links


LINKS = {
    "to the data": ("ant/all", "."),
    "to above the data": ("ant/all", ".."),
    "to the class itself": ("ant/again", "ant"),
    "to another class": ("ant/other", "bee"),
    "among the classes": ("all", "."),
}


@pytest.mark.parametrize(("link", "target"), LINKS.values(), ids=LINKS)
def test_a_link_in_a_circle_adds_no_image(two, link, target):
    (two / link).symlink_to(two / target, target_is_directory=True)
    source = load_data(two, on_error="ignore")
    assert source.class_names == ("ant", "bee")
    assert names(source) == ORIGINAL
    assert source.ignored == ((str(two / link), "a link to a folder that is read anyway"),)


def test_two_links_to_one_folder_add_its_images_once(two, tmp_path):
    folder_of(tmp_path / "more", {"deep/1.png": PNG})
    for link in ("one", "two"):
        (two / "ant" / link).symlink_to(tmp_path / "more")
    found = names(load_data(two, on_error="ignore"))
    assert len(found) == 11
    assert len({"ant/one/deep/1.png", "ant/two/deep/1.png"} & set(found)) == 1


def test_classes_that_are_links_are_read(tmp_path, two):
    for split in ("train", "val"):
        (tmp_path / "linked" / split).mkdir(parents=True)
        for name in ("ant", "bee"):
            (tmp_path / "linked" / split / name).symlink_to(two / name)
    source = load_data(tmp_path / "linked", on_error="ignore")
    assert (len(source.train), len(source.test)) == (10, 10)


def test_one_folder_under_two_names_is_refused(two):
    (two / "wasp").symlink_to(two / "bee")
    with pytest.raises(ArgumentError, match=r"a folder of its own for each class.*\['bee', 'wasp'\]"):
        load_data(two)


# Listing


def test_the_folder_of_a_class_is_listed_once_and_no_file_is_opened(tmp_path, monkeypatch):
    """So 1.28 million files in 1,000 classes are listed in 2 seconds."""
    folders = [f"train/{label}{part}" for label in "xyz" for part in ("", "/a", "/b")]
    folder_of(tmp_path, {f"{folder}/{number}.JPEG": b"" for folder in folders for number in "12"})
    opened, listed = [], Counter()

    def counted(function):
        return lambda path: (listed.update([str(path)]), function(path))[1]

    monkeypatch.setattr("builtins.open", lambda path, *_: opened.append(path))
    for function in ("scandir", "listdir"):
        monkeypatch.setattr(os, function, counted(getattr(os, function)))
    source = load_data(tmp_path, on_error="ignore")
    assert len(source.train.store.files) == 18
    assert opened == []
    assert [listed[str(tmp_path / folder)] for folder in folders] == [1] * 9


def test_mean_and_deviation_look_at_the_files_once(two, monkeypatch):
    source, asked = load_data(two), []
    state = encoded.state
    monkeypatch.setattr(encoded, "state", lambda file: (asked.append(file), state(file))[1])
    assert len([*source.mean, *source.std, *source.mean]) == 9
    assert sorted(asked) == sorted(source.train.store.files)


# What is no image


def test_files_that_are_no_images_are_left_out_and_counted(two):
    folder_of(two, {"ant/Thumbs.db": b"\xd0\xcf\x11\xe0", "ant/readme.txt": b"Ants.", "bee/paper.pdf": b"%PDF-1.7"})
    folder_of(two, {"bee/.DS_Store": b"hidden", "bee/without a suffix": PNG})
    with pytest.warns(UserWarning, match=r"Ignored in .*: 3 as no image \(.*ant/.*; .*; .*bee/paper\.pdf\)"):
        source = load_data(two)
    assert names(source) == sorted([*ORIGINAL, "bee/without a suffix"])
    report = str(check(source))
    assert "cannot be decoded: 0\nignored: 3\n" in report
    for name in ("ant/Thumbs.db", "ant/readme.txt", "bee/paper.pdf"):
        assert f"  {two}/{name}: no image" in report.splitlines()


@pytest.mark.parametrize("name", ["photograph.tif", "photograph.HEIC", "photograph.webp"])
def test_photographs_that_the_decoder_does_not_know_are_no_thumbs_db(two, name):
    folder_of(two, {f"ant/{name}": b"of some kind"})
    with pytest.raises(ArgumentError, match=rf"images that can be decoded.*{name} \(Unknown image file format"):
        load_data(two)


def test_a_class_of_other_files_alone_says_so(two):
    folder_of(two, {f"cat/{name}.txt": b"cat" for name in range(7)})
    with pytest.raises(ArgumentError, match=r"every class.*\(ignored: 7 as no image \(.*and 2 more\)\).*\['cat'\]"):
        load_data(two)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_nobody_waits_at_a_fifo_or_a_socket(two):
    os.mkfifo(two / "ant/fifo.jpg")
    os.mkfifo(two / "ant/without a suffix")
    (two / "bee/link.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(two)  # names of sockets are short
        server.bind("bee/socket.png")
        os.chdir(here)
        source = load_data(two, on_error="ignore")
    assert names(source) == ORIGINAL
    assert [why for _, why in source.ignored] == ["no regular file"] * 4


@pytest.fixture
def latin(two):
    """Names that are not UTF-8, of a class and of a file in another."""
    try:
        os.mkdir(os.fsencode(two) + b"/caf\xe9")
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    for name in (b"/caf\xe9/1.png", b"/ant/na\xefve.png"):
        with open(os.fsencode(two) + name, "wb") as file:
            file.write(PNG)
    return two


def test_names_that_are_not_utf8_are_read_and_shown_with_their_bytes(latin):
    source = load_data(latin)
    assert source.class_names == ("ant", "bee", r"caf\xe9")
    shown = {source.train.store.name(number).split("photographs/")[1] for number in range(12)}
    assert shown == {*ORIGINAL, r"caf\xe9/1.png", r"ant/na\xefve.png"}
    assert source.shape == load_data(latin).shape
    assert len(source.mean) == 3
    str(check(source)).encode()


def test_a_broken_file_whose_name_is_not_utf8_is_named(latin):
    with open(os.fsencode(latin) + b"/ant/na\xefve.png", "wb") as file:
        file.write(PNG[:-30])
    with pytest.raises(ArgumentError, match=r"ant/na\\\\xefve\.png") as error:
        load_data(latin)
    str(error.value).encode()


def test_the_folder_of_a_run_is_one_in_which_tensorflow_finds_a_saved_model(two):
    """It has the source's name; TensorFlow reads brackets and backslashes as a pattern."""
    assert load_data(two.rename(two.with_name("two [1]\\")), on_error="ignore").name == "two _1__"


# Splits


def test_folders_beside_the_splits_are_named_and_ignored(two):
    classes(two / "train", {"ant": 5, "bee": 5})
    (two / "logs").mkdir()
    folder_of(two, {"__pycache__/module.pyc": b"", ".git/config": b""})
    with pytest.warns(UserWarning, match=r"4 as no split \(.*__pycache__; .*ant; .*bee; .*logs\)"):
        source = load_data(two)
    assert len(source.train) + len(source.test) == 10
    assert {name.split(os.sep)[-1]: why for name, why in source.ignored}["logs"] == "no split"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Valid"])
def test_the_validation_split_has_several_names(tmp_path, name):
    for split, count in {"train": 3, name: 2, "test": 1}.items():
        classes(tmp_path / split, {"ant": count, "bee": count})
    assert len(load_data(tmp_path, on_error="ignore").validation) == 4


# Images that cannot be decoded


def test_a_class_of_which_no_image_can_be_decoded_is_named_with_its_count(two):
    folder_of(two, {f"cat/{number}.jpg": b"no image" for number in range(10)})
    with pytest.warns(UserWarning, match=r"10 images cannot be .*No training image is left of: cat \(10\)"):
        source = load_data(two, on_error="skip")
    assert source.class_names == ("ant", "bee", "cat")
    assert set(source.train.labels) == {0, 1}


def test_images_of_one_class_alone_are_refused_also_where_others_are_skipped(two):
    for file in (two / "bee").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(ArgumentError, match=r"at least two classes that can be decoded.*none of bee \("):
        load_data(two, on_error="skip")


def test_many_broken_files_each_have_their_own_reason(two):
    broken = {"Input is empty.": b"", "Unknown image file format.": b"no image", "Invalid PNG data": PNG[:-30]}
    folder_of(two, {f"ant/{n:02}{why}.jpg": content for n in range(20) for why, content in broken.items()})
    unreadable = check(load_data(two, on_error="ignore")).unreadable
    assert len(unreadable) == 60
    assert all(why.startswith(name.split(os.sep)[-1][2:-4]) for name, why in unreadable)


# What the decoder makes of an image


def turned(format_):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    return encoded_as(format_, picture(), exif=exif)


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_exif_does_not_turn_an_image(format_):
    assert decode(turned(format_), 3).shape == (48, 64, 3)
    assert Image.open(io.BytesIO(turned(format_))).getexif()[0x0112] == 6


def test_alpha_is_dropped_and_not_blended():
    pixels = np.dstack([np.asarray(picture()), np.arange(48 * 64).reshape(48, 64) % 256]).astype("uint8")
    content = encoded_as("PNG", Image.fromarray(pixels))
    np.testing.assert_array_equal(decode(content, 3), pixels[..., :3])
    np.testing.assert_array_equal(decode(content, 4), pixels)


# Bombs


def png(width, height):
    """A header alone."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def jpeg(width, height):
    content = encoded_as("JPEG", picture())
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def gif(*sizes):
    """Frames of those sizes on a screen of one pixel."""
    frame = b"\x02\x02\x44\x01\x00"
    comment = b"!\xfe\x05hello\x00"
    frames = (b"," + struct.pack("<HHHHB", 0, 0, *size, 0x81) + bytes(12) + frame for size in sizes)
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + comment + b"".join(frames) + b";"


def bmp(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def webp(kind, size):
    return b"RIFF\0\0\0\0WEBP" + kind + size


HEADERS = {
    "PNG": (png(70_000, 60_000), 70_000 * 60_000),
    "GIF": (gif((65_535, 65_535)), 65_535**2),
    "GIF of frames": (gif(*[(20_000, 5_000)] * 3), 300_000_000),
    "BMP": (bmp(30_000, -20_000), 600_000_000),
    "WebP": (webp(b"VP8 ", bytes(10) + struct.pack("<HH", 16_383, 0x4000 + 16_000)), 16_383 * 16_000),
    "lossless WebP": (webp(b"VP8L", bytes(5) + struct.pack("<I", 16_382 | 16_000 << 14)), 16_383 * 16_001),
    "extended WebP": (webp(b"VP8X", bytes(8) + b"\xff\xff\1\x0f\0\0"), 2**17 * 16),
}


@pytest.mark.parametrize(("content", "pixels"), HEADERS.values(), ids=HEADERS)
def test_pixels_are_counted_from_the_header(content, pixels):
    assert pixels_in(content) == pixels


@pytest.mark.parametrize("format_", ["PNG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["", "lossless"])
def test_pixels_of_whole_images_are_counted(format_, options):
    assert pixels_in(encoded_as(format_, picture(size=(37, 21)), **options)) == 37 * 21


@pytest.mark.parametrize("content", [content for content, _ in HEADERS.values()], ids=HEADERS)
def test_headers_that_are_cut_off_have_no_pixels(content):
    for length in range(0, len(content), 3):
        assert pixels_in(content[:length]) >= 0


BOMBS = {
    "png": png(70_000, 60_000),
    "jpg": jpeg(65_000, 65_000),
    "gif": gif((65_535, 65_535)),
    "bmp": bmp(30_000, -20_000),
}


@pytest.mark.parametrize("suffix", BOMBS)
def test_a_bomb_is_refused_by_name_before_it_is_decoded(two, suffix, monkeypatch):
    monkeypatch.setattr(tf.io, "decode_image", None)
    folder_of(two, {f"ant/bomb.{suffix}": BOMBS[suffix]})
    with pytest.raises(ArgumentError, match=rf"bomb\.{suffix} \(\d+ pixels, more than 178,956,970\)"):
        load_data(two)
    with pytest.raises(ArgumentError, match=rf"pixels, more than 178,956,970.*bomb\.{suffix}"):
        read_image(two / f"ant/bomb.{suffix}", 3)
    with pytest.warns(UserWarning, match="1 images cannot be decoded"):
        assert len(load_data(two, on_error="skip").skipped) == 1


def test_an_image_of_the_greatest_size_is_decoded(tmp_path, monkeypatch):
    folder_of(tmp_path, {"image.png": PNG})
    for most, refused in ((48 * 64, False), (48 * 64 - 1, True)):
        monkeypatch.setattr(decoding, "PIXELS", most)
        with pytest.raises(ArgumentError, match="3072 pixels") if refused else nullcontext():
            assert read_image(tmp_path / "image.png", 3).shape == (48, 64, 3)


@pytest.mark.parametrize("start", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_is_refused_as_its_size_is_not_known_before_it_is_decoded(tmp_path, start):
    folder_of(tmp_path, {"image.png": start + bytes(99)})
    with pytest.raises(ArgumentError, match=r"\(a JPEG XL, .*before it is decoded\).*image\.png"):
        read_image(tmp_path / "image.png", 3)
