"""The optimizer against torch's, the rates against written-out arrays, a killed run against one that was not."""

import csv
import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.data import Arrays, digits
from keras_resnet.modelcard import Preprocessing, attach, card
from keras_resnet.training import RECIPES, Recipe, evaluate, train
from keras_resnet.training.evaluate import evaluation
from keras_resnet.training.optimizer import SGD, Held, HoldUntil, learning_rate, optimizer
from keras_resnet.training.train import compiled

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(20, 5, 3)).astype("float32")
START = RNG.normal(size=(5, 3)).astype("float32")
RATES = [0.1] * 8 + [0.01] * 12  # a drop in the middle: it is there that Keras' own velocity differs from torch's
KINDS = [
    (0.0, False, 0.0),
    (0.9, False, 0.0),
    (0.9, True, 0.0),
    (0.9, False, 1e-2),
    (0.9, True, 5e-2),
    (0.0, False, 0.1),
]


def ours(momentum, nesterov, decay, **options):
    kernel = keras.Variable(START, name="kernel")
    sgd = SGD(RATES[0], momentum, nesterov, l2=decay, **options)
    sgd.build([kernel])
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        sgd.learning_rate = rate
        sgd.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    return keras.ops.convert_to_numpy(kernel)


def written_out(momentum, nesterov, decay):
    """torch.optim.SGD's documentation, line by line, in float64."""
    w, velocity = START.astype("float64"), np.zeros((5, 3))
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        g = gradient + decay * w
        velocity = momentum * velocity + g
        w = w - rate * (g + momentum * velocity if nesterov else velocity)
    return w


class TestSGD:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_torchs_as_documented(self, kind):
        np.testing.assert_allclose(ours(*kind), written_out(*kind), atol=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_torchs(self, kind):
        torch = pytest.importorskip("torch")
        momentum, nesterov, decay = kind
        w = torch.nn.Parameter(torch.tensor(START.copy()))
        sgd = torch.optim.SGD([w], RATES[0], momentum, nesterov=nesterov, weight_decay=decay)
        for rate, gradient in zip(RATES, GRADIENTS, strict=True):
            sgd.param_groups[0]["lr"], w.grad = rate, torch.tensor(gradient)
            sgd.step()
        np.testing.assert_allclose(ours(*kind), w.detach().numpy(), atol=1e-6)

    def test_differs_from_keras_own(self):
        """Which is why it exists: with a falling rate, and with a weight decay."""
        kernel = keras.Variable(START)
        sgd = keras.optimizers.SGD(RATES[0], 0.9)
        sgd.build([kernel])
        for rate, gradient in zip(RATES, GRADIENTS, strict=True):
            sgd.learning_rate = rate
            sgd.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
        assert np.abs(keras.ops.convert_to_numpy(kernel) - written_out(0.9, False, 0.0)).max() > 1e-2

    @pytest.mark.parametrize(
        ("decays", "shrunk"), [("all", {"kernel", "gamma", "beta", "bias"}), ("kernels", {"kernel"})]
    )
    def test_decays_what_it_should(self, decays, shrunk):
        variables = [keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "gamma", "beta", "bias")]
        sgd = SGD(0.1, l2=0.5, decays=decays)
        sgd.build(variables)
        sgd.apply([keras.ops.zeros(2) for _ in variables], variables)
        assert {v.name for v in variables if keras.ops.convert_to_numpy(v)[0] < 1} == shrunk

    def test_can_be_saved(self):
        sgd = SGD.from_config(SGD(0.1, 0.9, True, l2=0.5, decays="kernels").get_config())
        assert (sgd.momentum, sgd.nesterov, sgd.l2, sgd.decays) == (0.9, True, 0.5, "kernels")

    def test_accumulates_and_clips_through_keras_options(self):
        recipe = Recipe(epochs=1, lr=1.0, momentum=0.0, clip_norm=1.0, accumulate=2, schedule="constant")
        kernel, sgd = keras.Variable(np.zeros(2, "float32"), name="kernel"), optimizer(recipe, 1.0)
        sgd.build([kernel])
        steps = []
        for gradient in ([6.0, 0.0], [0.0, 8.0]):  # the mean is (3, 4), of norm 5
            sgd.apply([keras.ops.convert_to_tensor(np.float32(gradient))], [kernel])
            steps.append(keras.ops.convert_to_numpy(kernel).tolist())
        np.testing.assert_allclose(steps, [[0, 0], [-0.6, -0.8]], atol=1e-6)


