"""The first trained network, from one command, and the parts that it is made of."""

import csv
import json
import shlex
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import keras_resnet
from keras_resnet.cli import main
from keras_resnet.data import digits
from keras_resnet.experiment import Run, experiment
from keras_resnet.modelcard import Card, Preprocessing
from keras_resnet.training import RECIPES, Recipe, evaluate, precision

EVERY_KEY = {"stem": keras_resnet.STEMS, "order": keras_resnet.ORDERS, "shortcut": keras_resnet.SHORTCUTS}
TRAINING = "best.weights.h5 checkpoint.npz checkpoint.before.npz history.csv run.json tensorboard"
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

    def test_the_first_line_says_what_was_decided(self, trained):
        first = trained[1].splitlines()[0]
        assert first.startswith("Training resnet20 on digits into saved_models/resnet20-digits: recipe digits (")
        for words in (
            "30 epochs",
            "batches of 64",
            "learning rate 0.1 (cosine)",
            f"images of 8x8x1, {precision.fastest()}",
            "1,295 images train, 143 validate and choose the epoch, 359 test",
        ):
            assert words in first

    def test_a_file_gets_a_line_an_epoch_and_no_escape_codes(self, trained):
        epochs = [line for line in trained[1].splitlines() if line.startswith("Epoch ")]
        assert [line.partition(":")[0] for line in epochs] == [f"Epoch {number}/30" for number in range(1, 31)]
        assert "\x1b" not in trained[1]

    def test_shows_ten_predictions_beside_the_truth(self, trained):
        _, _, shown = trained[1].partition("truth  prediction  probability\n")
        truth = [line.split()[0] for line in shown.splitlines()[:10]]
        prediction = [line.split()[1] for line in shown.splitlines()[:10]]
        assert truth == list(map(str, digits().test.labels[:10]))
        assert sum(map(str.__eq__, truth, prediction)) >= 9

    def test_leaves_these_files(self, run):
        assert {path.name for path in run.iterdir()} == FILES

    def test_the_card_says_how_it_was_made(self, run, card):
        assert keras_resnet.ResNetConfig(**card["config"]) == keras_resnet.NETWORKS["resnet20"]
        assert Recipe(**card["recipe"]) == replace(RECIPES["digits"], precision=precision.fastest())
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

    @pytest.mark.slow
    def test_a_second_run_leaves_the_first_alone(self, trained, run, monkeypatch):
        monkeypatch.chdir(trained[0])
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        again = invoked("train", "--stages", "[[16], [32]]", "--set", "epochs=1")
        assert again.exit_code == 0, again.output
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        assert {path.name for path in run.with_name("resnet20-digits-2").iterdir()} == FILES - {"checkpoint.before.npz"}


class TestTheCommandLine:
    def test_lists_by_pattern(self):
        lines = CliRunner().invoke(main, ["list", "resnext50_*"]).stdout.splitlines()
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
            (("summary", "resnet50", "--groups", "3"), "'--groups'"),
            (("summary", "densenet121", "--shortcut", "A"), "'--shortcut': expected no value"),
            (("train", "--data", "digit"), "'digits'"),
            (("train", "--set", "epochs=0"), "'--set epochs'"),
            (("train", "resnet20", "--set", "epochs=1", "batch_size=5000"), "1295 training images"),
            (("train", "--set", "epoch=1"), "'epochs'"),
            (("train", "resnet20", "epochs"), "is not KEY=VALUE"),
            (("train", "--recipe", "he2051_cifar"), "'he2015_cifar'"),
            (("train", "--strategy", "multi_worker"), "TF_CONFIG"),
            (("train", "--freeze", "stage4"), "'--freeze': expected one of stem, stage1, stage2, stage3, head"),
            (("train", "--size", "0"), "'--size'"),
            (("train", "--set", "drops=0.5"), "'--set drops'"),
            (("train", "--set", "epochs=1", "epochs=2"), "given twice"),
            (("train", "--set", 'network={"nonsense": 3}'), "'--set network'"),
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
        assert Recipe(**known["recipe"]) == replace(RECIPES["digits"], precision=precision.fastest())
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
    (tmp_path / "my photographs").mkdir()
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
        assert [row.partition(",")[0] for row in (run / "history.csv").read_text().splitlines()[1:]] == ["0", "1", "2"]
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
