"""The first trained network, from one command, and the parts that it is made of."""

import csv
import json
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import keras_resnet
from keras_resnet.cli import main
from keras_resnet.data import Arrays, digits, evaluation_batches, training_batches
from keras_resnet.data.draws import Draws
from keras_resnet.experiment import Run, experiment
from keras_resnet.files import completed, new_folder
from keras_resnet.modelcard import Card, Preprocessing
from keras_resnet.training import RECIPES, Recipe, check_fit, evaluate
from keras_resnet.training.fitting import batches_to_train

EVERY_KEY = {"stem": keras_resnet.STEMS, "order": keras_resnet.ORDERS, "shortcut": keras_resnet.SHORTCUTS}
TRAINING = "best.weights.h5 checkpoint.npz history.csv run.json tensorboard"
FINISHING = "card.json card.md confusion.png curves.png evaluation.json model.keras saved_model"
FILES = {*TRAINING.split(), *FINISHING.split()}


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "keras_resnet", *arguments], cwd=cwd, capture_output=True, text=True, timeout=600
    )


def invoked(*arguments):
    """The command in this process: TensorFlow is there already."""
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(the folder in which `keras-resnet train` ran, what it printed)"""
    folder = tmp_path_factory.mktemp("train")
    process = command("train", cwd=folder)
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


@pytest.fixture(scope="module")
def run(trained):
    return trained[0] / "saved_models" / "resnet20-digits"


@pytest.fixture(scope="module")
def card(run):
    return json.loads((run / "card.json").read_text())


class TestTheCommandTrain:
    def test_reaches_98_percent_on_held_out_digits(self, card):
        assert card["metrics"]["accuracy"] >= 0.98
        assert card["data"]["test"] == 359

    def test_shows_a_progress_bar_and_ten_predictions_beside_the_truth(self, trained):
        assert "20/20" in trained[1]
        _, _, shown = trained[1].partition("truth  prediction  probability\n")
        truth = [line.split()[0] for line in shown.splitlines()[:10]]
        prediction = [line.split()[1] for line in shown.splitlines()[:10]]
        assert truth == list(map(str, digits().test.labels[:10]))
        assert sum(map(str.__eq__, truth, prediction)) >= 9

    def test_leaves_these_files(self, run):
        assert {path.name for path in run.iterdir()} == FILES

    def test_the_card_says_how_it_was_made(self, run, card):
        assert keras_resnet.ResNetConfig(**card["config"]) == keras_resnet.NETWORKS["resnet20"]
        assert Recipe(**card["recipe"]) == RECIPES["digits"]
        assert (card["seed"], card["params"], card["macs"]) == (0, 270_810, 2_516_608)
        assert card["versions"]["keras"] == keras.__version__
        page = (run / "card.md").read_text()
        assert f"| accuracy | {card['metrics']['accuracy']} |" in page

    def test_the_model_loads_without_this_package_and_reaches_the_cards_accuracy(self, run, card):
        loaded = "import keras, sys; keras.models.load_model(sys.argv[1]); assert 'keras_resnet' not in sys.modules"
        subprocess.run([sys.executable, "-P", "-c", loaded, str(run / "model.keras")], check=True, cwd=run)
        model = keras.models.load_model(run / "model.keras")
        assert not model.compiled
        found = evaluate(model, "digits", preprocessing=Preprocessing(**card["preprocessing"]))
        assert found.top1 == pytest.approx(card["metrics"]["accuracy"])
        assert found.metrics() == {
            key: pytest.approx(card["metrics"][key], rel=1e-5) for key in ("accuracy", "top5_accuracy", "loss")
        }

    def test_the_saved_model_takes_pixels_and_gives_the_models_probabilities(self, run):
        images = digits().test.images
        row = Preprocessing(digits().mean, digits().std)
        served = tf.saved_model.load(run / "saved_model" / "1").signatures["serving_default"](tf.constant(images))
        model = keras.models.load_model(run / "model.keras")
        normalized = row(images.astype("float32"))
        np.testing.assert_allclose(served["probabilities"], keras.ops.softmax(model(normalized)), atol=1e-5)

    def test_the_model_file_has_the_card_and_names_a_digit(self, run, card, tmp_path):
        assert json.loads(keras_resnet.card(run / "model.keras").to_json()) == card
        images, labels = digits().test.images, digits().test.labels
        for index in range(3):
            (tmp_path / f"{index}.png").write_bytes(tf.io.encode_png(images[index]).numpy())
        paths = [str(tmp_path / f"{index}.png") for index in range(3)]
        shown = CliRunner().invoke(main, ["predict", str(run / "model.keras"), *paths, "--top", "1"]).stdout
        assert [line.split()[1] for line in shown.splitlines()[1::2]] == list(map(str, labels[:3]))

    def test_the_history_has_a_row_an_epoch(self, run):
        rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
        assert [int(row["epoch"]) for row in rows] == list(range(30))
        assert float(rows[-1]["val_accuracy"]) > 0.9

    def test_the_curves_are_a_picture(self, run):
        assert tf.image.decode_png((run / "curves.png").read_bytes()).shape[-1] == 4

    def test_a_second_run_leaves_the_first_alone(self, trained, run, monkeypatch):
        monkeypatch.chdir(trained[0])
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        again = invoked("train", "--stages", "[[16], [32]]", "--set", "epochs=1")
        assert again.exit_code == 0, again.output
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        assert {path.name for path in run.with_name("resnet20-digits-2").iterdir()} == FILES


class TestTheCommandLine:
    def test_lists_by_pattern(self):
        lines = CliRunner().invoke(main, ["list", "resnext50*"]).stdout.splitlines()
        assert len(lines) == 1
        assert "Aggregated Residual Transformations" in lines[0]

    def test_counts(self):
        assert "269,722 params      40,551,040 MACs" in CliRunner().invoke(main, ["list", "resnet20", "--count"]).stdout

    def test_summarizes_with_changes(self):
        arguments = ["summary", "resnet20", "--shortcut", "B", "--size", "16", "--classes", "5"]
        shown = CliRunner().invoke(main, arguments).stdout
        model = keras_resnet.ResNet20(shortcut="B", input_shape=(16, 16, 3), classes=5)
        assert shown.splitlines() == str(keras_resnet.complexity(model)).splitlines()

    def test_takes_every_field_of_a_row(self):
        options = ["--stages", "[[16], [32, 32]]", "--zero-init", "--drop-path", "0.1", "--se-ratio", "4"]
        shown = CliRunner().invoke(main, ["summary", "resnet20", *options]).stdout
        assert "stage2_block2_a_drop_path" in shown
        assert "stage3" not in shown

    @pytest.mark.parametrize(("field", "keys"), list(EVERY_KEY.items()))
    def test_takes_every_key_of_a_field(self, field, keys):
        (option,) = (option for option in main.get_command(None, "summary").params if option.name == field)
        assert {key for key in keys if option.type.convert(key, option, None) == key} == set(keys)

    @pytest.mark.parametrize("arguments", [(), ("list",), ("summary",), ("train",)])
    def test_helps(self, arguments):
        assert "Usage: " in CliRunner().invoke(main, [*arguments, "--help"]).stdout

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("summary", "resnet51"), "'resnet50'"),
            (("summary", "resnet50", "--groups", "3"), "`groups`"),
            (("summary", "densenet121", "--shortcut", "A"), "`config_changes`"),
            (("train", "--data", "digit"), "'digits'"),
            (("train", "--set", "epochs=0"), "`epochs`"),
            (("train", "resnet20", "--set", "epochs=1", "batch_size=5000"), "1295 training images"),
            (("train", "--set", "epoch=1"), "'epochs'"),
            (("train", "resnet20", "epochs"), "is not KEY=VALUE"),
            (("train", "--recipe", "he2051_cifar"), "'he2015_cifar'"),
            (("train", "--strategy", "multi_worker"), "TF_CONFIG"),
            (("train", "--freeze", "stage4"), "`until`"),
            (("train", "--size", "0"), "`input_shape`"),
            (("train", "--set", "drops=0.5"), "`drops`"),
            (("train", "--set", "epochs=1", "epochs=2"), "given twice"),
            (("train", "--set", 'network={"nonsense": 3}'), "`network`"),
            (
                ("train", "--recipe", "bag_of_tricks", "--set", "batch_size=16"),
                "images of 1 channels",
            ),
            (("train", "densenet121"), "at least 29 pixels"),
            (("train", "--stages", "null"), "is not a list"),
            (("list", "vgg*"), "No network matches"),
        ],
    )
    def test_says_what_is_wrong_and_leaves_nothing(self, arguments, message, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert not list(tmp_path.iterdir())


class TestTheRunFolder:
    def test_says_what_was_asked_for(self, run):
        assert Run.read(run) == Run(network="resnet20", data="digits")
        assert json.loads((run / "run.json").read_text())["command"] == "keras-resnet train resnet20 --data digits"
        known = json.loads((run / "run.json").read_text())
        assert Recipe(**known["recipe"]) == RECIPES["digits"]
        assert (known["data"]["shape"], known["data"]["train"]) == ([8, 8, 1], 1295)

    def test_evaluation_has_every_class_and_the_confusion(self, run, card):
        found = json.loads((run / "evaluation.json").read_text())
        assert found["accuracy"] == card["metrics"]["accuracy"]
        assert np.trace(found["confusion"]) / np.sum(found["confusion"]) == pytest.approx(found["accuracy"])
        assert list(found["per_class"]) == list("0123456789")

    def test_evaluate_says_the_same_from_the_command_line(self, run, card, tmp_path):
        result = CliRunner().invoke(
            main, ["evaluate", str(run / "model.keras"), "--data", "digits", "--confusion", str(tmp_path / "c.png")]
        )
        assert f"top-1 {card['metrics']['accuracy']:.2%}" in result.stdout
        assert tf.image.decode_png((tmp_path / "c.png").read_bytes()).shape[-1] == 4

    def test_an_ended_run_is_not_trained_again(self, trained, run, monkeypatch):
        monkeypatch.chdir(trained[0])
        before = (run / "checkpoint.npz").stat().st_mtime
        again = invoked("train", "--resume")
        assert again.exit_code == 0, again.output
        assert "had ended before" in again.stdout
        assert (run / "checkpoint.npz").stat().st_mtime == before

    def test_another_run_does_not_resume_it(self, trained, monkeypatch):
        monkeypatch.chdir(trained[0])
        again = invoked("train", "--resume", "--seed", "5")
        assert again.exit_code == 2
        assert "'seed': 0" in again.stderr


@pytest.mark.parametrize(
    "run",
    [
        Run(
            network="resnet20",
            data="cifar10",
            recipe="fast",
            seed=3,
            validation=500,
            on_error="skip",
            changes={"epochs": 2, "augment": {"flip": 0.5}},
        ),
        Run(network="resnet50", data="my photographs", weights="a b.keras", freeze="stage3", size=96, validation=0.1),
        Run(network="resnet20", data="digits", config={"zero_init": True, "shortcut": "B", "stages": [[16], [32]]}),
    ],
)
def test_the_command_of_a_run_is_that_run(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.keras").touch()
    found = []
    monkeypatch.setattr("keras_resnet.experiment.experiment", lambda run, output, resume: found.append(run))
    assert CliRunner().invoke(main, shlex.split(run.command)[1:]).exit_code == 0
    assert found == [run]


@pytest.mark.slow
def test_the_file_of_a_grouped_network_loads_without_this_package(tmp_path):
    config, changes = {"stages": [[32]], "stem_filters": 8, "groups": 4}, {"epochs": 1, "steps_per_epoch": 2}
    experiment(Run(network="resnext29_32x4d", data="digits", config=config, changes=changes), tmp_path, say=str)
    file = tmp_path / "resnext29_32x4d-digits" / "model.keras"
    loaded = "import keras, sys; keras.models.load_model(sys.argv[1]); assert 'keras_resnet' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", loaded, str(file)], check=True, cwd=tmp_path)
    assert keras_resnet.card(file).metrics["accuracy"] > 0


@pytest.mark.slow
class TestRuns:
    """Short ones, of the command. `tests/training` kills and resumes the runs of the fast tests."""

    def train(self, folder, *arguments):
        process = command("train", "resnet20", "--stages", "[[16], [32]]", *arguments, cwd=folder)
        assert process.returncode == 0, process.stderr
        return folder / "saved_models" / "resnet20-digits"

    def test_a_killed_command_resumes_to_the_same_model(self, tmp_path):
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        options = ["--set", "epochs=6", "steps_per_epoch=8", "network={}", "--drop-path", "0.2", "--resume"]
        for folder in (whole, killed):
            folder.mkdir()
        first = self.train(whole, *options)
        arguments = [sys.executable, "-m", "keras_resnet", "train", "resnet20", "--stages", "[[16], [32]]", *options]
        process = subprocess.Popen(arguments, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        history = killed / "saved_models" / "resnet20-digits" / "history.csv"
        while not history.exists() or len(history.read_text().splitlines()) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert not (history.parent / "card.json").exists()
        second = self.train(killed, *options)
        ours, theirs = (keras.models.load_model(run / "model.keras").get_weights() for run in (first, second))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_from_weights_the_frozen_part_stays_in_the_first_half_and_moves_in_the_second(self, tmp_path):
        start = self.train(tmp_path, "--set", "epochs=2") / "model.keras"
        options = "--freeze stage1 --size 8 --recipe finetune --set epochs=3 view=null"
        run = self.train(tmp_path, "--weights", str(start), *options.split()).with_name("resnet20-digits-2")
        assert len((run / "frozen" / "history.csv").read_text().splitlines()) == 1 + 2
        assert len((run / "history.csv").read_text().splitlines()) == 1 + 1
        before = keras.models.load_model(start)
        frozen, final = keras.models.clone_model(before), keras.models.load_model(run / "model.keras")
        frozen.load_weights(run / "frozen" / "best.weights.h5")
        for layer in before.layers:
            theirs = frozen.get_layer(layer.name).get_weights()
            same = [np.array_equal(a, b) for a, b in zip(layer.get_weights(), theirs, strict=True)]
            assert all(same) == (not layer.weights or layer.name.startswith(("stem", "stage1")))
        assert not np.array_equal(final.get_layer("stem_conv").kernel, before.get_layer("stem_conv").kernel)
        assert keras_resnet.card(run / "model.keras").weights == str(start)

    def test_two_devices_train_as_one_command(self, tmp_path):
        code = (
            "import tensorflow as tf; c = tf.config; two = [c.LogicalDeviceConfiguration()] * 2; "
            "c.set_logical_device_configuration(c.list_physical_devices('CPU')[0], two); "
            "from keras_resnet.cli import main; main()"
        )
        arguments = ["train", "resnet20", "--stages", "[[16], [32]]", "--strategy", "mirrored", "--set", "epochs=2"]
        process = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert "2 replicas on 1 worker; a global batch of 64, 32 each" in process.stdout
        assert (tmp_path / "saved_models" / "resnet20-digits" / "card.json").exists()


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


class TestFiles:
    def test_a_completed_file_appears_whole_or_not_at_all(self, tmp_path):
        with suppress(ZeroDivisionError), completed(tmp_path / "a") as partial:
            partial.write_text("half")
            _ = 1 / 0
        assert not list(tmp_path.iterdir())
        with completed(tmp_path / "a") as partial:
            partial.write_text("whole")
            assert not (tmp_path / "a").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_an_existing_file_is_refused(self, tmp_path):
        (tmp_path / "a").write_text("mine")
        with pytest.raises(ValueError, match="nothing exists"), completed(tmp_path / "a"):
            pass
        assert (tmp_path / "a").read_text() == "mine"

    def test_new_folders_are_numbered_and_empty_ones_removed(self, tmp_path):
        for name in ("run", "run-2", "run-3"):
            with new_folder(tmp_path / "runs", "run") as folder:
                (folder / "file").touch()
            assert folder.name == name
        with new_folder(tmp_path / "runs", "run"):
            pass
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["run", "run-2", "run-3"]


def test_a_card_writes_json_and_a_page(tmp_path):
    card = Card(
        network="n",
        config={"order": "pre"},
        input_shape=(8, 8, 1),
        params=12345,
        macs=6,
        recipe={},
        seed=0,
        data={"name": "d"},
        class_names=("a", "b"),
        preprocessing=Preprocessing((0.5,), (2.0,)),
        metrics={"accuracy": 0.5},
    )
    card.write(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["class_names"] == ["a", "b"]
    page = (tmp_path / "card.md").read_text()
    assert page.startswith("# n on d\n")
    assert "| params | 12,345 |" in page
    assert "| class_names | a, b |" in page
