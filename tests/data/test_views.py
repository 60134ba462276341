"""The views of an evaluation, against the layer `preprocessing`, slices and PIL."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_resnet
from helpers.pictures import pictures, shows
from keras_resnet.data.views import center_view, multi_scale, ten_crop


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
