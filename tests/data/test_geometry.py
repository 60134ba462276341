"""Images moved, mirrored and turned, against PIL and scipy, and against Keras in distribution."""

from math import sqrt

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image

from helpers.pictures import (
    MANY,
    alike,
    apply,
    coordinates,
    is_uniform,
    pictures,
    shows,
)
from keras_resnet.data.geometry import rotation, warp


class TestPadCrop:
    def test_takes_every_window_of_the_padded_image_equally_often(self):
        images = pictures(MANY, 8, 6)
        cropped = apply("pad_crop", images, padding=1)[0]
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = [padded[:, top : top + 8, left : left + 6] for top in range(3) for left in range(3)]
        same = np.stack([np.all(window == cropped, (1, 2, 3)) for window in windows])
        assert np.all(same.sum(0) == 1)
        assert scipy.stats.chisquare(same.sum(1)).pvalue > 1e-3

    def test_reflects_what_is_behind_the_border(self):
        """Zagoruyko and Komodakis' padding."""
        images = pictures(64, 8, 6)
        cropped = apply("pad_crop", images, padding=1, mode="reflect")[0]
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
        windows = [padded[:, top : top + 8, left : left + 6] for top in range(3) for left in range(3)]
        assert np.all(np.any([np.all(window == cropped, (1, 2, 3)) for window in windows], 0))


class TestFlip:
    def test_mirrors_left_and_right(self):
        images = pictures(4)
        np.testing.assert_array_equal(apply("flip", images, rate=1)[0], images[:, :, ::-1])

    def test_of_all_twice_is_the_identity(self):
        images = pictures(4)
        np.testing.assert_array_equal(apply("flip", apply("flip", images, rate=1)[0], rate=1)[0], images)

    def test_is_keras_in_distribution(self):
        images = np.broadcast_to(pictures(1, 6, 6), (MANY, 6, 6, 3))
        alike(apply("flip", images)[0], keras.layers.RandomFlip("horizontal", seed=0)(images, training=True))


PIL_INTERPOLATION = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}


class TestRotate:
    @pytest.mark.parametrize("interpolation", PIL_INTERPOLATION)
    def test_turns_each_image_by_its_own_angle_as_pil(self, interpolation):
        images, angles = pictures(4, 24, 30), np.float32([-30, 7, 44, 160])
        turned = warp(images, *rotation(tf.constant(angles), tf.constant(images)), interpolation)
        for ours, image, angle in zip(turned, images, angles, strict=True):
            theirs = Image.fromarray(image.astype("uint8")).rotate(float(angle), PIL_INTERPOLATION[interpolation])
            inner = np.s_[6:18, 8:22]  # PIL's bilinear does not blend the border with the fill
            shows(ours.numpy()[inner], np.asarray(theirs)[inner], share=0.99)
            shows(ours, theirs, share=0.9)

    def test_draws_angles_uniformly(self):
        ours = apply("rotate", coordinates(MANY, 9), degrees=10, interpolation="bilinear")[0]
        x, y = (ours[:, 4, 6] - ours[:, 4, 2]).T  # along the row, the source's coordinates
        np.testing.assert_allclose(np.hypot(x, y), 4, atol=1e-4)
        assert is_uniform(np.degrees(np.arctan2(y, x)), -10, 10)

    def test_is_keras_in_distribution(self):
        images = np.broadcast_to(pictures(1, 8, 8), (MANY, 8, 8, 3))
        layer = keras.layers.RandomRotation(20 / 360, fill_mode="constant", seed=0)
        alike(apply("rotate", images, degrees=20, interpolation="bilinear")[0], layer(images, training=True))


class TestTranslate:
    def test_moves_by_whole_pixels_as_scipy(self):
        images = pictures(64, 20, 30)
        moved = apply("translate", images, share=0.1)[0]
        shifts = [(down, right) for down in range(-2, 3) for right in range(-3, 4)]
        for ours, image in zip(moved, images, strict=True):
            assert any(
                np.array_equal(ours, scipy.ndimage.shift(image, (*shift, 0), order=0, cval=0)) for shift in shifts
            )

    def test_draws_the_share_of_either_side_uniformly(self):
        moved = apply("translate", coordinates(MANY, 21), share=0.2, interpolation="bilinear")[0][:, 10, 10]
        assert is_uniform(moved[:, 0], -4.2, 4.2)
        assert is_uniform(moved[:, 1], -4.2, 4.2)
        assert abs(np.corrcoef(moved.T)[0, 1]) < 5 / sqrt(MANY)

    def test_is_keras_in_distribution(self):
        images = np.broadcast_to(pictures(1, 8, 10), (MANY, 8, 10, 3))
        layer = keras.layers.RandomTranslation(0.2, 0.2, fill_mode="constant", seed=0)
        alike(apply("translate", images, share=0.2, interpolation="bilinear")[0], layer(images, training=True))