class TestLearningRates:
    @pytest.mark.parametrize(
        ("recipe", "expected"),
        [
            (Recipe(epochs=1, lr=1.0), {0: 1, 49: 1, 50: 0.1, 74: 0.1, 75: 0.01, 99: 0.01}),
            (Recipe(epochs=1, lr=1.0, warmup=0.1), {0: 0.1, 4: 0.5, 9: 1, 10: 1, 49: 1, 50: 0.1, 75: 0.01}),
            (Recipe(epochs=1, lr=1.0, warmup=0.1, warmup_lr=0.3), {0: 0.3, 9: 0.3, 10: 1, 50: 0.1}),
            (Recipe(epochs=1, lr=1.0, drops=(0.3, 0.6, 0.8), factor=0.2), {29: 1, 30: 0.2, 60: 0.04, 80: 0.008}),
            (Recipe(epochs=1, lr=2.0, schedule="cosine"), {0: 2, 25: 1 + 2**-0.5, 50: 1, 100: 0}),
            (Recipe(epochs=1, lr=2.0, schedule="cosine", warmup=0.2), {0: 0.1, 19: 2, 20: 2, 60: 1, 100: 0}),
            (Recipe(epochs=1, lr=2.0, schedule="linear", warmup=0.2), {9: 1, 20: 2, 40: 1.5, 60: 1, 100: 0}),
            (Recipe(epochs=1, lr=2.0, schedule="constant"), {0: 2, 99: 2}),
        ],
    )
    def test_are_as_written_out_over_100_steps(self, recipe, expected):
        rate = learning_rate(recipe, 100)
        assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("name", ["he2015_cifar", "he2016_cifar"])
    def test_the_papers_steps(self, name):
        recipe = RECIPES[name]
        steps = recipe.epochs * recipe.steps_per_epoch
        rate = learning_rate(recipe, steps)
        assert steps == 64_000
        first = 0.01 if name == "he2016_cifar" else 0.1
        expected = {0: first, 399: first, 400: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001}
        assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)

    def test_fractalnets_rate_falls_whenever_the_rest_halves(self):
        rate = learning_rate(RECIPES["fractalnet"], 400)
        expected = {199: 2e-2, 200: 2e-3, 300: 2e-4, 350: 2e-5, 375: 2e-6}
        assert {step: float(rate(step)) for step in expected} == pytest.approx(expected)

    def test_is_held_until_the_training_error_has_fallen(self):
        rate = learning_rate(RECIPES["he2015_cifar_110"], 64_000)
        assert isinstance(rate, Held)
        holder, seen = HoldUntil(rate, 0.8), []
        for accuracy in (0.1, 0.2, 0.21, 0.15):  # below 80 % is not at 80 %
            holder.on_train_batch_begin(0)
            seen.append(float(rate(0)))
            holder.on_train_batch_end(0, {"accuracy": accuracy})
        assert seen == pytest.approx([0.01, 0.01, 0.01, 0.1])

    def test_a_plateau_lowers_a_plain_number(self):
        assert learning_rate(RECIPES["he2015_imagenet"], 10) == 0.1


class TestRecipes:
    @pytest.mark.parametrize(
        "field", ["epochs", "batch_size", "lr", "warmup", "momentum", "nesterov", "augment", "schedule", "view", "ema"]
    )
    def test_are_checked(self, field):
        with pytest.raises(ValueError, match=f"`{field}`.*Received: {field}='much'"):
            replace(RECIPES["digits"], **{field: "much"})

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"drops": (0.75, 0.5)}, "`drops`"),
            ({"drops": (0.5, 1.0)}, "`drops`"),
            ({"warmup_error": 0.8}, "`warmup_lr`"),
            ({"warmup_error": 0.8, "warmup_lr": 0.01, "warmup": 0.1}, "`warmup`"),
            ({"schedule": "plateau", "warmup": 0.1}, "`warmup`"),
            ({"augment": {"twirl": 1}}, "`augment`"),
            ({"weight_decay": -1}, "`weight_decay`"),
        ],
    )
    def test_contradictions_are_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            replace(RECIPES["he2015_cifar"], **changes)

    @pytest.mark.parametrize("name", RECIPES)
    def test_are_json_and_name_their_paper(self, name):
        recipe = RECIPES[name]
        assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
        assert recipe.about


