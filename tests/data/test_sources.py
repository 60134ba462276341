"""Labelled images: from folders, TFDS sets and arrays; splits, facts, and what is done about files that are broken."""

import io
import os
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers.folders import classes, encoded_as, folder_of, picture
from keras_resnet.checks import ArgumentError
from keras_resnet.data import Arrays, check, digits, encoded, evaluation_batches, evenly, load_data, training_batches

PHOTOGRAPH = np.asarray(Image.fromarray(digits().test.images[0, ..., 0]).resize((64, 48), Image.Resampling.BICUBIC))


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("keras")
    monkeypatch.setenv("KERAS_HOME", str(folder))
    return folder / "keras_resnet"


def images_of(examples, view=None):
    numbers = tf.data.Dataset.range(len(examples)).enumerate()
    return list(examples.batched(numbers, 1, complete=False, view=view).unbatch().as_numpy_iterator())


def whole(bytes_, _):
    return tf.io.decode_image(bytes_, 3, expand_animations=False)


FORMATS = {  # file name: (bytes, greatest difference to PIL: JPEG decoders round differently)
    "JPEG": ("a.JPG", encoded_as("JPEG", picture()), 16),
    "progressive JPEG": ("a.jpeg", encoded_as("JPEG", picture(), progressive=True), 16),
    "grey JPEG": ("a.jpg", encoded_as("JPEG", picture().convert("L")), 3),
    "CMYK JPEG": ("a.jpg", encoded_as("JPEG", picture().convert("CMYK")), 16),
    "PNG": ("a.PNG", encoded_as("PNG", picture()), 0),
    "PNG with alpha": ("a.png", encoded_as("PNG", picture().convert("RGBA")), 0),
    "PNG with a palette": ("a.png", encoded_as("PNG", picture().convert("P")), 0),
    "grey PNG": ("a.png", encoded_as("PNG", picture().convert("L")), 0),
    "PNG of 1 bit": ("a.png", encoded_as("PNG", picture().convert("1")), 0),
    "BMP": ("a.bmp", encoded_as("BMP", picture()), 0),
    "BMP with a palette": ("a.bmp", encoded_as("BMP", picture().convert("P")), 0),
    "GIF": (
        "a.gif",
        encoded_as("GIF", picture().convert("P"), save_all=True, append_images=[picture(1).convert("P")]),
        0,
    ),
    "PNG named JPEG": ("a.jpg", encoded_as("PNG", picture()), 0),
}


@pytest.mark.parametrize("format_", FORMATS)
def test_formats_are_decoded_as_pil_decodes_them(tmp_path, format_):
    name, content, tolerance = FORMATS[format_]
    folder_of(tmp_path, {f"{split}/{label}/{name}": content for split in ("train", "test") for label in "xy"})
    (image, label), _ = images_of(load_data(tmp_path).train)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert image.shape == (48, 64, 3)
    assert np.abs(image - expected).max() <= tolerance
    assert label == 0


def test_sixteen_bits_become_eight(tmp_path):
    grey = (np.arange(48 * 64).reshape(48, 64) * 21).astype("uint16")
    content = encoded_as("PNG", Image.fromarray(grey))
    folder_of(tmp_path, {f"{split}/{label}/a.png": content for split in ("train", "test") for label in "xy"})
    np.testing.assert_array_equal(load_data(tmp_path).train.images[0], np.stack([grey >> 8] * 3, -1))


def test_classes_are_the_sorted_names_of_the_subfolders(tmp_path):
    for split in ("train", "val", "test"):
        classes(tmp_path / split, {"wolf": 2, "ant": 3, "bee/deep": 1, ".hidden": 1})
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "train/ant/.DS_Store").write_text("not an image")
    source = load_data(tmp_path)
    assert source.class_names == ("ant", "bee", "wolf")
    assert {name: split.labels.tolist() for name, split in source.splits.items()} == {
        split: [0, 0, 0, 1, 2, 2] for split in ("train", "validation", "test")
    }
    assert source.shape == (None, None, 3)


