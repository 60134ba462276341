"""Augmentations against written-out references, eagerly and in `Dataset.map`, and against Keras' in distribution."""

import io
from functools import partial
from inspect import signature
from math import sqrt
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

import keras_resnet
from keras_resnet.checks import ArgumentError
from keras_resnet.data import VIEWS
from keras_resnet.data.augment import AUGMENTATIONS, augment
from keras_resnet.data.color import EIGENVALUES, EIGENVECTORS
from keras_resnet.data.crops import random_resized_crop_box, read_crop, resized, scale_crop_box
from keras_resnet.data.draws import Draws
from keras_resnet.data.geometry import rotation, warp
from keras_resnet.data.parameters import PARAMETERS, RULES, VIEW_NAMES, expect_augmentations
from keras_resnet.data.rand_augment import OPERATIONS
from keras_resnet.data.rectangles import sides
from keras_resnet.data.views import center_view, multi_scale, ten_crop

MANY = 4096  # small images: a mean over them is within 5 / sqrt(4096) = 0.08 of its value, in standard deviations
MIXING = {"mixup", "cutmix"}
RECIPES = {
    "cifar10": {"pad_crop": 4, "flip": 0.5},
    "cifar100": {"flip": 0.1, "rotate": 10, "translate": 0.1, "erase": 0.1, "pad_crop": 4},
    "imagenet": {"flip": 0.5, "color": 0.1},
    "later": {"rand_augment": {"magnitude": 9, "num_ops": 2}, "mixup": {"alpha": 0.8, "rate": 0.5}, "cutmix": 1.0},
}


def pictures(count, height=32, width=32, channels=3, seed=0):
    """Whole numbers, smooth enough to look like photographs, no channel over the full range."""
    noise = np.random.default_rng(seed).uniform(size=(count, height, width, channels))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0), mode="wrap")
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return np.round(20 + 200 * (smooth - low) / (high - low)).astype("float32")


def one_hot(count, classes=None):
    return np.eye(classes or count, dtype="float32")[np.arange(count) % (classes or count)]


def apply(name, images, labels=None, step=0, **parameters):
    """(images, labels) of one augmentation, as arrays."""
    labels = one_hot(len(images)) if labels is None else labels
    draws = Draws(0, step, len(images))
    return [np.asarray(tensor) for tensor in AUGMENTATIONS[name](tf.constant(images), labels, draws, **parameters)]


def coordinates(count, size):
    """Images whose first channel is x and second is y, from the middle: a linear warp can be read off its result."""
    middle = np.arange(size, dtype="float32") - (size - 1) / 2
    grid = np.stack(np.meshgrid(middle, middle), -1)
    return np.broadcast_to(grid, (count, size, size, 2)).astype("float32")


def is_uniform(values, low, high):
    """Kolmogorov and Smirnov do not object."""
    return scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3


def alike(ours, theirs):
    """Two samples [many, ...] have the same mean and second moment, to 6 standard errors, position by position."""
    for power in (1, 2):
        a, b = (np.asarray(values, "float64") ** power for values in (ours, theirs))
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b)) + 1e-6
        np.testing.assert_array_less(np.abs(a.mean(0) - b.mean(0)), 6 * error)


def shows(images, expected, tolerance=1.0, share=1.0):
    """At least that share of the pixels is within the tolerance."""
    close = np.abs(np.asarray(images, "float32") - np.asarray(expected, "float32")) <= tolerance
    assert close.mean() >= share, f"{close.mean()} of the pixels"