SOURCE = digits()
FEW = replace(SOURCE, train=SOURCE.train[np.arange(64)])
READ = Preprocessing(FEW.mean, FEW.std).sized(8, 8)


def tiny(**changes):
    keras.utils.set_random_seed(0)
    config = keras_resnet.ResNetConfig(stages=((4,), (8,)), stem_filters=4)
    return keras_resnet.resnet(config, **{"input_shape": (8, 8, 1), "classifier_activation": None} | changes)


def log(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


class TestTrain:
    def test_keeps_the_weights_of_the_lowest_validation_loss(self, tmp_path):
        model = tiny()
        recipe = Recipe(epochs=4, batch_size=16, lr=0.1)
        returned = train(model, FEW, recipe, tmp_path, callbacks=[Poison(3, -9.0)], verbose=0)
        lowest = min(float(row["val_loss"]) for row in log(tmp_path))
        assert lowest == min(row["val_loss"] for row in returned) < returned[-1]["val_loss"]
        assert evaluate(model, FEW, "validation", READ).loss == pytest.approx(lowest, rel=1e-4)

    def test_delivers_the_last_epoch_where_nothing_may_choose(self, tmp_path):
        model, source = tiny(), replace(FEW, validation=None)
        train(model, source, Recipe(epochs=3, batch_size=16, lr=0.5), tmp_path, verbose=0)
        assert not (tmp_path / "best.weights.h5").exists()
        assert evaluate(model, source, "test", READ).loss == pytest.approx(
            float(log(tmp_path)[-1]["val_loss"]), rel=1e-4
        )

    def test_delivers_the_average_of_the_weights_and_of_the_norms_statistics(self, tmp_path):
        """As it was evaluated; and of a momentum that forgets at once, the run itself."""
        model, source = tiny(), replace(FEW, validation=None)
        recipe = Recipe(epochs=3, batch_size=16, lr=0.5, ema=0.9)
        rows = train(model, source, recipe, tmp_path / "ema", verbose=0)
        assert evaluate(model, source, "test", READ).loss == pytest.approx(rows[-1]["val_loss"], rel=1e-4)
        twins = [tiny(), tiny()]
        for twin, ema in zip(twins, (None, 0.0), strict=True):
            train(twin, source, replace(recipe, ema=ema), verbose=0)
        for plain, averaged, delivered in zip(*(m.variables for m in (*twins, model)), strict=True):
            np.testing.assert_allclose(averaged, plain, rtol=1e-6)
            assert not np.allclose(delivered, plain, rtol=1e-3), plain.path

    def test_the_users_model_stays_uncompiled(self, tmp_path):
        model = tiny()
        train(model, FEW, Recipe(epochs=1, batch_size=16), tmp_path, verbose=0)
        assert not model.compiled

    def test_takes_names_and_arrays_and_a_softmax(self, tmp_path):
        keras.utils.set_random_seed(0)
        arrays = ((SOURCE.train.images, SOURCE.train.labels), (SOURCE.test.images, SOURCE.test.labels))
        model = tiny(classifier_activation="softmax")
        rows = keras_resnet.train(model, arrays, "digits", str(tmp_path), callbacks=[Stop(4)], verbose=0)
        assert len(rows) == 4
        assert rows[-1]["val_accuracy"] > 0.2

    def test_reads_images_as_the_models_card_says(self, tmp_path):
        model = tiny()
        attach(model, replace(card(model), preprocessing=Preprocessing((1e9,), (1.0,)).sized(8, 8)))
        blind, seeing = (train(net, FEW, Recipe(epochs=12, batch_size=16), verbose=0) for net in (model, tiny()))
        assert blind[-1]["accuracy"] < 0.3 < seeing[-1]["accuracy"]  # with such a mean all images are the same

    @pytest.mark.parametrize("wrap", [
        lambda net: keras.Model(net.inputs, net(net.inputs[0])),
        lambda net: keras.Sequential([keras.Input(net.input_shape[1:]), net]),
        lambda net: keras.Model(net.inputs, keras.layers.Rescaling(1.0)(net.output)),
    ])  # fmt: skip
    def test_knows_logits_however_they_are_wrapped(self, wrap):
        inner = tiny()
        row = dict(preprocessing=READ)
        assert evaluate(wrap(inner), SOURCE, **row).loss == pytest.approx(evaluate(inner, SOURCE, **row).loss, rel=1e-5)

    def test_resumes_in_the_same_process(self, tmp_path):
        """Where Keras has numbered its layers on."""
        recipe = Recipe(epochs=3, batch_size=16)
        config = keras_resnet.ResNetConfig(stages=((4,), (8,)), stem_filters=4, drop_path=0.5)
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
        for _ in range(2):
            rows = train(
                tiny(), FEW, Recipe(epochs=9, batch_size=16), tmp_path, resume=True, callbacks=[Stop(2)], verbose=0
            )
            assert len(rows) == 2

    def test_another_model_is_not_resumed(self, tmp_path):
        train(tiny(), FEW, Recipe(epochs=1, batch_size=16), tmp_path, verbose=0)
        config = keras_resnet.ResNetConfig(stages=((4,), (16,)), stem_filters=4)
        with pytest.raises(ValueError, match=r"`model`.*trained before"):
            train(keras_resnet.resnet(config, input_shape=(8, 8, 1)), FEW, Recipe(epochs=1, batch_size=16), tmp_path,
                  resume=True, verbose=0)  # fmt: skip

    def test_a_file_that_is_not_ours_is_left_alone(self, tmp_path):
        (tmp_path / "history.csv").write_text("precious,mine\n")
        with pytest.raises(ValueError, match="history"):
            train(tiny(), FEW, Recipe(epochs=1, batch_size=16), tmp_path, resume=True, verbose=0)
        assert (tmp_path / "history.csv").read_text() == "precious,mine\n"

    def test_half_precision_scales_the_loss(self, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = tiny()
        finally:
            keras.config.set_dtype_policy("float32")
        fitted, _ = compiled(model, Recipe(epochs=1, batch_size=16), 4)
        assert isinstance(fitted.optimizer, keras.optimizers.LossScaleOptimizer)
        assert np.isfinite(train(model, FEW, Recipe(epochs=1, batch_size=16), verbose=0)[0]["loss"])

    def test_makes_the_size_that_the_model_takes(self, tmp_path):
        model = tiny(input_shape=(16, 16, 1))
        recipe = Recipe(epochs=2, batch_size=16, view="random_resized_crop")
        assert len(train(model, FEW, recipe, tmp_path, verbose=0)) == 2

    @pytest.mark.parametrize(
        ("changes", "recipe", "message"),
        [
            ({}, Recipe(epochs=1, batch_size=65), "`batch_size`"),
            ({"classes": 7}, Recipe(epochs=1, batch_size=8), "`model`"),
            ({"input_shape": (8, 8, 3)}, Recipe(epochs=1, batch_size=8), "`model`"),
            ({"input_shape": (None, None, 1)}, Recipe(epochs=1, batch_size=8, view="scale_crop"), "`view`"),
            ({}, "he2051", "`recipe`.*he2015"),
            (
                {"input_shape": (8, 8, 1)},
                Recipe(epochs=1, batch_size=8, augment={"color": 0.1}),
                "`augment`.*1 channels",
            ),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, recipe, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            train(tiny(**changes), FEW, recipe, tmp_path / "run")
        assert not list(tmp_path.rglob("*.*"))

    @pytest.mark.parametrize("name", ["history.csv", "checkpoint.npz", "best.weights.h5"])
    def test_an_earlier_run_is_refused_before_training(self, name, tmp_path, monkeypatch):
        (tmp_path / name).write_text("earlier")
        monkeypatch.setattr(keras.Model, "fit", None)
        with pytest.raises(ValueError, match="resume=True"):
            train(tiny(), FEW, Recipe(epochs=1, batch_size=16), tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]

    def test_a_plateau_is_not_of_the_test(self):
        with pytest.raises(ValueError, match=r"`schedule`.*validation"):
            train(tiny(), replace(FEW, validation=None), Recipe(epochs=1, batch_size=16, schedule="plateau"))

    def test_says_when_the_loss_is_not_a_number_and_keeps_the_epoch_before(self, tmp_path):
        recipe = Recipe(epochs=9, batch_size=16)
        with pytest.raises(FloatingPointError, match="epoch 3"):
            train(tiny(), FEW, recipe, tmp_path, callbacks=[Poison(2)], verbose=0)
        with np.load(tmp_path / "checkpoint.npz") as archive:
            assert json.loads(str(archive["state"]))["epochs"] == 2
            assert all(np.isfinite(archive[name]).all() for name in archive.files if name != "state")

    def test_another_run_is_not_resumed(self, tmp_path):
        train(tiny(), FEW, Recipe(epochs=1, batch_size=16), tmp_path, verbose=0)
        with pytest.raises(ValueError, match=r"`resume`.*seed"):
            train(tiny(), FEW, Recipe(epochs=1, batch_size=16), tmp_path, seed=1, resume=True)


class Stop(keras.callbacks.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.after = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch + 1 == self.after


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.at = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


class Poison(keras.callbacks.Callback):
    """Multiplies the classifier before that epoch."""

    def __init__(self, epoch, factor=np.nan):
        super().__init__()
        self.poisoned, self.factor = epoch, factor

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.poisoned:
            kernel = self.model.get_layer("predictions").kernel
            kernel.assign(kernel * self.factor)


# All that a resumed run must bring back: drop path and dropout (seeds), a plateau (a callback's best and wait, its
# rate), momentum, the best epoch so far, augmentation and order; or else an average, and a rate that is held.
RECIPE_OF_RESUME = {
    "plateau": Recipe(epochs=6, batch_size=32, lr=0.3, schedule="plateau", factor=0.5, patience=1, weight_decay=1e-3,
                      nesterov=True, augment={"pad_crop": 1, "flip": 0.5, "mixup": 0.2}),
    "ema": Recipe(epochs=5, steps_per_epoch=7, batch_size=32, lr=0.2, warmup_lr=0.05, warmup_error=0.85, ema=0.9,
                  accumulate=2, augment={"rand_augment": 9}),
}  # fmt: skip


class Killed(keras.callbacks.Callback):
    """kill -9 of this process, at a moment such as ("on_train_batch_end", 2, 5): the sixth batch of the third epoch."""

    def __init__(self, moment, epoch, batch):
        super().__init__()
        self.epoch, self.at = None, (moment, epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.here("on_train_batch_end", batch)

    def on_epoch_end(self, epoch, logs=None):
        self.here("on_epoch_end", None)

    def here(self, moment, batch):
        if (moment, self.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(name, folder, moment):
    """What a user's script does; run in a process of its own."""
    keras.utils.set_random_seed(1)
    config = keras_resnet.ResNetConfig(stages=((8, 8), (16,)), stem_filters=8, drop_path=0.3, dropout=0.2)
    model = keras_resnet.resnet(config, input_shape=(8, 8, 1), classes=10, classifier_activation=None)
    source = SOURCE if name == "plateau" else replace(SOURCE, validation=None)
    if moment and moment[0] == "while writing":
        kill_while_writing(*moment[1:])
        moment = None
    killer = [Killed(*moment)] if moment else []
    train(model, source, RECIPE_OF_RESUME[name], folder, seed=3, resume=True, callbacks=killer, verbose=0)
    np.savez(folder / "final.npz", *[keras.ops.convert_to_numpy(v) for v in model.variables])


def kill_while_writing(epoch):
    """Half of a checkpoint is on the disk when the process dies."""
    whole, written = np.savez, []

    def savez(file, **arrays):
        written.append(1)
        if len(written) > epoch:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        whole(file, **arrays)

    np.savez = savez


def start(name, folder, moment=None):
    folder.mkdir(exist_ok=True)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_training as t; "
        f"t.main({name!r}, t.Path({str(folder)!r}), {moment!r})"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """name -> the folder of a run that nobody killed."""

    @cache
    def run(name):
        folder = tmp_path_factory.mktemp(name)
        process = start(name, folder)
        assert process.returncode == 0, process.stderr
        return folder

    return run


def without_times(folder):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log(folder)]


@pytest.mark.xdist_group("resume")
class TestResume:
    @pytest.mark.parametrize(
        ("name", "moments"),
        [
            pytest.param(
                "plateau",
                [("on_train_batch_end", 0, 3), ("on_train_batch_end", 3, 20), ("on_epoch_end", 4, None)],
                marks=pytest.mark.slow,
            ),
            ("plateau", [("while writing", 2)]),
            pytest.param("ema", [("on_train_batch_end", 1, 2), ("on_epoch_end", 3, None)], marks=pytest.mark.slow),
        ],
    )
    def test_a_killed_run_ends_as_one_that_was_not(self, name, moments, tmp_path, undisturbed):
        for moment in moments:
            assert start(name, tmp_path, moment).returncode == -signal.SIGKILL
        process = start(name, tmp_path)
        assert process.returncode == 0, process.stderr
        assert without_times(tmp_path) == without_times(undisturbed(name))
        with np.load(tmp_path / "final.npz") as ours, np.load(undisturbed(name) / "final.npz") as theirs:
            for key in theirs.files:
                np.testing.assert_array_equal(ours[key], theirs[key])

    def test_the_plateau_was_reached_and_the_best_epoch_was_not_the_last(self, undisturbed):
        rates, losses = (
            [float(row[key]) for row in log(undisturbed("plateau"))] for key in ("learning_rate", "val_loss")
        )
        assert rates[-1] < rates[0]
        assert losses.index(min(losses)) < len(losses) - 1

    @pytest.mark.slow
    def test_the_rate_was_held_and_let_go(self, undisturbed):
        held = [round(float(row["learning_rate"]), 3) for row in log(undisturbed("ema"))]
        assert held[0] == 0.05
        assert held[-1] != 0.05


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
        model = tiny()
        attach(model, replace(card(model), preprocessing=READ))
        images = READ(SOURCE.test.images.astype("float32"))
        named = model.predict(images, verbose=0).argmax(1)
        found = evaluate(model, SOURCE, batch_size=100)
        assert found.top1 == pytest.approx(np.mean(named == SOURCE.test.labels))
        assert found.images == 359

    def test_ten_crop_averages_ten_views(self):
        model = tiny()
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

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"split": "dev"}, "`split`"), ({"view": "twelve_crop"}, "`view`"), ({"batch_size": 0}, "`batch_size`"),
         ({"preprocessing": None}, "`preprocessing`")],
    )  # fmt: skip
    def test_says_what_is_wrong(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            evaluate(tiny(), SOURCE, **{"preprocessing": READ} | arguments)

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
        model, named = tiny(), replace(SOURCE, class_names=tuple("jihgfedcba"))
        attach(model, replace(card(model), preprocessing=READ, class_names=names))
        with nullcontext() if agree else pytest.raises(ValueError, match=r"`data`.*classes"):
            evaluate(model, named)

    def test_refuses_other_channels(self):
        with pytest.raises(ValueError, match=r"`data`.*3 channels"):
            evaluate(tiny(input_shape=(8, 8, 3)), SOURCE, preprocessing="cifar10")

    def test_refuses_other_classes(self):
        with pytest.raises(ValueError, match="`data`"):
            evaluate(tiny(classes=7), SOURCE, preprocessing=READ)


class TestFreeze:
    def test_frozen_parts_do_not_move_and_their_norms_neither(self, tmp_path):
        model = keras_resnet.freeze(tiny(), "stage1")
        before = {v.path: np.array(v) for v in model.variables}
        train(model, replace(FEW, validation=None), Recipe(epochs=1, batch_size=16), tmp_path, verbose=0)
        moved = {v.path.split("_")[0] for v in model.variables if (np.array(v) != before[v.path]).any()}
        still = {v.path.split("_")[0] for v in model.variables if (np.array(v) == before[v.path]).all()}
        assert moved == {"stage2", "predictions/kernel", "predictions/bias"}
        assert still == {"stem", "stage1"}

    def test_frozen_norms_use_their_moving_statistics(self):
        model = keras_resnet.freeze(tiny(), "head")
        x = RNG.normal(size=(4, 8, 8, 1)).astype("float32")
        np.testing.assert_array_equal(model(x, training=True), model(x, training=False))

    @pytest.mark.parametrize("name", ["resnet20", "resnet50v2", "densenet121", "fractalnet20", "resnetrs50", "plain20"])
    def test_knows_every_familys_parts(self, name):
        model = keras_resnet.build(name)
        whole = len(model.trainable_variables)
        assert {v.path.split("/")[0] for v in keras_resnet.freeze(model, "head").trainable_variables} == {"predictions"}
        parts = {v.path.split("_")[0] for v in keras_resnet.freeze(model, "stage2").trainable_variables}
        assert not parts & {"stem", "stem1", "stage1", "stage2"}
        assert "stage3" in parts
        assert len(keras_resnet.freeze(model, None).trainable_variables) == whole

    def test_says_which_parts_there_are(self):
        with pytest.raises(ValueError, match=r"`until`.*'stage2', 'head'"):
            keras_resnet.freeze(tiny(), "stage3")
