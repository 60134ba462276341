"""RandAugment's operations and magnitudes against PIL and torchvision, and Krizhevsky's colours."""

from functools import partial
from math import sqrt

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from helpers.live import live
from helpers.pictures import (
    MANY,
    apply,
    pictures,
    shows,
)
from keras_resnet.checks import ArgumentError
from keras_resnet.data.augment import AUGMENTATIONS
from keras_resnet.data.color import EIGENVALUES, EIGENVECTORS
from keras_resnet.data.draws import Draws
from keras_resnet.data.geometry import warp
from keras_resnet.data.rand_augment import OPERATIONS


class TestColor:
    def test_adds_a_shift_of_the_covariance_of_krizhevskys_formula(self):
        shift = apply("color", np.full((MANY, 2, 2, 3), 100, "float32"), stddev=0.1)[0] - 100
        np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1], shift.shape), atol=1e-4)
        vectors = np.array(EIGENVECTORS)
        expected = vectors @ np.diag((0.1 * 255 * np.array(EIGENVALUES)) ** 2) @ vectors.T
        np.testing.assert_allclose(np.cov(shift[:, 0, 0].T), expected, rtol=6 * sqrt(2 / MANY))

    def test_has_orthogonal_eigenvectors(self):
        np.testing.assert_allclose(np.transpose(EIGENVECTORS) @ EIGENVECTORS, np.eye(3), atol=1e-3)

    def test_refuses_one_channel(self):
        with pytest.raises(ArgumentError, match=r"Expected RGB.*Received: images=\(2, 32, 32, 1\)"):
            apply("color", pictures(2, channels=1))


def enhanced(enhancer):
    return lambda image, m: enhancer(image).enhance(1 + m)


def pil_affine(numbers):
    return lambda image, m: image.transform(image.size, Image.Transform.AFFINE, numbers(m))


PIL_OPERATIONS = {  # as tensorflow/models, research/autoaugment: augmentation_transforms.py, and torchvision apply them
    "identity": lambda image, m: image,
    "shear_x": pil_affine(lambda m: (1, m, 0, 0, 1, 0)),
    "shear_y": pil_affine(lambda m: (1, 0, 0, m, 1, 0)),
    "translate_x": pil_affine(lambda m: (1, 0, -m, 0, 1, 0)),
    "translate_y": pil_affine(lambda m: (1, 0, 0, 0, 1, -m)),
    "rotate": lambda image, m: image.rotate(m),
    "brightness": enhanced(ImageEnhance.Brightness),
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
    "solarize": lambda image, m: ImageOps.solarize(image, m),
    "autocontrast": lambda image, m: ImageOps.autocontrast(image),
    "equalize": lambda image, m: ImageOps.equalize(image),
}

MAGNITUDE_9 = {  # of 30, for an image of 40 x 32
    **dict.fromkeys(("identity", "autocontrast", "equalize"), 0),
    **dict.fromkeys(("shear_x", "shear_y"), 0.09),
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), 0.27),
    "translate_x": 4,
    "translate_y": 5,
    "rotate": 9,
    "posterize": 7,
    "solarize": 178.5,
}

SIGNED = {"shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness"}


class TestRandAugment:
    @pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_each_operation_is_pils(self, name, share):
        images = pictures(2, 40, 32)
        operation = OPERATIONS[name]
        strength = operation.strength(share, 40, 32) * np.float32([1, -1 if operation.signed else 1])
        for ours, image, m in zip(operation.apply(tf.constant(images), strength, warp), images, strength, strict=True):
            theirs = PIL_OPERATIONS[name](Image.fromarray(image.astype("uint8")), float(m))
            shows(ours, theirs, tolerance=1.5, share=0.995)  # PIL cuts fractions off, and warps in fixed point

    def test_magnitudes_are_torchvisions(self):
        assert {name: row.strength(9 / 30, 40, 32) for name, row in OPERATIONS.items()} == pytest.approx(MAGNITUDE_9)
        assert {name for name, row in OPERATIONS.items() if row.signed} == SIGNED
        assert [OPERATIONS["posterize"].strength(magnitude / 30, 40, 32) for magnitude in (0, 4, 20, 30)] == [
            8,
            7,
            5,
            4,
        ]

    @pytest.mark.slow
    def test_magnitudes_are_torchvisions_at_every_bin(self):
        space = live("torchvision.transforms").RandAugment()._augmentation_space(31, (224, 200))
        assert [name.replace("_", "") for name in OPERATIONS] == [name.lower() for name in space]
        for (name, operation), (magnitudes, signed) in zip(OPERATIONS.items(), space.values(), strict=True):
            cut = np.trunc if name.startswith("translate") else np.asarray
            ours = [operation.strength(magnitude / 30, 224, 200) for magnitude in range(31)]
            np.testing.assert_allclose(ours, cut(np.broadcast_to(magnitudes, 31)), atol=1e-4)
            assert operation.signed == signed

    def test_draws_each_operation_and_each_sign_equally_often(self):
        image = pictures(1, 24, 24)
        augmented = apply("rand_augment", np.repeat(image, MANY, 0), magnitude=15, num_ops=1)[0]
        counts = []
        for operation in OPERATIONS.values():
            for sign in (1, -1) if operation.signed else (1,):
                strength = np.float32([sign * operation.strength(0.5, 24, 24)])
                result = operation.apply(tf.constant(image), strength, warp).numpy()
                counts.append(np.all(np.abs(augmented - result) < 1e-2, (1, 2, 3)).sum())
        expected = [MANY / 14 / (2 if row.signed else 1) for row in OPERATIONS.values() for _ in range(1 + row.signed)]
        assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3

    def test_of_two_operations_is_one_after_the_other(self):
        images, draws = pictures(64), Draws(0, 0, 64)
        once = partial(AUGMENTATIONS["rand_augment"], labels=None, draws=draws, num_ops=1)
        np.testing.assert_allclose(apply("rand_augment", images)[0], once(once(images)[0])[0], atol=1e-3)

    def test_keeps_to_the_range_of_images(self):
        wide = np.random.default_rng(0).uniform(-30, 290, (256, 8, 8, 3)).astype("float32")
        augmented = apply("rand_augment", wide, magnitude=30)[0]
        assert augmented.min() >= 0
        assert augmented.max() <= 255

    def test_stretches_contrast_as_keras(self):
        """Keras' Equalization makes one histogram of the whole batch: it is not PIL's, and so not ours."""
        images = pictures(4, 48, 48)
        ours = OPERATIONS["autocontrast"].apply(tf.constant(images), tf.zeros(4), warp)
        shows(ours, keras.layers.AutoContrast()(images))

    def test_leaves_a_constant_image(self):
        images = tf.fill((2, 8, 8, 3), 77.0)
        for name in ("equalize", "autocontrast", "contrast", "sharpness"):
            np.testing.assert_allclose(OPERATIONS[name].apply(images, tf.ones(2), warp), images, atol=1e-3)