class TestDraws:
    def test_are_a_function_of_seed_step_and_how_many_were_drawn(self):
        first, again = Draws(1, 2, 8), Draws(1, tf.constant(2, tf.int64), 8)
        values = [first.uniform(3), first.uniform(3)]
        np.testing.assert_array_equal(values, [again.uniform(3), again.uniform(3)])
        others = [values[1], Draws(1, 3, 8).uniform(3), Draws(2, 2, 8).uniform(3), Draws(2, 1, 8).uniform(3)]
        assert all(not np.any(values[0] == other) for other in others)

    def test_are_the_same_inside_a_map(self):
        mapped = tf.data.Dataset.range(5, 6).map(lambda step: Draws(1, step, 8).normal(2))
        np.testing.assert_array_equal(next(iter(mapped)), Draws(1, 5, 8).normal(2))

    def test_of_a_worker_are_its_rows_of_those_of_all(self):
        everything, mine = Draws(1, 2, 8), Draws(1, 2, 8, slice(2, 5))
        for draw in (
            lambda draws: draws.uniform(),
            lambda draws: draws.uniform(2, low=-3, high=4, dtype=tf.int32),
            lambda draws: draws.normal(3, stddev=2.0),
            lambda draws: draws.beta(0.3),
            lambda draws: draws.chosen(0.5),
        ):
            np.testing.assert_array_equal(draw(everything)[2:5], draw(mine))

    def test_uniform_and_normal_numbers_are_those(self):
        draws = Draws(0, 0, MANY)
        assert is_uniform(draws.uniform(low=-2, high=3), -2, 3)
        assert scipy.stats.kstest(draws.normal(stddev=3.0), scipy.stats.norm(0, 3).cdf).pvalue > 1e-3
        integers = draws.uniform(low=0, high=5, dtype=tf.int32).numpy()
        assert scipy.stats.chisquare(np.bincount(integers, minlength=5)).pvalue > 1e-3

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
    def test_beta_numbers_are_those(self, alpha):
        assert scipy.stats.kstest(Draws(0, 0, MANY).beta(alpha), scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3

    def test_beta_numbers_are_numbers_where_both_gammas_underflow(self):
        numbers = Draws(0, 0, MANY).beta(1e-3).numpy()
        assert np.all((numbers >= 0) & (numbers <= 1))
        assert 0.4 < np.mean(numbers > 0.5) < 0.6


class TestEveryAugmentation:
    @pytest.mark.parametrize("steps", [*({name: {}} for name in AUGMENTATIONS), *RECIPES.values()], ids=str)
    def test_gives_the_same_eagerly_and_inside_a_map(self, steps):
        images, labels = pictures(8, 16, 20), one_hot(8, 5)

        def augmented(step):
            return augment(tf.constant(images), tf.constant(labels), Draws(3, step, 8), steps)

        batches = tf.data.Dataset.range(2).map(augmented, tf.data.AUTOTUNE)
        assert [spec.shape for spec in batches.element_spec] == [(8, 16, 20, 3), (8, 5)]
        for step, batch in enumerate(batches):
            for mapped, eager in zip(batch, augmented(step), strict=True):
                np.testing.assert_allclose(mapped, eager, atol=1e-3)
        assert np.any(batch[0] != images)
        assert np.any(batch[0] != augmented(0)[0])

    @pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - {"color"}))
    def test_takes_one_channel(self, name):
        assert apply(name, pictures(4, channels=1))[0].shape == (4, 32, 32, 1)

    @pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - MIXING))
    def test_gives_a_worker_the_rows_of_the_global_batch(self, name):
        images, labels = pictures(12), one_hot(12)
        everything = AUGMENTATIONS[name](images, labels, Draws(0, 1, 12))
        mine = AUGMENTATIONS[name](images[3:9], labels[3:9], Draws(0, 1, 12, slice(3, 9)))
        for whole, part in zip(everything, mine, strict=True):
            np.testing.assert_allclose(whole[3:9], part, atol=1e-3)

    @pytest.mark.parametrize("name", sorted(AUGMENTATIONS.keys() - MIXING))
    def test_leaves_labels_alone_unless_it_mixes(self, name):
        np.testing.assert_array_equal(apply(name, pictures(4))[1], one_hot(4))

    @pytest.mark.parametrize(
        "name", [name for name in AUGMENTATIONS if "rate" in signature(AUGMENTATIONS[name]).parameters]
    )
    def test_changes_the_share_of_the_images_that_rate_says(self, name):
        images = np.random.default_rng(0).uniform(1, 255, (1024, 8, 8, 3)).astype("float32")
        for rate in (0.0, 0.3):
            changed = np.any(apply(name, images, rate=rate)[0] != images, (1, 2, 3)).mean()
            everywhere = np.any(apply(name, images, rate=1.0)[0] != images, (1, 2, 3)).mean()
            assert abs(changed - rate * everywhere) <= 5 * sqrt(rate * (1 - rate) / 1024)

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("pad_crop", {"padding": 0}),
            ("rotate", {"degrees": 0}),
            ("translate", {"share": 0}),
            ("color", {"stddev": 0}),
        ],
    )
    def test_asked_for_nothing_does_nothing(self, name, parameters):
        images = pictures(4)
        np.testing.assert_array_equal(apply(name, images, **parameters)[0], images)

    @pytest.mark.parametrize("name", ["pad_crop", "rotate", "translate", "erase", "cutout", "rand_augment"])
    def test_fills_each_channel_with_its_own_number(self, name):
        images = np.full((64, 16, 16, 3), 200, "float32")
        strong = {"rotate": {"degrees": 90}, "erase": {"rate": 1}, "rand_augment": {"magnitude": 30}}.get(name, {})
        filled = apply(name, images, fill=(10, 20.5, 30), **strong)[0]
        colors = {tuple(color) for color in np.round(filled, 3).reshape(-1, 3).tolist()}
        assert {(10, 20.5, 30), (200, 200, 200)} <= colors
        if name != "rand_augment":  # which changes colours too
            assert len(colors) == 2

    def test_refuses_a_fill_of_another_number_of_channels(self):
        with pytest.raises(tf.errors.InvalidArgumentError):
            apply("cutout", pictures(2, channels=1), fill=(1, 2, 3))


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


