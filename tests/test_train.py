"""The first trained network, from one command, and the parts that it is made of."""

import csv
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import keras_resnet
from keras_resnet.card import Card, Preprocessing
from keras_resnet.cli import main
from keras_resnet.data import SOURCES, Source, digits, evaluation_batches, training_batches
from keras_resnet.data.pipeline import pad_crop
from keras_resnet.export import export, predict_in_fresh_process
from keras_resnet.files import completed, new_folder
from keras_resnet.training import RECIPES, Recipe, accuracy, train
from keras_resnet.training.train import optimizer

EVERY_KEY = {"stem": keras_resnet.STEMS, "order": keras_resnet.ORDERS, "shortcut": keras_resnet.SHORTCUTS}
FILES = {"card.json", "card.md", "curves.png", "history.csv", "model.keras", "saved_model"}


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "keras_resnet", *arguments], cwd=cwd, capture_output=True, text=True, timeout=600
    )


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


@pytest.mark.xdist_group("trained")
class TestTheCommandTrain:
    def test_reaches_98_percent_on_held_out_digits(self, card):
        assert card["metrics"]["accuracy"] >= 0.98
        assert card["data"]["test"] == 359

    def test_shows_a_progress_bar_and_ten_predictions_beside_the_truth(self, trained):
        assert "20/20" in trained[1]
        _, _, shown = trained[1].partition("truth  prediction  probability\n")
        truth = [line.split()[0] for line in shown.splitlines()[:10]]
        prediction = [line.split()[1] for line in shown.splitlines()[:10]]
        assert truth == list(map(str, digits().test[1][:10]))
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
        assert accuracy(model, digits(), digits().test) == pytest.approx(card["metrics"]["accuracy"])

    def test_the_saved_model_takes_pixels_and_gives_the_models_probabilities(self, run):
        images, _ = digits().test
        served = predict_in_fresh_process(run / "saved_model", images)
        model = keras.models.load_model(run / "model.keras")
        normalized = Preprocessing(digits().mean, digits().std)(images.astype("float32"))
        np.testing.assert_allclose(served, keras.ops.softmax(model(normalized)), atol=1e-5)

    def test_the_model_file_has_the_card_and_names_a_digit(self, run, card, tmp_path):
        assert json.loads(keras_resnet.card(run / "model.keras").to_json()) == card
        images, labels = digits().test
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

    def test_a_second_run_leaves_the_first_alone(self, trained, run):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        again = command("train", "--epochs", "1", cwd=trained[0])
        assert again.returncode == 0, again.stderr
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
        (option,) = (option for option in main.commands["summary"].params if option.name == field)
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
            (("train", "--data", "mnist"), "'digits'"),
            (("train", "--epochs", "0"), "`epochs`"),
            (("train", "--batch-size", "5000"), "1295 training images"),
            (("train", "--network", "densenet121"), "at least 29 pixels"),
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


