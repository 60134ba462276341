"""Random crops against torchvision in distribution, from files and from images, resized as TensorFlow and PIL do."""

import io
from functools import partial
from math import sqrt

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from PIL import Image

from helpers.pictures import alike, boxes, encoded, is_uniform, pictures, shows
from keras_resnet.data.augment import augment
from keras_resnet.data.crops import random_resized_crop_box, read_crop, resized, scale_crop_box
from keras_resnet.data.draws import Draws
from keras_resnet.data.rectangles import sides


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
            return augment(images, tf.eye(4), Draws(0, step, 4), {"flip": 0.5, "color": 0.1})

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