def erased_boxes(erased):
    """(top, left, height, width) of every image's zeros, of which none is outside the rectangle."""
    hit = np.all(erased == 0, -1)
    rows, columns = hit.any(2), hit.any(1)
    np.testing.assert_array_equal(hit, rows[:, :, None] & columns[:, None])
    spans = [np.stack([mask.argmax(1), mask.sum(1)]) for mask in (rows, columns)]
    for mask, (start, length) in zip((rows, columns), spans, strict=True):
        places = np.arange(mask.shape[1])
        np.testing.assert_array_equal(mask, (start[:, None] <= places) & (places < (start + length)[:, None]))
    return np.stack([spans[0][0], spans[1][0], spans[0][1], spans[1][1]], 1)


def torchvision_erasing(generator, height, width, scale=(0.02, 0.33), ratio=(0.3, 3.3)):
    """The box of `torchvision.transforms.RandomErasing.get_params`, written out."""
    for _ in range(10):
        area = height * width * generator.uniform(*scale)
        aspect = np.exp(generator.uniform(*np.log(ratio)))
        tall, wide = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if tall < height and wide < width:
            return generator.integers(height - tall + 1), generator.integers(width - wide + 1), tall, wide
    return 0, 0, 0, 0


class TestErase:
    def test_draws_rectangles_as_torchvision(self):
        generator = np.random.default_rng(0)
        theirs = np.array([torchvision_erasing(generator, 20, 30) for _ in range(MANY)])
        ours = erased_boxes(apply("erase", np.ones((MANY, 20, 30, 1), "float32"), rate=1)[0])
        moments = [np.stack([*boxes.T, boxes[:, 2] * boxes[:, 3]], 1) for boxes in (ours, theirs)]
        alike(*moments)

    def test_erases_nothing_where_no_rectangle_fits(self):
        images = pictures(16, 4, 30)
        np.testing.assert_array_equal(apply("erase", images, rate=1, scale=(0.9, 1), ratio=(1, 1))[0], images)

    def test_never_erases_a_whole_side(self):
        images = pictures(16, 8, 8)
        np.testing.assert_array_equal(apply("erase", images, rate=1, scale=(1, 1), ratio=(1, 1))[0], images)

    def test_is_keras_in_distribution_where_both_draw_the_same_rectangles(self):
        images = np.ones((MANY, 20, 20, 1), "float32")
        layer = keras.layers.RandomErasing(factor=(1, 1), scale=(0.09, 0.09), fill_value=0, seed=0)
        theirs = erased_boxes(np.asarray(layer(images, training=True)))
        ours = erased_boxes(apply("erase", images, rate=1, scale=(0.09, 0.09), ratio=(1, 1))[0])
        assert np.all(ours[:, 2:] == 6)
        assert np.all(theirs[:, 2:] == 6)
        starts = theirs[:, :2].mean(0) - 0.5  # Keras rounds a start in [0, 14) up, we draw 0...14
        np.testing.assert_allclose(ours[:, :2].mean(0), starts, atol=6 * sqrt(2 * 15**2 / 12 / MANY))