def test_images_are_read_by_number(tmp_path):
    source = load_data(classes(tmp_path, {"ant": 5, "bee": 5}))
    numbers = tf.data.Dataset.from_tensor_slices((np.arange(6), np.array([7, 0, 3, 3, 5, 1])))
    batches = source.train.batched(numbers, 1, complete=True, view=whole).as_numpy_iterator()
    sizes = [(image.shape[2], int(label[0])) for image, label in batches]
    paths = [source.train.store.name(source.train.numbers[number]) for number in (7, 0, 3, 3, 5, 1)]
    assert sizes == [
        (np.asarray(Image.open(path)).shape[1], ["ant", "bee"].index(path.split(os.sep)[-2])) for path in paths
    ]


def test_images_of_different_sizes_need_a_view(tmp_path):
    source = load_data(classes(tmp_path, {"ant": 5, "bee": 5}))
    with pytest.raises(ArgumentError, match=r"`view`.*different sizes"):
        source.train.batched(tf.data.Dataset.range(2).enumerate(), 1, complete=True)


def test_images_of_one_size_are_held_in_memory_where_they_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "SIZE", 3)
    classes(tmp_path, {"ant": 5, "bee": 5}, size=lambda _: (16, 12))
    held = load_data(tmp_path)
    monkeypatch.setattr(encoded, "FITS", 10 * 16 * 12 * 3 - 1)
    read = load_data(tmp_path)
    assert isinstance(held.train, Arrays)
    assert isinstance(read.train, encoded.Encoded)
    assert held.shape == read.shape == (12, 16, 3)
    np.testing.assert_array_equal(held.train.images, [image for image, _ in images_of(read.train)])
    np.testing.assert_array_equal(held.train.labels, read.train.labels)


def test_training_on_files_starts_at_any_step(tmp_path):
    source = load_data(classes(tmp_path, {"ant": 6, "bee": 6}))
    view = lambda file, position: tf.image.stateless_random_crop(whole(file, 0), (8, 8, 3), tf.stack([1, position]))  # noqa: E731
    first = list(training_batches(source.train, 2, 4, 3, view=view).take(5).as_numpy_iterator())
    later = list(training_batches(source.train, 2, 4, 3, view=view, start=3).take(2).as_numpy_iterator())
    for one, other in zip(first[3:], later, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


# Splits.


def test_a_fifth_of_each_class_is_the_test_where_there_is_none(tmp_path):
    source = load_data(classes(tmp_path, {"ant": 10, "bee": 20}))
    assert Counter(source.test.labels.tolist()) == {0: 2, 1: 4}
    assert len(source.train) == 24
    assert not set(source.train.numbers) & set(source.test.numbers)
    assert "a fifth is held out as the test" in source.about


def test_the_validation_split_is_the_test_where_there_is_no_other(tmp_path):
    classes(tmp_path / "train", {"ant": 4, "bee": 4})
    classes(tmp_path / "val", {"ant": 1, "bee": 2})
    source = load_data(tmp_path)
    assert source.test.labels.tolist() == [0, 1, 1]
    assert source.validation is None
    assert "the test is its validation split" in source.about
    assert "(train in train/, validation in " in source.about


def test_splits_go_by_other_names_too(tmp_path):
    for name, count in {"Training": 3, "valid": 2, "Testing": 1}.items():
        classes(tmp_path / name, {"ant": count, "bee": count})
    source = load_data(tmp_path)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 6, "validation": 4, "test": 2}
    assert source.class_names == ("ant", "bee")


@pytest.mark.parametrize(("validation", "count"), [(0.25, 25), (30, 30)])
def test_validation_is_held_out_of_every_class(validation, count):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 30, 50]))
    images = np.arange(100, dtype="uint8")[:, None, None, None]
    source = load_data(((images, labels), (images[:5], labels[:5])), validation=validation)
    kept, held = source.train.images.ravel(), source.validation.images.ravel()
    assert sorted([*kept, *held]) == list(range(100))
    assert len(held) == count
    np.testing.assert_allclose(np.bincount(labels[held]), np.array([20, 30, 50]) * count / 100, atol=1)
    np.testing.assert_array_equal(source.validation.labels, labels[held])
    np.testing.assert_array_equal(source.train.labels, labels[kept])


