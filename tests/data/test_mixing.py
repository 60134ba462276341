"""Images mixed as their labels are, with the papers' weights."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from helpers.pictures import (
    MANY,
    alike,
    apply,
    coordinates,
    erased_boxes,
    one_hot,
    pictures,
)


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