class TestCutout:
    @pytest.mark.parametrize("size", [4, 5])
    def test_covers_each_pixel_as_often_as_a_square_around_every_pixel(self, size):
        cut = apply("cutout", np.ones((MANY, 8, 10, 1), "float32"), size=size)[0][..., 0] == 0
        covers = [
            [sum(middle - size // 2 <= place < middle - size // 2 + size for middle in range(side)) / side
             for place in range(side)] for side in (8, 10)
        ]  # fmt: skip
        expected = np.outer(*covers)
        np.testing.assert_array_less(np.abs(cut.mean(0) - expected), 5 * np.sqrt(expected * (1 - expected) / MANY))
        assert cut.sum((1, 2)).max() == size**2


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


class TestMixup:
    @pytest.mark.parametrize("parameters", [{}, {"alpha": 1.0, "rate": 0.5}])
    def test_mixes_images_as_it_mixes_labels(self, parameters):
        images = pictures(32)
        mixed, labels = apply("mixup", images, **parameters)
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(mixed, np.tensordot(labels, images, 1), atol=1e-3)

    def test_every_image_is_a_partner_once(self):
        labels = apply("mixup", pictures(32), alpha=4.0)[1]
        partners = labels - np.diag(np.diag(labels))
        np.testing.assert_array_equal((partners > 0).sum(0), (partners > 0).sum(1))
        assert (partners > 0).sum() > 25

    def test_is_keras_in_distribution(self):
        images, labels = np.ones((MANY, 1, 1, 1), "float32"), one_hot(MANY, 2)
        theirs = keras.layers.MixUp(alpha=0.4, seed=0)({"images": images, "labels": labels}, training=True)["labels"]
        alike(apply("mixup", images, labels, alpha=0.4)[1], theirs)

    def test_weights_are_of_the_beta_distribution(self):
        labels = np.diag(apply("mixup", np.ones((1024, 1, 1, 1), "float32"), alpha=0.4)[1])
        assert scipy.stats.kstest(labels, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


class TestCutMix:
    def test_mixes_labels_by_area(self):
        count = 64
        images = np.broadcast_to(np.arange(count, dtype="float32")[:, None, None, None], (count, 12, 10, 3))
        mixed, labels = apply("cutmix", images)
        shares = np.stack([(mixed[..., 0] == number).mean((1, 2)) for number in range(count)], 1)
        np.testing.assert_allclose(labels, shares, atol=1e-6)
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
        assert np.mean(np.diag(labels) < 1) > 0.2

    def test_pastes_a_rectangle_into_the_place_that_it_had(self):
        number = np.broadcast_to(np.arange(64.0)[:, None, None, None], (64, 12, 12, 1))
        images = np.concatenate([number, coordinates(64, 12)], -1).astype("float32")
        mixed = apply("cutmix", images)[0]
        np.testing.assert_array_equal(mixed[..., 1:], images[..., 1:])
        erased_boxes((mixed == images)[..., :1])

    def test_takes_the_areas_that_yun_et_al_draw(self):
        """Of a side r in an image of 1, r - r^2 / 4 is inside on average; r^2 is uniform: 1/2 - 1/5 + 1/48."""
        images = np.broadcast_to(np.float32([0, 1] * (MANY // 2))[:, None, None, None], (MANY, 64, 64, 1))
        kept = np.einsum("nc,nc->n", apply("cutmix", images, one_hot(MANY, 2))[1], one_hot(MANY, 2))
        share = 2 * (1 - kept).mean()  # half of the partners have the same label
        assert share == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.025)

    def test_is_keras_in_the_mean_image_and_label(self):
        """Keras draws other windows, inside the image; in both, pixels and labels move together."""
        images = np.broadcast_to(np.float32([0, 1] * 512)[:, None, None, None], (1024, 16, 16, 1))
        batch = {"images": images, "labels": one_hot(1024, 2)}
        theirs = keras.layers.CutMix(seed=0)(batch, training=True)
        for mixed, labels, exact in ((*apply("cutmix", **batch), 1e-6), (theirs["images"], theirs["labels"], 0.15)):
            np.testing.assert_allclose(np.mean(mixed, (1, 2, 3)), np.asarray(labels)[:, 1], atol=exact)
            assert np.mean(labels) == pytest.approx(0.5, abs=1e-6)


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
    "identity": 0, "shear_x": 0.09, "shear_y": 0.09, "translate_x": 4, "translate_y": 5, "rotate": 9,
    "brightness": 0.27, "color": 0.27, "contrast": 0.27, "sharpness": 0.27, "posterize": 7, "solarize": 178.5,
    "autocontrast": 0, "equalize": 0,
}  # fmt: skip
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

    def test_magnitudes_are_torchvisions_at_every_bin(self):
        torchvision = pytest.importorskip("torchvision")
        space = torchvision.transforms.RandAugment()._augmentation_space(31, (224, 200))
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


class TestTheirParameters:
    def test_have_a_rule_each_and_keep_it_by_default(self):
        used = set()
        for name, augmentation in AUGMENTATIONS.items():
            parameters = list(signature(augmentation).parameters.values())[3:]
            expect_augmentations("augment", {name: {parameter.name: parameter.default for parameter in parameters}})
            used |= {parameter.name for parameter in parameters}
        assert used == RULES.keys()

    def test_are_those_of_the_functions(self):
        parameters = {name: (*signature(function).parameters,)[3:] for name, function in AUGMENTATIONS.items()}
        assert parameters == PARAMETERS
        assert tuple(VIEWS) == VIEW_NAMES

    @pytest.mark.parametrize(
        "steps", [*RECIPES.values(), {"erase": {"scale": [0, 1], "fill": [1, 2, 3.5]}}, {}], ids=str
    )
    def test_that_are_right_are_taken(self, steps):
        expect_augmentations("augment", steps)

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ("flip", "`augment`. Expected a mapping"),
            ({"flop": 1}, "the nearest are 'flip'"),
            ({"flip": 1.5}, r"`augment.flip.rate`. Expected a number in \[0, 1\]. Received: augment.flip.rate=1.5"),
            ({"flip": {"rat": 0.5}}, "`augment.flip`. Expected a known name; the nearest are 'rate'"),
            ({"flip": None}, "`augment.flip.rate`"),
            ({"pad_crop": -1}, "`augment.pad_crop.padding`. Expected an integer, at least 0"),
            ({"pad_crop": True}, "`augment.pad_crop.padding`"),
            ({"rotate": 181}, "`augment.rotate.degrees`"),
            ({"rotate": {"interpolation": "cubic"}}, "one of 'nearest', 'bilinear'"),
            ({"erase": {"scale": (0.5, 0.2)}}, "`augment.erase.scale`"),
            ({"erase": {"scale": (0, 1.1)}}, "`augment.erase.scale`"),
            ({"erase": {"ratio": (0, 1)}}, "`augment.erase.ratio`"),
            ({"erase": {"ratio": 1}}, "`augment.erase.ratio`"),
            ({"cutout": 0}, "`augment.cutout.size`"),
            ({"cutout": {"fill": "mean"}}, "`augment.cutout.fill`"),
            ({"color": -0.1}, "`augment.color.stddev`"),
            ({"mixup": 0}, "`augment.mixup.alpha`"),
            ({"rand_augment": 31}, r"`augment.rand_augment.magnitude`. Expected a number in \[0, 30\]"),
            ({"rand_augment": {"num_ops": 0}}, "`augment.rand_augment.num_ops`"),
        ],
        ids=str,
    )
    def test_that_are_wrong_are_named(self, steps, message):
        with pytest.raises(ArgumentError, match=message):
            expect_augmentations("augment", steps)


def torchvision_crop(generator, height, width, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    """The box of `torchvision.transforms.RandomResizedCrop.get_params`, written out."""
    for _ in range(10):
        area = height * width * generator.uniform(*scale)
        aspect = np.exp(generator.uniform(*np.log(ratio)))
        wide, tall = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return generator.integers(height - tall + 1), generator.integers(width - wide + 1), tall, wide
    if width / height < min(ratio):
        wide, tall = width, round(width / min(ratio))
    elif width / height > max(ratio):
        wide, tall = round(height * max(ratio)), height
    else:
        wide, tall = width, height
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def boxes(function, shape, count):
    """int [count, 4], inside a `Dataset.map`."""
    numbers = tf.data.Dataset.range(count).map(lambda number: tf.stack(function(shape, tf.stack([0, number]))))
    return next(iter(numbers.batch(count))).numpy()


class TestRandomResizedCrop:
    @pytest.mark.parametrize(
        ("shape", "ratio"), [((100, 140, 3), (3 / 4, 4 / 3)), ((60, 25, 3), (3 / 4, 4 / 3)), ((100, 140, 3), (2, 3))]
    )
    def test_draws_boxes_as_torchvision(self, shape, ratio):
        generator = np.random.default_rng(0)
        theirs = np.array([torchvision_crop(generator, *shape[:2], ratio=ratio) for _ in range(2048)])
        ours = boxes(partial(random_resized_crop_box, ratio=ratio), shape, 2048)
        alike(*(np.stack([*box.T, box[:, 2] * box[:, 3], box[:, 3] / box[:, 2]], 1) for box in (ours, theirs)))

    @pytest.mark.parametrize("shape", [(3, 400), (400, 3), (7, 6)])
    def test_takes_the_middle_where_ten_boxes_do_not_fit(self, shape):
        large = dict(scale=(4, 5))
        fallback = [int(number) for number in random_resized_crop_box(shape, (0, 1), **large)]
        assert tuple(fallback) == torchvision_crop(np.random.default_rng(0), *shape, **large)

    @pytest.mark.parametrize("shape", [(1, 1), (2, 300), (31, 32), (500, 375)])
    def test_is_inside_the_image(self, shape):
        top, left, height, width = boxes(random_resized_crop_box, shape, 200).T
        assert np.all((top >= 0) & (left >= 0) & (height > 0) & (width > 0))
        assert np.all((top + height <= shape[0]) & (left + width <= shape[1]))

    def test_is_the_same_eagerly_and_inside_a_map(self):
        eager = [[int(number) for number in random_resized_crop_box((50, 60), (0, seed))] for seed in range(5)]
        np.testing.assert_array_equal(boxes(random_resized_crop_box, (50, 60), 5), eager)

    def test_sides_multiply_to_the_area_and_divide_to_the_ratio(self):
        first, second = sides(np.float32([[0, 0], [1, 1]]), 1e8, (0.25, 0.5), (0.5, 4))
        np.testing.assert_allclose(first * second, [0.25e8, 0.5e8], rtol=1e-3)
        np.testing.assert_allclose(first / second, [0.5, 4], rtol=1e-3)


class TestScaleAugmentation:
    @pytest.mark.parametrize("shape", [(1000, 1300, 3), (900, 600, 3)])
    def test_draws_the_short_side_and_the_place_uniformly(self, shape):
        top, left, height, width = boxes(partial(scale_crop_box, crop=224), shape, 2048).T
        np.testing.assert_array_equal(height, width)
        assert is_uniform(224 / height * min(shape[:2]), 256, 481)
        assert is_uniform(top / (shape[0] - height), 0, 1)
        assert is_uniform(left / (shape[1] - width), 0, 1)

    def test_draws_both_ends_as_often_as_what_is_between(self):
        sides = boxes(partial(scale_crop_box, crop=60, short=(64, 66)), (660, 700), 2048)[:, 2]
        found, counts = np.unique(sides, return_counts=True)
        np.testing.assert_array_equal(found, [600, 609, 619])  # 60 / 66, 60 / 65 and 60 / 64 of 660
        assert scipy.stats.chisquare(counts).pvalue > 1e-3

    def test_of_a_fixed_side_is_a_crop_of_the_resized_image(self):
        image = pictures(1, 150, 210)[0]
        drawn = ([int(number) for number in scale_crop_box(image.shape, (0, seed), 64, (75, 75))] for seed in range(99))
        top, left, height, width = next(
            box for box in drawn if box[0] % 2 == box[1] % 2 == 0
        )  # whole pixels at half size
        assert (height, width) == (128, 128)
        ours = tf.image.resize(image[top : top + height, left : left + width], (64, 64), antialias=True)
        resized = np.asarray(Image.fromarray(image.astype("uint8")).resize((105, 75), Image.Resampling.BILINEAR))
        shows(ours[2:-2, 2:-2], resized[top // 2 :, left // 2 :][2:62, 2:62], tolerance=6, share=0.99)

    def test_never_leaves_the_image(self):
        top, left, height, width = boxes(partial(scale_crop_box, crop=256), (33, 40, 3), 500).T
        assert np.all((top >= 0) & (left >= 0) & (top + height <= 33) & (left + width <= 40))
        assert height.max() == 33


def encoded(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image, "uint8").squeeze()).save(buffer, kind)
    return buffer.getvalue()


def corner_box(shape, seed):
    """The lower right quarter, and a pixel more: it depends on the shape."""
    return shape[0] // 2 - 1, shape[1] // 2 - 1, shape[0] // 2, shape[1] // 2


class TestReadCrop:
    @pytest.mark.parametrize("kind", ["png", "bmp", "jpeg", "gif"])
    @pytest.mark.parametrize("size", [16, 100])
    def test_is_the_box_of_the_decoded_image_resized_as_pil(self, kind, size):
        file = encoded(pictures(1, 61, 80)[0], kind)
        ours = read_crop(file, (0, 0), size, corner_box)
        assert ours.dtype == tf.float32
        whole = tf.io.decode_image(file, 3, expand_animations=False).numpy()
        crop = Image.fromarray(whole[29:59, 39:79])
        shows(ours, crop.resize((size, size), Image.Resampling.BILINEAR), tolerance=1.5)

    def test_of_a_jpeg_is_the_crop_of_the_whole_to_the_pixel(self):
        file = encoded(pictures(1, 60, 80)[0], "jpeg")
        whole = tf.io.decode_jpeg(file, 3)
        np.testing.assert_array_equal(read_crop(file, (0, 0), 30, lambda *_: (7, 21, 30, 30)), whole[7:37, 21:51])

    def test_of_a_gif_is_of_the_first_frame(self):
        frames = [Image.fromarray(np.full((20, 20), grey, "uint8")) for grey in (50, 200)]
        buffer = io.BytesIO()
        frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:])
        shows(read_crop(buffer.getvalue(), (0, 0), 8, corner_box), np.full((8, 8, 3), 50))

    @pytest.mark.parametrize("kind", ["png", "jpeg"])
    def test_gives_one_channel(self, kind):
        assert read_crop(encoded(pictures(1)[0], kind), (0, 0), 8, corner_box, channels=1).shape == (8, 8, 1)

    def test_is_the_imagenet_recipe_with_the_batch_operations(self):
        """He et al. 2015, 3.4: scale augmentation, 224 x 224 crop, flip, colour; and the crops are seeded by image."""
        files = [encoded(picture, kind) for picture, kind in zip(pictures(4, 90, 70), ["jpeg", "png"] * 2, strict=True)]
        crop = partial(scale_crop_box, crop=224)

        def read(number, file):
            return read_crop(file, tf.stack([0, number]), 224, crop)

        def augmented(step, images):
            return augment(images, tf.eye(4), Draws(0, step, 4), RECIPES["imagenet"])

        images = tf.data.Dataset.from_tensor_slices(files).enumerate().map(read, tf.data.AUTOTUNE)
        batches = images.batch(4, drop_remainder=True).enumerate().map(augmented)
        assert batches.element_spec[0].shape == (4, 224, 224, 3)
        eager = tf.stack([read(tf.constant(number, tf.int64), file) for number, file in enumerate(files)])
        np.testing.assert_allclose(next(iter(batches))[0], augmented(0, eager)[0], atol=1e-3)


class TestResized:
    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"])
    @pytest.mark.parametrize("size", [(24, 24), (70, 20), (41, 60), (41, 9), (90, 100)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_is_tensorflows_to_the_bit(self, interpolation, size, channels):
        image = tf.constant(pictures(1, 41, 60, channels)[0].astype("uint8"))
        expected = tf.image.resize(image, size, interpolation, antialias=True)
        np.testing.assert_array_equal(resized(image, size, interpolation), expected)
        unknown = tf.data.Dataset.from_generator(
            lambda: [image], output_signature=tf.TensorSpec((None, None, channels), tf.uint8)
        )
        mapped = unknown.map(lambda image: resized(image, size, interpolation))
        assert mapped.element_spec == tf.TensorSpec((*size, channels), tf.float32)
        np.testing.assert_array_equal(next(iter(mapped)), expected)


class TestViews:
    @pytest.mark.parametrize("shape", [(61, 90), (90, 61), (33, 33), (20, 25)])
    @pytest.mark.parametrize(("resize", "crop"), [((40, 40), (32, 32)), ((40, 48), (31, 33)), ((24, 24), None)])
    def test_the_centre_is_the_layer_preprocessings(self, shape, resize, crop):
        row = keras_resnet.Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3, resize=resize, crop=crop)
        image = pictures(1, *shape)[0]
        layer = keras_resnet.preprocessing(SimpleNamespace(input_shape=(None, None, None, 3)), row)
        np.testing.assert_allclose(center_view(image, row), layer(image[np.newaxis])[0], atol=1e-2)
        mapped = tf.data.Dataset.from_tensors(image.astype("uint8")).map(lambda image: center_view(image, row))
        np.testing.assert_allclose(next(iter(mapped)), center_view(image, row), atol=1e-2)

    def test_the_centre_without_resize_or_crop_is_the_image(self):
        image = pictures(1)[0]
        none = SimpleNamespace(resize=None, crop=None, interpolation="bilinear")
        np.testing.assert_array_equal(center_view(image, none), image)

    def test_ten_crops_are_four_corners_the_middle_and_their_mirror_images(self):
        images = pictures(2, 10, 13)
        crops = ten_crop(images, 8)
        assert crops.shape == (10, 2, 8, 8, 3)
        places = [(0, 0), (0, 5), (2, 0), (2, 5), (1, 2)]
        five = [images[:, top : top + 8, left : left + 8] for top, left in places]
        np.testing.assert_array_equal(crops, [*five, *(crop[:, :, ::-1] for crop in five)])

    @pytest.mark.parametrize("shape", [(60, 81), (81, 60)])
    def test_multi_scale_has_the_short_side_at_each_size(self, shape):
        image = pictures(1, *shape)[0]
        views = list(multi_scale(image, (30, 45, 90)))
        assert [sorted(view.shape[1:3]) for view in views] == [[30, 40], [45, 60], [90, 121]]
        for view in views:
            height, width = view.shape[1:3]
            resized = Image.fromarray(image.astype("uint8")).resize((width, height), Image.Resampling.BILINEAR)
            shows(view[0], resized, tolerance=1.5)
            np.testing.assert_array_equal(view[1], view[0][:, ::-1])

    def test_multi_scale_takes_the_papers_sizes(self):
        assert [min(view.shape[1:3]) for view in multi_scale(pictures(1)[0])] == [224, 256, 384, 480, 640]