def test_validation_of_data_that_have_one_is_refused():
    with pytest.raises(ArgumentError, match="without a validation split of their own"):
        load_data("digits", validation=0.1)


@pytest.mark.parametrize("validation", [0, 1.0, 1.5, -3, True, "half", 100])
def test_validation_is_a_share_or_a_number(validation):
    with pytest.raises(ArgumentError, match="`validation`"):
        load_data((np.zeros((100, 2, 2, 1), "uint8"), np.zeros(100, int)), validation=validation)


LAYOUTS = {  # what is wrong: (files, message)
    "another class": (("train/ant/1", "train/bee/1", "test/ant/1", "test/cat/1"), r"same classes.*\['bee', 'cat'\]"),
    "a class missing": (("train/ant/1", "train/bee/1", "test/ant/1"), r"same classes.*\['bee'\]"),
    "no classes": (("1", "2"), "a subfolder for each class"),
    "one class": (("ant/1",), r"a subfolder for each class, at least two, found: ant\."),
    "two of one split": (("train/ant/1", "val/ant/1", "validation/ant/1"), r"one folder for a split"),
    "an empty class": (("train/ant/1", "train/bee/.gitkeep"), r"every class.*\['bee'\]"),
}


@pytest.mark.parametrize("wrong", LAYOUTS)
def test_folders_that_are_laid_out_otherwise_are_refused(tmp_path, wrong):
    files, message = LAYOUTS[wrong]
    with pytest.raises(ArgumentError, match=message):
        load_data(folder_of(tmp_path, dict.fromkeys(files, encoded_as("PNG", picture()))))


def test_folders_that_may_not_be_read_are_not_passed_over(tmp_path, monkeypatch):
    classes(tmp_path, {"ant": 5, "bee/deep": 5})
    scandir = os.scandir

    def refused(folder):
        if str(folder).endswith("deep"):
            raise PermissionError(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="deep"):
        load_data(tmp_path)


# Broken files.


def compressed(bmp):
    """What says that it is."""
    return bmp[:30] + b"\1" + bmp[31:]


