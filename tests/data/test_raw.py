"""Raw images are what a network sees before it is normalized, in eight bits."""

import keras
import numpy as np
import pytest

from keras_resnet import Preprocessing
from keras_resnet.data import Arrays, load_data, raw_images
from keras_resnet.modelcard import middle

AS_THEY_ARE = Preprocessing((0.0,), (1.0,))
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 12, 10, 1)).astype("uint8")
GREY = Arrays(PIXELS, np.arange(40) % 2)


def test_images_of_one_size_stay_as_they_are():
    images = raw_images(GREY, AS_THEY_ARE, 1)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, PIXELS)


def test_grey_images_are_repeated_for_more_channels():
    np.testing.assert_array_equal(raw_images(GREY, AS_THEY_ARE, 3), np.repeat(PIXELS, 3, axis=-1))


def test_they_are_resized_and_cropped_as_the_network_reads_them_and_rounded():
    preprocessing = Preprocessing((100.0,), (50.0,), resize=(9, 9), crop=(5, 7))
    height, width = preprocessing.covering(*PIXELS.shape[1:3])
    resized = keras.ops.image.resize(PIXELS.astype("float32"), (height, width), antialias=True)
    top, left = middle(height, 5), middle(width, 7)
    expected = resized[:, top : top + 5, left : left + 7]
    images = raw_images(GREY, preprocessing, 1)
    assert (images.dtype, images.shape) == (np.uint8, (40, 5, 7, 1))
    assert np.abs(images - np.asarray(expected)).max() < 0.51


@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_several_sizes_become_images_of_one(tmp_path, channels):
    for name, side, grey in (("train/a", 6, 10), ("train/b", 8, 20), ("test/a", 12, 30), ("test/b", 9, 40)):
        (tmp_path / name).mkdir(parents=True)
        keras.utils.save_img(tmp_path / name / "one.png", np.full((side, side, 3), grey), scale=False)
    test = load_data(tmp_path).test
    images = raw_images(test, Preprocessing((0.0,), (1.0,), resize=(7, 5)), channels)
    assert images.shape == (2, 7, 5, channels)
    assert np.unique(images).tolist() == [30, 40]
