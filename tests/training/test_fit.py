"""From a model, data and a recipe to trained weights, and what is refused before."""

import json
from contextlib import suppress
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_resnet
from helpers.trained import FEW, READ, SOURCE, Interrupt, Poison, Stop, linear, log, normed, tiny
from keras_resnet.modelcard import Preprocessing
from keras_resnet.training import Recipe, check_fit, evaluate, fit, fitting, train
from keras_resnet.training.fitting import batches_to_train
from keras_resnet.training.train import compiled

ONCE = Recipe(epochs=1, batch_size=16)


class TestTrain:
    def test_keeps_the_weights_of_the_lowest_validation_loss(self, tmp_path):
        model = linear()
        recipe = Recipe(epochs=4, batch_size=16, lr=0.1)
        returned = train(model, FEW, recipe, tmp_path, callbacks=[Poison(3, -9.0)], verbose=0)
        lowest = min(float(epoch["val_loss"]) for epoch in log(tmp_path))
        assert lowest == min(epoch["val_loss"] for epoch in returned) < returned[-1]["val_loss"]
        assert evaluate(model, FEW, "validation", READ).loss == pytest.approx(lowest, rel=1e-4)

    def test_delivers_the_last_epoch_where_nothing_may_choose(self, tmp_path):
        model, source = linear(), replace(FEW, validation=None)
        train(model, source, Recipe(epochs=3, batch_size=16, lr=0.5), tmp_path, verbose=0)
        assert not (tmp_path / "best.weights.h5").exists()
        last = float(log(tmp_path)[-1]["val_loss"])
        assert evaluate(model, source, "test", READ).loss == pytest.approx(last, rel=1e-4)

    def test_delivers_the_average_of_the_weights_and_of_the_norms_statistics(self, tmp_path):
        """As it was evaluated; and of a momentum that forgets at once, the run itself."""
        model, source = normed(), replace(FEW, validation=None)
        recipe = Recipe(epochs=3, batch_size=16, lr=0.5, ema=0.9)
        history = train(model, source, recipe, tmp_path / "ema", verbose=0)
        assert evaluate(model, source, "test", READ).loss == pytest.approx(history[-1]["val_loss"], rel=1e-4)
        twins = [normed(), normed()]
        for twin, ema in zip(twins, (None, 0.0), strict=True):
            train(twin, source, replace(recipe, ema=ema), verbose=0)
        for plain, averaged, delivered in zip(*(m.variables for m in (*twins, model)), strict=True):
            np.testing.assert_allclose(averaged, plain, rtol=1e-6)
            assert not np.allclose(delivered, plain, rtol=1e-3), plain.path

    @pytest.mark.parametrize(
        "augment",
        [
            {"rotate": {"degrees": 90, "fill": "mean"}},
            {"translate": {"share": 0.5, "fill": "mean"}},
            {"erase": {"rate": 1, "fill": "mean"}},
            {"pad_crop": {"padding": 4, "fill": "mean"}},
        ],
        ids=str,
    )
    def test_what_is_filled_with_the_mean_is_zero_to_the_network(self, augment):
        white = replace(FEW.train, images=np.full_like(FEW.train.images, 255))
        model = linear(preprocessing=READ)
        training = check_fit(model, replace(FEW, train=white), replace(ONCE, augment=augment))
        images, _ = next(iter(batches_to_train(training, seed=0, start=0)(0, 1)))
        np.testing.assert_allclose(
            np.unique(images.numpy().round(4)), [0, *training.preprocessing(np.array([255.0]))], atol=1e-4
        )

    def test_the_users_model_stays_uncompiled(self):
        model = linear()
        train(model, FEW, ONCE, verbose=0)
        assert not model.compiled

    def test_takes_names_and_arrays_and_a_softmax(self, tmp_path):
        arrays = ((SOURCE.train.images, SOURCE.train.labels), (SOURCE.test.images, SOURCE.test.labels))
        model = linear(activation="softmax")
        history = keras_resnet.train(model, arrays, "digits", str(tmp_path), callbacks=[Stop(2)], verbose=0)
        assert len(history) == 2
        assert history[-1]["val_accuracy"] > 0.2

    def test_trains_a_residual_network(self):
        history = train(tiny(), FEW, Recipe(epochs=6, batch_size=16), verbose=0)
        assert history[-1]["loss"] < 0.9 * history[0]["loss"]

    def test_reads_images_as_the_models_card_says(self):
        recipe = Recipe(epochs=12, batch_size=16)
        blind = linear(preprocessing=Preprocessing((1e9,), (1.0,)).sized(8, 8))  # for which all images are the same
        for model, low, high in ((blind, 0, 0.3), (linear(), 0.3, 1)):
            assert low <= train(model, FEW, recipe, verbose=0)[-1]["accuracy"] <= high

    def test_says_in_the_models_card_how_it_reads_images_and_names_classes(self):
        model = linear(params=3)
        train(model, FEW, ONCE, verbose=0)
        assert (model.card.preprocessing, model.card.class_names) == (READ, SOURCE.class_names)

    WRAPPED = (
        lambda net: keras.Model(net.inputs, net(net.inputs[0])),
        lambda net: keras.Sequential([keras.Input(net.input_shape[1:]), net]),
        lambda net: keras.Model(net.inputs, keras.layers.Rescaling(1.0)(net.output)),
    )

    @pytest.mark.parametrize("wrap", WRAPPED)
    def test_knows_logits_however_they_are_wrapped(self, wrap):
        inner, few = linear(), replace(SOURCE, test=SOURCE.test[np.arange(20)])
        expected = evaluate(inner, few, preprocessing=READ).loss
        assert evaluate(wrap(inner), few, preprocessing=READ).loss == pytest.approx(expected, rel=1e-5)

    @pytest.mark.slow
    def test_resumes_in_the_same_process(self, tmp_path):
        """Where Keras has numbered its layers on."""
        recipe = Recipe(epochs=3, batch_size=16)
        config = keras_resnet.ResNetConfig(stages=((4,),), stem_filters=4, drop_path=0.5)
        models = []
        for folder, parts in (("whole", [()]), ("parts", [(KeyboardInterrupt,), ()])):
            for stop in parts:
                keras.utils.set_random_seed(0)
                models.append(keras_resnet.resnet(config, input_shape=(8, 8, 1), classifier_activation=None))
                with suppress(KeyboardInterrupt):
                    raising = [Interrupt(1)] if stop else []
                    train(models[-1], FEW, recipe, tmp_path / folder, resume=True, callbacks=raising, verbose=0)
        for whole, resumed in zip(models[0].variables, models[-1].variables, strict=True):
            np.testing.assert_array_equal(whole, resumed)

    def test_a_run_that_was_stopped_stays_so(self, tmp_path):
        recipe = Recipe(epochs=9, batch_size=16)
        for _ in range(2):
            history = train(linear(), FEW, recipe, tmp_path, resume=True, callbacks=[Stop(2)], verbose=0)
            assert len(history) == 2

    def test_another_model_or_seed_is_not_resumed(self, tmp_path):
        train(linear(), FEW, ONCE, tmp_path, verbose=0)
        with pytest.raises(ValueError, match=r"`model`.*checkpoint.npz, with the same 5 variables"):
            train(normed(), FEW, ONCE, tmp_path, resume=True, verbose=0)
        with pytest.raises(ValueError, match=r"`resume`.*seed"):
            train(linear(), FEW, ONCE, tmp_path, seed=1, resume=True)

    def test_a_file_that_is_not_ours_is_left_alone(self, tmp_path):
        (tmp_path / "history.csv").write_text("precious,mine\n")
        with pytest.raises(ValueError, match="history"):
            train(linear(), FEW, ONCE, tmp_path, resume=True, verbose=0)
        assert (tmp_path / "history.csv").read_text() == "precious,mine\n"

    def test_half_precision_scales_the_loss(self):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = linear()
        finally:
            keras.config.set_dtype_policy("float32")
        fitted, _ = compiled(model, ONCE, 4)
        assert isinstance(fitted.optimizer, keras.optimizers.LossScaleOptimizer)
        assert np.isfinite(train(model, FEW, ONCE, verbose=0)[0]["loss"])

    def test_makes_the_size_that_the_model_takes(self):
        recipe = Recipe(epochs=2, batch_size=16, view="random_resized_crop")
        assert len(train(linear((16, 16, 1)), FEW, recipe, verbose=0)) == 2

    @pytest.mark.parametrize(
        ("build", "recipe", "message"),
        [
            (linear, Recipe(epochs=1, batch_size=65), "`batch_size`"),
            (lambda: linear(classes=7), ONCE, "`model`"),
            (lambda: linear((8, 8, 3)), ONCE, "`model`"),
            (lambda: tiny(input_shape=(None, None, 1)), replace(ONCE, view="scale_crop"), "`view`"),
            (linear, "he2051", "`recipe`.*he2015"),
            (linear, replace(ONCE, augment={"color": 0.1}), "`augment`.*1 channels"),
        ],
    )
    def test_refuses_what_does_not_fit(self, build, recipe, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            train(build(), FEW, recipe, tmp_path / "run")
        assert not list(tmp_path.rglob("*.*"))

    def test_the_batch_of_a_named_recipe_is_reduced_to_the_images(self):
        five = FEW.train[np.arange(5)]
        with pytest.warns(UserWarning, match="batch of 64 images is reduced to 5: there are 5 to train on"):
            train(linear(), replace(FEW, train=five), "digits", callbacks=[Stop(1)], verbose=0)

    @pytest.mark.parametrize("name", ["history.csv", "checkpoint.npz", "best.weights.h5"])
    def test_an_earlier_run_is_refused_before_training(self, name, tmp_path, monkeypatch):
        (tmp_path / name).write_text("earlier")
        monkeypatch.setattr(keras.Model, "fit", None)
        with pytest.raises(ValueError, match="resume=True"):
            train(linear(), FEW, ONCE, tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]

    def test_a_plateau_is_not_of_the_test(self):
        with pytest.raises(ValueError, match=r"`schedule`.*validation"):
            train(linear(), replace(FEW, validation=None), replace(ONCE, schedule="plateau"))

    def test_says_when_the_loss_is_not_a_number_and_keeps_the_epoch_before(self, tmp_path):
        recipe = Recipe(epochs=9, batch_size=16)
        with pytest.raises(FloatingPointError, match="epoch 3"):
            train(linear(), FEW, recipe, tmp_path, callbacks=[Poison(2)], verbose=0)
        with np.load(tmp_path / "checkpoint.npz") as archive:
            assert json.loads(str(archive["state"]))["epochs"] == 2
            assert all(np.isfinite(archive[name]).all() for name in archive.files if name != "state")


class TestCheckFit:
    def test_what_it_returns_is_trained_without_another_check(self, monkeypatch):
        checked, once = [], fitting.expect_augmentable
        monkeypatch.setattr(fitting, "expect_augmentable", lambda training: (checked.append(1), once(training)))
        training = check_fit(linear(), FEW, ONCE)
        assert len(fit(replace(training, recipe=replace(ONCE, epochs=2)), verbose=0)) == 2
        assert len(checked) == 1
        train(linear(), FEW, ONCE, verbose=0)
        assert len(checked) == 2

    def test_knows_how_the_images_are_read(self):
        assert check_fit(linear(), FEW, ONCE).preprocessing == READ
        known = Preprocessing((3.0,), (2.0,)).sized(8, 8)
        assert check_fit(linear(preprocessing=known), FEW, ONCE).preprocessing == known

    @pytest.mark.parametrize(("slices", "steps"), [(None, 4), (9, 9)])
    def test_knows_the_steps_of_an_epoch(self, slices, steps):
        assert check_fit(linear(), FEW, replace(ONCE, steps_per_epoch=slices)).steps_per_epoch == steps