class TestData:
    def test_splits_are_fixed_apart_and_whole(self):
        source = digits()
        parts = [source.train, source.validation, source.test]
        assert sum(len(labels) for _, labels in parts) == 1797
        np.testing.assert_array_equal(np.bincount(source.test[1]), [35, 37, 35, 37, 36, 36, 36, 36, 35, 36])
        assert len(np.unique(np.concatenate([images.reshape(-1, 64) for images, _ in parts]), axis=0)) == 1797
        assert (source.shape, source.train[0].dtype, source.train[0].max()) == ((8, 8, 1), np.uint8, 255)

    def test_equals_the_published_digits(self):
        """The sum of all 8x8 values (0 to 16) of optdigits.tes, as scikit-learn has it."""
        source = digits()
        pixels = np.concatenate([images for images, _ in (source.train, source.validation, source.test)])
        assert np.round(pixels * (16 / 255)).sum() == 561_718

    def test_training_batches_repeat_under_a_seed_and_differ_without(self):
        first, second, other = (
            [(x.numpy(), y.numpy()) for x, y in training_batches(digits().train, 64, seed, 1).take(45)]
            for seed in (3, 3, 4)
        )
        for (x, y), (x_again, y_again) in zip(first, second, strict=True):
            np.testing.assert_array_equal(x, x_again)
            np.testing.assert_array_equal(y, y_again)
        assert any((y != y_other).any() for (_, y), (_, y_other) in zip(first, other, strict=True))

    def test_an_epoch_of_training_batches_has_each_image_once(self):
        images = np.arange(40, dtype="uint8").reshape(40, 1, 1, 1)
        batches = list(training_batches((images, np.arange(40, dtype="int32")), 8, seed=0, padding=0).take(5))
        assert sorted(np.concatenate([y for _, y in batches])) == list(range(40))
        assert all((x[:, 0, 0, 0].numpy() == y.numpy()).all() for x, y in batches)

    def test_evaluation_batches_have_every_example_once_in_order(self):
        images, labels = digits().test
        batches = list(evaluation_batches((images, labels), 100))
        np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), images)
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), labels)

    @pytest.mark.parametrize("inside_map", [False, True])
    def test_pad_crop_moves_by_up_to_the_padding_with_zeros_behind(self, inside_map):
        images = np.ones((500, 5, 6, 2), "uint8")
        if inside_map:
            batch = tf.data.Dataset.from_tensors(images)
            moved = next(iter(batch.map(lambda x: pad_crop(x, 2, (1, 2))))).numpy()
        else:
            moved = pad_crop(tf.constant(images), 2, (1, 2)).numpy()
        heights = moved.max((2, 3)).sum(1)
        widths = moved.max((1, 3)).sum(1)
        assert set(heights) == {3, 4, 5}
        assert set(widths) == {4, 5, 6}
        np.testing.assert_array_equal(moved.sum((1, 2, 3)), 2 * heights * widths)
        shares = [np.mean(heights == rows) for rows in (3, 4, 5)]
        np.testing.assert_allclose(shares, [2 / 5, 2 / 5, 1 / 5], atol=0.07)

    def test_no_padding_moves_nothing(self):
        images = digits().train[0][:10]
        np.testing.assert_array_equal(pad_crop(tf.constant(images), 0, (1, 2)), images)


def interrupted_after(batches):
    """Ctrl-C in the batch after so many."""
    left = iter(range(batches))

    def on_train_batch_end(self, batch, logs=None):
        if next(left, None) is None:
            raise KeyboardInterrupt

    return on_train_batch_end


