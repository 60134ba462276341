"""Accuracy, loss and confusion matrix, against written-out figures and the model's own predictions."""

from contextlib import nullcontext
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_resnet
from helpers.trained import READ, SOURCE, linear, tiny
from keras_resnet.data import Arrays
from keras_resnet.modelcard import Preprocessing
from keras_resnet.training import Recipe, evaluate, train
from keras_resnet.training.evaluate import evaluation

RNG = np.random.default_rng(0)


class TestEvaluate:
    SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])

    def test_against_written_out_figures(self):
        found = evaluation(self.SCORES, np.array([0, 2, 0, 2]), ("a", "b", "c"))
        assert found.top1 == 0.75
        assert found.top5 == 1.0
        assert found.loss == pytest.approx(-np.log([0.7, 0.3, 0.5, 0.6]).mean())
        np.testing.assert_array_equal(found.confusion, [[2, 0, 0], [0, 0, 0], [0, 1, 1]])
        assert found.per_class == {"a": 1.0, "b": None, "c": 0.5}
        assert str(found).startswith("top-1 75.00%, top-5 100.00%, loss 0.6912 on 4 images\n")

    def test_top5_is_among_the_five_likeliest(self):
        scores = np.tile(np.arange(10, 0, -1) / 55, (10, 1))
        assert evaluation(scores, np.arange(10), tuple("abcdefghij")).top5 == 0.5

    def test_equals_the_models_own_predictions(self):
        model = linear(preprocessing=READ)
        images = READ(SOURCE.test.images.astype("float32"))
        named = model.predict(images, verbose=0).argmax(1)
        found = evaluate(model, SOURCE, batch_size=100)
        assert found.top1 == pytest.approx(np.mean(named == SOURCE.test.labels))
        assert found.images == 359

    def test_ten_crop_averages_ten_views(self):
        model = linear()
        row = Preprocessing(SOURCE.mean, SOURCE.std, resize=(12, 12), crop=(8, 8))
        few = replace(SOURCE, test=SOURCE.test[np.arange(5)])
        pixels = row(keras.ops.image.resize(few.test.images.astype("float32"), (12, 12), antialias=True))
        crops = [pixels[:, top : top + 8, left : left + 8] for top, left in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
        views = [*crops, *(crop[:, :, ::-1] for crop in crops)]
        scores = np.mean([keras.ops.softmax(model(view)) for view in views], 0)
        expected = evaluation(scores, few.test.labels, few.class_names)
        found = evaluate(model, few, preprocessing=row, view="ten_crop")
        assert found.loss == pytest.approx(expected.loss, rel=1e-5)
        assert found.loss != pytest.approx(evaluate(model, few, preprocessing=row).loss, rel=1e-5)

    def test_multi_scale_takes_whole_images(self):
        model = tiny(input_shape=(None, None, 1))
        few = replace(SOURCE, test=Arrays(SOURCE.test.images[:2, :, :7], SOURCE.test.labels[:2]))
        row = Preprocessing(SOURCE.mean, SOURCE.std)
        scores = []
        for image in few.test.images:
            views = []
            for short in (224, 256, 384, 480, 640):
                view = keras.ops.image.resize(image.astype("float32"), (8 * short // 7, short), antialias=True)
                views += [view, view[:, ::-1]]
            scores.append(np.mean([keras.ops.softmax(model(row(view[None])))[0] for view in views], 0))
        found = evaluate(model, few, preprocessing=row, view="multi_scale")
        assert found.loss == pytest.approx(
            evaluation(np.array(scores), few.test.labels, few.class_names).loss, rel=1e-4
        )

    WRONG = ("split", "dev"), ("view", "twelve_crop"), ("batch_size", 0), ("preprocessing", None)

    @pytest.mark.parametrize(("argument", "value"), WRONG)
    def test_says_what_is_wrong(self, argument, value):
        with pytest.raises(ValueError, match=f"`{argument}`"):
            evaluate(linear(), SOURCE, **{"preprocessing": READ} | {argument: value})

    def test_refuses_images_of_several_sizes_for_a_model_of_any(self, tmp_path):
        for index, size in enumerate(range(8, 18)):
            (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
            keras.utils.save_img(tmp_path / "ab"[index % 2] / f"{index}.png", RNG.integers(0, 256, (size, size, 3)))
        model, source = tiny(input_shape=(None, None, 3), classes=2), keras_resnet.load_data(tmp_path)
        with pytest.raises(ValueError, match=r"`preprocessing`. Expected one that gives images of one size"):
            train(model, source, Recipe(epochs=1, batch_size=1))
        with pytest.raises(ValueError, match=r"`preprocessing`. Expected one that gives images of one size"):
            evaluate(model, source, preprocessing="imagenet")
        assert evaluate(model, source, preprocessing="imagenet", view="multi_scale").images == len(source.test)

    @pytest.mark.parametrize(
        ("names", "agree"), [(tuple("0123456789"), True), (tuple("abcdefghij"), False), (None, True)]
    )
    def test_classes_have_the_same_names(self, names, agree):
        model = linear(preprocessing=READ, class_names=names)
        named = replace(SOURCE, test=SOURCE.test[np.arange(9)], class_names=tuple("jihgfedcba"))
        with nullcontext() if agree else pytest.raises(ValueError, match=r"`data`.*classes"):
            evaluate(model, named)

    def test_refuses_other_channels(self):
        with pytest.raises(ValueError, match=r"`data`.*3 channels"):
            evaluate(linear((8, 8, 3)), SOURCE, preprocessing="cifar10")

    def test_refuses_other_classes(self):
        with pytest.raises(ValueError, match="`data`"):
            evaluate(linear(classes=7), SOURCE, preprocessing=READ)
