"""The batches of a training and of an evaluation, and the built-in digits."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import keras_resnet
from keras_resnet.data import Arrays, digits, evaluation_batches, training_batches
from keras_resnet.data.draws import Draws
from keras_resnet.training import RECIPES, check_fit
from keras_resnet.training.fitting import batches_to_train


def few(count, size=1):
    return Arrays(np.arange(count, dtype="uint8").reshape(count, size, size, 1), np.arange(count))


class TestPipeline:
    def test_repeats_under_a_seed_and_differs_without(self):
        first, second, other = (
            [
                (x.numpy(), y.numpy())
                for x, y in training_batches(digits().train, 10, 64, seed, {"pad_crop": 1}).take(45)
            ]
            for seed in (3, 3, 4)
        )
        for (x, y), (x_again, y_again) in zip(first, second, strict=True):
            np.testing.assert_array_equal(x, x_again)
            np.testing.assert_array_equal(y, y_again)
        assert any((y != y_other).any() for (_, y), (_, y_other) in zip(first, other, strict=True))

    @pytest.mark.parametrize("start", [0, 1, 19, 20, 47])
    def test_starts_at_any_step_as_if_it_had_come_there(self, start):
        arguments = (digits().train, 10, 64, 3, {"pad_crop": 1, "flip": 0.5, "mixup": 0.2})
        whole = list(training_batches(*arguments).take(start + 3))[start:]
        for (x, y), (x_again, y_again) in zip(whole, training_batches(*arguments, start=start).take(3), strict=True):
            np.testing.assert_array_equal(x, x_again)
            np.testing.assert_array_equal(y, y_again)

    @pytest.mark.parametrize("workers", [2, 3])
    def test_workers_share_the_batches_of_one(self, workers):
        arguments = (digits().train, 10, 48, 3, {"pad_crop": 1, "flip": 0.5})
        parts = [training_batches(*arguments, worker=w, workers=workers).take(5) for w in range(workers)]
        for whole, *shares in zip(training_batches(*arguments).take(5), *parts, strict=True):
            for index in (0, 1):
                np.testing.assert_array_equal(whole[index], np.concatenate([share[index] for share in shares]))

    def test_an_epoch_has_each_image_once_and_a_batch_may_span_two(self):
        labels = [int(c) for _, y in training_batches(few(20), 20, 8, 0).take(5) for c in y.numpy().argmax(1)]
        assert sorted(labels[:20]) == sorted(labels[20:]) == list(range(20))
        assert labels[:20] != labels[20:]

    def test_labels_stay_with_their_images_and_shapes_are_static(self):
        batches = training_batches(few(40), 40, 8, 0)
        assert [spec.shape.as_list() for spec in batches.element_spec] == [[8, 1, 1, 1], [8, 40]]
        assert all((x[:, 0, 0, 0].numpy() == y.numpy().argmax(1)).all() for x, y in batches.take(5))

    def test_a_view_is_a_function_of_the_position(self):
        view = lambda image, position: tf.cast(image, tf.float32) * 0 + tf.cast(position, tf.float32)  # noqa: E731
        seen = [x.numpy().ravel().tolist() for x, _ in training_batches(few(8), 8, 4, 0, view=view, start=3).take(2)]
        assert seen == [[12, 13, 14, 15], [16, 17, 18, 19]]

    @pytest.mark.parametrize("workers", [1, 2, 3])
    def test_evaluation_has_every_example_once(self, workers):
        parts = [list(evaluation_batches(few(21), 21, 6, worker=w, workers=workers)) for w in range(workers)]
        found = [int(c) for part in parts for _, y in part for c in y.numpy().argmax(1)]
        assert sorted(found) == list(range(21))
        assert workers > 1 or found == list(range(21))
        assert {len(part) for part in parts} == {4}

    def test_the_trainings_batches_are_these_to_the_bit(self):
        """Runs of an earlier version can be repeated: the draws, and what is made of them, stay as they are."""
        images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype="uint8")
        source = keras_resnet.load_data(((images, np.arange(20)), (images, np.arange(20))))
        recipe = replace(RECIPES["fast"], batch_size=8)
        training = check_fit(keras_resnet.ResNet20(classes=20), source, recipe)
        made = batches_to_train(training, seed=5, start=1)(0, 1)
        order = [
            tf.random.experimental.stateless_shuffle(tf.range(20, dtype=tf.int64), (5, epoch)) for epoch in range(2)
        ]
        assert order[0][:8].numpy().tolist() == [3, 17, 1, 16, 5, 2, 15, 19]
        for step, (x, y) in enumerate(made.take(3), start=1):
            numbers, draws = tf.concat(order, 0)[8 * step : 8 * step + 8].numpy(), Draws(5, step, 8)
            starts, mirrored = draws.uniform(2, low=0, high=9, dtype=tf.int32), draws.uniform() < 0.5
            assert step > 1 or starts[:3].numpy().tolist() == [[4, 1], [2, 3], [6, 3]]
            expected = []
            for number, (top, left), mirror in zip(numbers, starts.numpy(), mirrored.numpy(), strict=True):
                padded = np.pad(images[number], ((4, 4), (4, 4), (0, 0)))[top : top + 32, left : left + 32]
                expected.append(padded[:, ::-1] if mirror else padded)
            np.testing.assert_array_equal(x, (np.float32(expected) - np.float32(source.mean)) / np.float32(source.std))
            np.testing.assert_array_equal(y.numpy().argmax(1), numbers)


class TestTheDigits:
    def test_splits_are_fixed_apart_and_whole(self):
        source = digits()
        parts = [source.train, source.validation, source.test]
        assert sum(map(len, parts)) == 1797
        np.testing.assert_array_equal(np.bincount(source.test.labels), [35, 37, 35, 37, 36, 36, 36, 36, 35, 36])
        assert len(np.unique(np.concatenate([part.images.reshape(-1, 64) for part in parts]), axis=0)) == 1797
        assert (source.shape, source.train.images.dtype, source.train.images.max()) == ((8, 8, 1), np.uint8, 255)

    def test_equal_the_published_digits(self):
        """The sum of all 8x8 values (0 to 16) of optdigits.tes, as scikit-learn has it."""
        source = digits()
        pixels = np.concatenate([part.images for part in (source.train, source.validation, source.test)])
        assert np.round(pixels * (16 / 255)).sum() == 561_718