GOOD = encoded_as("JPEG", picture(size=(256, 256)), quality=95)
BROKEN = {
    "empty": b"",
    "text": b"this is not an image",
    "header": GOOD[:24],
    "truncated": GOOD[: len(GOOD) // 2],
    "last byte": GOOD[:-3],
    "png": encoded_as("PNG", picture())[:-20],
    "tiff": encoded_as("TIFF", picture()),
    "palette": compressed(encoded_as("BMP", picture().convert("P"))),
}


@pytest.fixture
def broken(tmp_path):
    classes(tmp_path, {"ant": 10, "bee": 10})
    folder_of(tmp_path, {f"ant/{name}.jpg": content for name, content in BROKEN.items()})
    (tmp_path / "bee/gone.jpg").symlink_to(tmp_path / "nowhere")
    return tmp_path


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named(tmp_path, name):
    classes(tmp_path, {"ant": 10, "bee": 10})
    folder_of(tmp_path, {f"ant/{name}.jpg": BROKEN[name]})
    with pytest.raises(ArgumentError, match=rf"ant/{name}\.jpg \(.*\).*") as error:
        load_data(tmp_path)
    assert "on_error='skip'" in str(error.value)


def test_broken_files_are_left_out_only_with_a_warning_that_counts_them(broken):
    with pytest.warns(UserWarning, match=r"9 images cannot be decoded and are left out: .*empty\.jpg .*and 4 more"):
        source = load_data(broken, on_error="skip")
    assert {name.split(os.sep)[-1] for name, _ in source.skipped} == {f"{name}.jpg" for name in (*BROKEN, "gone")}
    assert len(source.train) + len(source.test) == 20
    assert len(images_of(source.train, whole)) == 16


def test_check_names_every_broken_file(broken):
    report = check(load_data(broken, on_error="ignore"))
    assert {name.split(os.sep)[-1] for name, _ in report.unreadable} == {f"{name}.jpg" for name in (*BROKEN, "gone")}
    assert sum(report.images.values()) == 29
    assert report.sizes == ((12, 16), (12, 25))
    reasons = {name.split(os.sep)[-1]: why for name, why in report.unreadable}
    assert reasons["palette.jpg"] == "a compressed BMP, or one of OS/2"
    assert all(f"{name}: {why}" in str(report) for name, why in report.unreadable)


def test_check_of_what_was_skipped_says_so(broken):
    with pytest.warns(UserWarning, match="left out"):
        source = load_data(broken, on_error="skip")
    assert len(check(source).unreadable) == 9


def test_a_report_reads_like_this():
    assert str(check(digits())) == (
        "digits: 1,797 images of 10 classes: train 1,295, validation 143, test 359\n"
        "training images of a class: 125 to 132\n"
        "height x width: 8x8\n"
        "cannot be decoded: 0"
    )


def test_files_are_looked_at_once_until_they_change(tmp_path, monkeypatch, home):
    classes(tmp_path, {"ant": 5, "bee": 5})
    looked = []
    look = encoded.look
    monkeypatch.setattr(encoded, "look", lambda store, numbers: (looked.append(len(numbers)), look(store, numbers))[1])
    first, second = load_data(tmp_path), load_data(tmp_path)
    assert first.shape == second.shape
    file = tmp_path / "ant/0.png"
    file.write_bytes(b"x" * file.stat().st_size)
    for _ in range(2):
        with pytest.raises(ArgumentError, match=r"ant/0\.png"):
            load_data(tmp_path)
    assert looked == [10, 0, 0, 10, 1, 1]  # those that are broken again each time: it may have been the disk
    assert len(list(home.iterdir())) == 2


# Facts.


def test_facts_of_arrays():
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), dtype="uint8")
    source = load_data(((images, np.arange(50) % 3), (images, np.arange(50) % 3)))
    np.testing.assert_allclose(source.mean, images.astype("float64").mean((0, 1, 2)))
    np.testing.assert_allclose(source.std, images.astype("float64").std((0, 1, 2)))
    np.testing.assert_allclose(source.pixel_mean, images.astype("float64").mean(0))
    assert source.shape == (6, 5, 3)
    assert source.class_names == ("0", "1", "2")


def test_facts_of_files_count_every_image_the_same_and_are_remembered(tmp_path, monkeypatch):
    source = load_data(classes(tmp_path, {"ant": 5, "bee": 5}))
    paths = [source.train.store.name(number) for number in source.train.numbers]
    pictures = [np.asarray(Image.open(path)).astype("float64") for path in paths]
    mean = np.mean([image.mean((0, 1)) for image in pictures], 0)
    np.testing.assert_allclose(source.mean, mean)
    squares = np.mean([(image**2).mean((0, 1)) for image in pictures], 0)
    np.testing.assert_allclose(source.std, np.sqrt(squares - mean**2))
    found = source.mean, source.std
    monkeypatch.setattr(encoded, "image_moments", None)
    again = load_data(tmp_path)
    assert (again.mean, again.std) == found
    with pytest.raises(ArgumentError, match="fit in memory"):
        assert again.pixel_mean is None


# Arrays and names.


def test_arrays_as_keras_datasets_give_them():
    grey, labels = np.zeros((4, 28, 28), "uint8"), np.array([[0], [1], [2], [1]])
    source = load_data(((grey, labels), (grey[:1], labels[:1])))
    assert source.shape == (28, 28, 1)
    assert source.train.labels.tolist() == [0, 1, 2, 1]
    assert len(load_data((grey.repeat(5, 0), labels.repeat(5, 0))).test) == 4
    assert load_data(source) is source


