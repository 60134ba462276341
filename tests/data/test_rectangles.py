"""Random erasing against torchvision and Keras in distribution, and cutout."""

from math import sqrt

import keras
import numpy as np
import pytest

from helpers.pictures import (
    MANY,
    alike,
    apply,
    erased_boxes,
    pictures,
)


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


def covered(size, side):
    """How often each place of a side is in a stretch around every one of them."""
    starts = np.arange(side)[:, None] - size // 2
    return ((starts <= np.arange(side)) & (np.arange(side) < starts + size)).mean(0)


class TestCutout:
    @pytest.mark.parametrize("size", [4, 5])
    def test_covers_each_pixel_as_often_as_a_square_around_every_pixel(self, size):
        cut = apply("cutout", np.ones((MANY, 8, 10, 1), "float32"), size=size)[0][..., 0] == 0
        expected = np.outer(covered(size, 8), covered(size, 10))
        np.testing.assert_array_less(np.abs(cut.mean(0) - expected), 5 * np.sqrt(expected * (1 - expected) / MANY))
        assert cut.sum((1, 2)).max() == size**2