class TestTraining:
    def tiny(self, **changes):
        source = digits()
        few = replace(source, train=tuple(part[:64] for part in source.train))
        config = keras_resnet.ResNetConfig(stages=((4,), (8,)), stem_filters=4)
        model = keras_resnet.resnet(config, **{"input_shape": few.shape, "classifier_activation": None} | changes)
        return model, few

    def test_warms_up_to_the_rate_and_falls_to_zero(self):
        rate = optimizer(Recipe(epochs=10, learning_rate=0.2, warmup=0.2), steps=100)._learning_rate
        written_out = {0: 0.0, 10: 0.1, 20: 0.2, 60: 0.1, 100: 0.0}
        assert {step: float(rate(step)) for step in written_out} == pytest.approx(written_out, abs=1e-6)

    def test_keeps_the_weights_of_the_lowest_validation_loss(self, tmp_path):
        model, source = self.tiny()
        train(model, source, Recipe(epochs=6, batch_size=16, learning_rate=0.5), tmp_path, verbose=0)
        rows = csv.DictReader((tmp_path / "history.csv").read_text().splitlines())
        lowest = min(float(row["val_loss"]) for row in rows)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        x = Preprocessing(source.mean, source.std)(source.validation[0].astype("float32"))
        assert float(loss(keras.ops.one_hot(source.validation[1], 10), model(x))) == pytest.approx(lowest, rel=1e-4)

    @pytest.mark.parametrize(
        ("changes", "recipe", "message"),
        [
            ({}, Recipe(epochs=1, batch_size=65), "`batch_size`"),
            ({"classes": 7}, Recipe(epochs=1, batch_size=8), "`model`"),
            ({"input_shape": (16, 16, 1)}, Recipe(epochs=1, batch_size=8), "`model`"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, recipe, message, tmp_path):
        model, source = self.tiny(**changes)
        with pytest.raises(ValueError, match=message):
            train(model, source, recipe, tmp_path)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(("batches", "epochs"), [(9, 2), (4, 1)])
    def test_keeps_the_best_epoch_when_interrupted(self, batches, epochs, tmp_path, monkeypatch):
        model, source = self.tiny()
        monkeypatch.setattr(keras.callbacks.TerminateOnNaN, "on_train_batch_end", interrupted_after(batches))
        assert train(model, source, Recipe(epochs=9, batch_size=16), tmp_path, verbose=0) == epochs
        assert {path.name for path in tmp_path.iterdir()} == {"history.csv", "model.keras"}
        assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + epochs

    def test_leaves_nothing_when_interrupted_in_the_first_epoch(self, tmp_path, monkeypatch):
        model, source = self.tiny()
        monkeypatch.setattr(keras.callbacks.TerminateOnNaN, "on_train_batch_end", interrupted_after(3))
        with pytest.raises(KeyboardInterrupt):
            train(model, source, Recipe(epochs=9, batch_size=16), tmp_path, verbose=0)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["model.keras", "history.csv"])
    def test_an_earlier_run_is_refused_before_training(self, name, tmp_path, monkeypatch):
        model, source = self.tiny()
        (tmp_path / name).write_text("earlier")
        monkeypatch.setattr(keras.Model, "fit", None)
        with pytest.raises(ValueError, match="nothing exists"):
            train(model, source, Recipe(epochs=1, batch_size=16), tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]

    def test_says_when_the_loss_is_not_a_number(self, tmp_path):
        model, source = self.tiny()
        model.get_layer("predictions").kernel.assign(np.full((8, 10), np.nan))
        with pytest.raises(FloatingPointError, match="not a number"):
            train(model, source, Recipe(epochs=2, batch_size=16), tmp_path, verbose=0)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "field", ["epochs", "batch_size", "learning_rate", "warmup", "momentum", "nesterov", "padding"]
    )
    def test_recipes_are_checked(self, field):
        with pytest.raises(ValueError, match=f"`{field}`.*Received: {field}='much'"):
            replace(RECIPES["digits"], **{field: "much"})

    def test_every_source_has_a_recipe(self):
        assert set(RECIPES) == set(SOURCES)

    def test_recipes_are_json(self):
        for recipe in RECIPES.values():
            assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


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

    def test_an_export_is_not_overwritten(self, tmp_path):
        model = keras_resnet.ResNet20(input_shape=(8, 8, 1))
        (tmp_path / "saved_model").mkdir()
        with pytest.raises(ValueError, match="nothing exists"):
            export(model, tmp_path / "saved_model", Preprocessing((0.0,), (1.0,)))

    def test_a_model_that_ends_in_softmax_is_exported_as_it_is(self, tmp_path):
        keras.utils.set_random_seed(0)
        model = keras_resnet.ResNet20(input_shape=(8, 8, 1))
        export(model, tmp_path / "saved_model", Preprocessing((0.0,), (255.0,)))
        images = digits().test[0][:3]
        served = predict_in_fresh_process(tmp_path / "saved_model", images)
        np.testing.assert_allclose(served, model(images / np.float32(255)), atol=1e-5)

    def test_a_broken_export_says_so(self, tmp_path):
        with pytest.raises(RuntimeError, match="did not run"):
            predict_in_fresh_process(tmp_path / "missing", digits().test[0][:1])


def test_a_card_writes_json_and_a_page(tmp_path):
    card = Card(network="n", config={"order": "pre"}, input_shape=(8, 8, 1), params=12345, macs=6, recipe={}, seed=0,
                data={"name": "d"}, class_names=("a", "b"), preprocessing=Preprocessing((0.5,), (2.0,)),
                metrics={"accuracy": 0.5})  # fmt: skip
    card.write(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["class_names"] == ["a", "b"]
    page = (tmp_path / "card.md").read_text()
    assert page.startswith("# n on d\n")
    assert "| params | 12,345 |" in page
    assert "| class_names | a, b |" in page


def test_sources_are_described_by_their_training_images_alone():
    source = digits()
    assert isinstance(source, Source)
    assert source.mean == pytest.approx([source.train[0].mean()])
    assert source.std == pytest.approx([source.train[0].std()])