def pixels(count, channels=3, dtype="uint8"):
    return np.zeros((count, 8, 8, channels), dtype)


OTHER_ARRAYS = {
    "a number": 3,
    "three of one": ((1, 2, 3), (1, 2)),
    "floats": (pixels(4, dtype="float32"), np.zeros(4, int)),
    "fewer labels": (pixels(4), np.zeros(3, int)),
    "other channels": ((pixels(9), np.zeros(9, int)), (pixels(9, channels=1), np.zeros(9, int))),
}


@pytest.mark.parametrize("data", OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_other_arrays_are_refused(data):
    with pytest.raises(ArgumentError, match="Invalid value"):
        load_data(data)


UNKNOWN = {
    "cifar11": "'cifar10'",
    "./cifar10": "a folder that exists",
    "data/nowhere": "a folder that exists",
    "cifar10/nowhere": "a set that TFDS can prepare",
    "coco": "an image classification set",
}


@pytest.mark.parametrize(("name", "message"), UNKNOWN.items())
def test_unknown_names_are_refused_at_once(name, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        load_data(name, data_dir=tmp_path)


def test_other_words_for_on_error_are_refused():
    with pytest.raises(ArgumentError, match="`on_error`"):
        load_data("digits", on_error="drop")


# TFDS.


def tfds_set(path, shape, splits, files=1):
    """A set with the images of `picture`, in the splits {name: labels}."""
    import tensorflow_datasets as tfds

    image, label = tfds.features.Image(shape=shape), tfds.features.ClassLabel(names=["ant", "bee"])

    def examples(labels):
        images = [np.asarray(picture(number, size_in(shape, number))) for number in range(len(labels))]
        return list(enumerate({"image": image, "label": label} for image, label in zip(images, labels, strict=True)))

    tfds.dataset_builders.store_as_tfds_dataset(
        name="pictures",
        version="1.0.0",
        features=tfds.features.FeaturesDict({"image": image, "label": label}),
        split_datasets={split: examples(labels) for split, labels in splits.items()},
        data_dir=path,
        download_config=tfds.download.DownloadConfig(num_shards=files),
    )
    info = path / "pictures/1.0.0/dataset_info.json"
    keys = '"supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},'
    info.write_text(info.read_text().replace("{", "{" + keys, 1))
    return path


def size_in(shape, number):
    return (16 + number, 12) if shape[0] is None else shape[1::-1]


LABELS = {"train": [0, 1, 1, 0, 1, 0, 0, 1], "test": [0, 1, 1]}


def test_tfds_images_of_one_size_are_held_in_memory(tmp_path, monkeypatch):
    from keras_resnet.data import tfds_source

    monkeypatch.setattr(tfds_source, "SIZE", 3)
    source = load_data("pictures", data_dir=tfds_set(tmp_path, (12, 16, 3), LABELS))
    assert isinstance(source.train, Arrays)
    assert source.class_names == ("ant", "bee")
    assert source.about == "TFDS pictures/1.0.0"
    for split, labels in LABELS.items():
        expected = sorted(
            (np.asarray(picture(number, (16, 12))).tobytes(), label) for number, label in enumerate(labels)
        )
        found = source.splits[split]
        assert (
            sorted((image.tobytes(), label) for image, label in zip(found.images, found.labels, strict=True))
            == expected
        )


@pytest.mark.parametrize("files", [1, 3])
def test_tfds_records_are_read_by_number(tmp_path, files):
    source = load_data("pictures", data_dir=tfds_set(tmp_path, (None, None, 3), LABELS, files=files))
    assert source.shape == (None, None, 3)
    assert len(source.train.store.files) == 2 * files
    assert "train.tfrecord-00000" in source.train.store.name(0)
    for split, labels in LABELS.items():
        found = images_of(source.splits[split], whole)
        assert sorted(image.shape[1] for image, _ in found) == [16 + number for number in range(len(labels))]
        for image, label in found:
            number = image.shape[1] - 16
            assert label == labels[number]
            np.testing.assert_array_equal(image, picture(number, image.shape[1::-1]))
        np.testing.assert_array_equal([label for _, label in found], source.splits[split].labels)


def test_tfds_sets_whose_test_has_no_labels_are_tested_on_their_validation_split(tmp_path):
    labels = {"train": [0, 1] * 3, "validation": [0, 1], "test": [-1, -1, -1]}
    source = load_data("pictures", data_dir=tfds_set(tmp_path, (None, None, 3), labels))
    assert sorted(source.test.labels) == [0, 1]
    assert source.validation is None


def test_tfds_images_of_sixteen_bits_are_refused(tmp_path):
    import tensorflow_datasets as tfds

    folder = tfds_set(tmp_path, (12, 16, 3), LABELS)
    features = folder / "pictures/1.0.0/features.json"
    features.write_text(features.read_text().replace("uint8", "uint16"))
    assert tfds.builder("pictures", data_dir=folder).info.features["image"].np_dtype == np.uint16
    with pytest.raises(ArgumentError, match="8 bits"):
        load_data("pictures", data_dir=folder)


def test_a_set_that_cannot_be_downloaded_fails_at_once(tmp_path, monkeypatch):
    """TFDS itself tries for minutes."""
    from keras_resnet.data import tfds_source

    def refuse(address, timeout):
        assert timeout <= 10
        raise OSError(f"no way to {address}")

    monkeypatch.setattr(tfds_source.socket, "create_connection", refuse)
    monkeypatch.setattr(tfds_source, "getproxies", dict)
    with pytest.raises(OSError, match=r"cifar10 is not in TFDS' folder .* cannot be reached \(no way to .*443"):
        load_data("cifar10", data_dir=tmp_path)


def test_damaged_tfds_files_are_named(tmp_path):
    folder = tfds_set(tmp_path, (None, None, 3), LABELS)
    (file,) = folder.glob("pictures/1.0.0/*train*")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(OSError, match=rf"{file.name} is damaged"):
        load_data("pictures", data_dir=folder)


@pytest.mark.skipif("KERAS_RESNET_CIFAR10" not in os.environ, reason="KERAS_RESNET_CIFAR10 names no folder of TFDS")
def test_cifar10_is_what_he_et_al_trained_on():
    source = load_data("cifar10", data_dir=os.environ["KERAS_RESNET_CIFAR10"], validation=5000)
    assert {name: len(split) for name, split in source.splits.items()} == dict(train=45000, validation=5000, test=10000)
    assert set(np.bincount(source.validation.labels)) == {500}
    np.testing.assert_allclose(source.mean, [125.3, 123.0, 113.9], atol=0.2)  # of all 50,000: the usual constants
    np.testing.assert_allclose(source.std, [63.0, 62.1, 66.7], atol=0.2)
    images, labels = next(iter(evaluation_batches(source.test, 10, 8)))
    assert images.shape == (8, 32, 32, 3)
    assert labels.shape == (8, 10)


# Spread over a split.


MIDDLES = [(3, 12, [2, 6, 10]), (4, 10, [1, 3, 6, 8]), (5, 5, [0, 1, 2, 3, 4]), (9, 2, [0, 1]), (1, 7, [3])]


@pytest.mark.parametrize(("count", "total", "numbers"), MIDDLES)
def test_evenly_takes_the_middles_of_equal_stretches(count, total, numbers):
    assert evenly(count, total).tolist() == numbers


def test_evenly_spread_numbers_are_apart_by_one_stretch_and_as_far_from_both_ends():
    for count, total in ((7, 100), (256, 50_000), (1000, 1797)):
        numbers = evenly(count, total)
        assert set(np.diff(numbers)) <= {total // count, -(-total // count)}
        assert abs(numbers[0] - (total - 1 - numbers[-1])) <= 1
