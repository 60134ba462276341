"""Searches: the spaces' rows, budgets that hold for every tuner, kills, and what a search leaves."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import keras
import keras_tuner
import numpy as np
import pytest
from click.testing import CliRunner

import keras_resnet
from keras_resnet import NETWORKS, RECIPES, ResNetConfig, complexity
from keras_resnet.cli import main
from keras_resnet.data import digits
from keras_resnet.tuning import oracles, trials
from keras_resnet.tuning import search as tuning
from keras_resnet.tuning.search import HyperResNet, SearchError, search
from keras_resnet.tuning.spaces import RESIZED, SPACES
from keras_resnet.tuning.trials import front

pytestmark = [  # of keras-tuner 1.4.8
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]
RECIPE = replace(RECIPES["digits"], epochs=30)
BASES = ("resnet20", "resnet50", "wide_resnet28_10", "pyramidnet110_a48", "resnext29_8x64d", "resnext50_32x4d",
         "densenet40_k12", "fractalnet20", "resnetrs50", "plain20")  # fmt: skip


def drawn(space, config, seed):
    """A random one."""
    hp = keras_tuner.HyperParameters()
    space(hp, config, RECIPE)
    hp.values = {known.name: known.random_sample(seed + place) for place, known in enumerate(hp.space)}
    return space(hp, config, RECIPE)


class TestSpaces:
    @pytest.mark.parametrize("space", SPACES)
    @pytest.mark.parametrize("base", BASES)
    def test_draw_rows_without_contradictions(self, space, base):
        others = {"shortcut_order": ("dense", "fractal"), "cardinality": ("dense", "fractal", "pyramid")}
        if base.startswith(others.get(space, ())):
            with pytest.raises(ValueError, match="`network`"):
                drawn(SPACES[space], NETWORKS[base], 0)
            return
        rows = {str(drawn(SPACES[space], NETWORKS[base], 100 * seed)) for seed in range(20)}
        assert len(rows) > 1

    @pytest.mark.parametrize("base", ["resnet20", "resnet50", "wide_resnet28_10", "densenet40_k12", "fractalnet20"])
    def test_width_depth_starts_from_the_base_network(self, base):
        assert SPACES["width_depth"](keras_tuner.HyperParameters(), NETWORKS[base], RECIPE)[0] == NETWORKS[base]

    def test_width_depth_knows_every_family(self):
        assert {type(row) for row in NETWORKS.values()} == set(RESIZED)

    @pytest.mark.parametrize("seed", range(20))
    def test_stages_do_not_narrow_so_that_shortcuts_may_pad(self, seed):
        config = drawn(SPACES["width_depth"], NETWORKS["resnet20"], 100 * seed)[0]
        channels = [config.stem_filters, *(width for stage in config.stages for width in stage)]
        assert all(a <= b for a, b in pairwise(channels))
        assert config.shortcut == "A"

    def test_cardinality_is_the_papers_trade_off(self):
        """Xie et al. 2017, table 2: 1 x 64d, 2 x 40d, 4 x 24d, 8 x 14d, 32 x 4d."""
        hp, found = keras_tuner.HyperParameters(), {}
        for groups in (1, 2, 4, 8, 32):
            hp.values = {"cardinality": groups}
            config = SPACES["cardinality"](hp, NETWORKS["resnet50"], RECIPE)[0]
            found[config.groups] = config.width(256) / config.groups
        assert found == {1: 64, 2: 40, 4: 24, 8: 14, 32: 4}

    def test_bottlenecks_from_basic_blocks_cost_as_much(self):
        config = SPACES["cardinality"](keras_tuner.HyperParameters(), NETWORKS["resnet20"], RECIPE)[0]
        assert (config.branch, config.stages[0]) == ("bottleneck", (64,) * 3)
        ours, theirs = (complexity(keras_resnet.resnet(row)).macs for row in (config, NETWORKS["resnet20"]))
        assert ours == pytest.approx(theirs, rel=0.1)

    def test_regularization_changes_what_the_family_has(self):
        hp = keras_tuner.HyperParameters()
        SPACES["regularization"](hp, NETWORKS["densenet40_k12"], RECIPE)
        assert [known.name for known in hp.space] == ["dropout", "head_dropout"]

    @pytest.mark.parametrize("space", SPACES)
    def test_rows_survive_the_32_bits_of_a_worker(self, space):
        class Worker(keras_tuner.HyperParameters):
            def Float(self, *args, **kwargs):  # noqa: N802
                return float(np.float32(super().Float(*args, **kwargs)))

        hp, worker = keras_tuner.HyperParameters(), Worker()
        assert SPACES[space](hp, NETWORKS["resnet20"], RECIPE) == SPACES[space](worker, NETWORKS["resnet20"], RECIPE)


def record(trial, score, params, macs, latency):
    return {"trial": trial, "score": score, "params": params, "macs": macs, "latency_ms": latency}


class TestTheFront:
    def test_has_what_nothing_else_beats(self):
        best, small, dominated = record(0, 0.9, 9, 9, 9), record(1, 0.5, 1, 1, 1), record(2, 0.8, 9, 9, 10)
        assert front([best, small, dominated]) == [best, small]

    @pytest.mark.parametrize("cost", range(3))
    def test_keeps_what_is_cheaper_in_one_cost_alone(self, cost):
        costs = [5, 5, 5]
        costs[cost] = 4
        trials = [record(0, 0.9, 5, 5, 5), record(1, 0.8, *costs)]
        assert front(trials) == trials

    def test_keeps_equals(self):
        trials = [record(0, 0.9, 5, 5, 5), record(1, 0.9, 5, 5, 5)]
        assert front(trials) == trials


def widths(hp):
    """48 networks, of which the wide ones are over the budget of `quick`."""
    width, stem = hp.Int("width", 4, 64, step=4, default=64), hp.Choice("stem", ["cifar", "deep", "imagenet"])
    return ResNetConfig(stages=((width,),), stem_filters=4, stem=stem), RECIPE


@pytest.fixture
def quick(monkeypatch):
    """Searches that build and train nothing; the runs that they would have trained."""
    trained = []

    def costs(self, run):
        width = run.config["stages"][0][0]
        found = {"params": 10 * width, "macs": 100 * width}
        return found if self.excess(found) else {**found, "latency_ms": width / 10}

    def train(self, model, run, folder, callbacks=()):
        trained.append(run)
        return {"val_accuracy": 1 / run.config["stages"][0][0], "val_loss": 1.0, "epochs": 1, "seconds": 0.0}

    monkeypatch.setattr(HyperResNet, "check", lambda self: None)
    monkeypatch.setattr(HyperResNet, "network", lambda self, run: run)
    monkeypatch.setattr(HyperResNet, "costs", costs)
    monkeypatch.setattr(HyperResNet, "trained", train)
    monkeypatch.setattr(tuning, "exported", lambda *arguments: None)
    monkeypatch.setattr(trials, "plot_front", lambda *arguments: None)
    return trained


def statuses(folder):
    return [trial["status"] for trial in json.loads((folder / "trials.json").read_text())]


@pytest.mark.parametrize("tuner", oracles.TUNERS)
class TestEveryTuner:
    def test_trains_so_many_networks_and_none_over_the_budget(self, tuner, quick, tmp_path):
        found = search(widths, "digits", tmp_path / "s", tuner=tuner, trials=7, max_params=300, say=lambda _: None)
        assert len(quick) == 7
        assert all(run.config["stages"][0][0] <= 28 for run in quick)
        ended = [trial["status"] for trial in found.trials]
        assert ended.count("COMPLETED") == 7
        assert ended.count("INFEASIBLE") == len(ended) - 7 > 0
        over = next(trial for trial in found.trials if trial["status"] == "INFEASIBLE")
        assert over["reason"] == f"params {over['params']} > max_params=300"
        assert found.best["score"] == max(trial.get("score", 0) for trial in found.trials)

    def test_gives_up_and_names_the_budget_and_the_smallest_network(self, tuner, quick, tmp_path, monkeypatch):
        monkeypatch.setattr(oracles, "INFEASIBLE_IN_A_ROW", 7)
        with pytest.raises(SearchError) as error:
            search(widths, "digits", tmp_path / "s", tuner=tuner, max_macs=10, say=lambda _: None)
        drawn = [trial["macs"] for trial in json.loads((tmp_path / "s" / "trials.json").read_text())]
        assert len(drawn) == 7
        assert not quick
        assert "max_macs=10" in str(error.value)
        assert f"{min(drawn):,} MACs: keras-resnet train" in str(error.value)

    def test_goes_on_after_a_kill_as_if_there_had_been_none(self, tuner, quick, tmp_path, monkeypatch):
        given = dict(tuner=tuner, trials=7, max_params=300, say=lambda _: None)
        search(widths, "digits", tmp_path / "whole", **given)
        whole, train = [run.command for run in quick], HyperResNet.trained
        quick.clear()

        def killed(self, model, run, folder, callbacks=()):
            if len(quick) in killing:
                killing.remove(len(quick))
                raise KeyboardInterrupt
            return train(self, model, run, folder)

        killing = [0, 3, 6]
        monkeypatch.setattr(HyperResNet, "trained", killed)
        while killing:
            with pytest.raises(KeyboardInterrupt):
                search(widths, "digits", tmp_path / "s", **given, resume=True)
        search(widths, "digits", tmp_path / "s", **given, resume=True)
        assert len(quick) == 7
        assert [run.command for run in quick] == whole or tuner == "bayesian"  # of which a process has its own draws
        assert statuses(tmp_path / "s").count("COMPLETED") == 7

    def test_keeps_ended_trials_under_another_id(self, tuner, quick, tmp_path, monkeypatch):
        given = dict(tuner=tuner, max_params=300, resume=True, say=lambda _: None)
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
        search(widths, "digits", tmp_path / "s", trials=3, **given)
        monkeypatch.delenv("KERASTUNER_TUNER_ID")
        search(widths, "digits", tmp_path / "s", trials=5, **given)
        assert len(quick) == 5
        assert statuses(tmp_path / "s").count("COMPLETED") == 5

    def test_ends_without_more_networks_than_the_space_has(self, tuner, quick, tmp_path):
        def two(hp):
            return ResNetConfig(stages=((hp.Choice("width", [4, 8]),),)), RECIPE

        said = []
        found = search(two, "digits", tmp_path / "s", tuner=tuner, trials=5, say=said.append)
        assert {run.config["stages"][0][0] for run in quick} == {4, 8}
        assert len(quick) == 2 == len(found.trials)
        assert any("the space has no more" in line for line in said)


class TestSearch:
    def test_hyperband_promotes_the_best_to_more_epochs(self, quick, tmp_path):
        search(widths, "digits", tmp_path / "s", tuner="hyperband", trials=22, max_params=300, say=lambda _: None)
        epochs = [run.changes.get("epochs", 30) for run in quick]
        assert [epochs.count(number) for number in (4, 10, 30)] == [15, 5, 2]
        first = sorted({run.config["stages"][0][0] for run in quick[:15]})
        assert {run.config["stages"][0][0] for run in quick[20:]} <= set(first[:3])

    def test_raises_with_the_reasons_where_all_trials_failed(self, quick, tmp_path, monkeypatch):
        def failing(self, model, run, folder, callbacks=()):
            raise FloatingPointError("The loss was not a finite number")

        monkeypatch.setattr(HyperResNet, "trained", failing)
        with pytest.raises(SearchError, match=r"5 failed.\ntrial 0: FAILED FloatingPointError: The loss"):
            search(widths, "digits", tmp_path / "s", trials=5, say=lambda _: None)
        assert statuses(tmp_path / "s") == ["FAILED"] * 5

    def test_the_best_is_one_that_was_completed(self, quick, tmp_path, monkeypatch):
        train = HyperResNet.trained

        def failing(self, model, run, *arguments):
            if len(quick) < 4:
                quick.append(run)
                raise MemoryError
            return train(self, model, run, *arguments)

        monkeypatch.setattr(HyperResNet, "trained", failing)
        found = search(widths, "digits", tmp_path / "s", trials=6, say=lambda _: None)
        assert [trial["status"] for trial in found.trials] == ["FAILED"] * 4 + ["COMPLETED"] * 2
        assert found.best in found.trials[4:]

    def test_leaves_a_table_and_a_command_that_repeats_a_trial(self, quick, tmp_path):
        found = search(widths, "digits", tmp_path / "s", trials=4, max_latency_ms=5, say=lambda _: None)
        rows = list(csv.DictReader((tmp_path / "s" / "pareto.csv").read_text().splitlines()))
        assert [float(row["accuracy"]) for row in rows] == [trial["score"] for trial in found.front]
        assert set(rows[0]) == {"trial", "accuracy", "params", "macs", "latency_ms"}
        again = next(trial for trial in found.trials if trial["status"] == "COMPLETED")
        assert again["command"] == quick[0].command
        assert ResNetConfig(**again["config"]) == tuning.zoo.row(quick[0].network, **quick[0].config)

    def test_refuses_another_search_of_the_folder(self, quick, tmp_path):
        search(widths, "digits", tmp_path / "s", trials=2, say=lambda _: None)
        with pytest.raises(ValueError, match="`folder`"):
            search(widths, "digits", tmp_path / "s", trials=2)
        with pytest.raises(ValueError, match="`resume`"):
            search(widths, "digits", tmp_path / "s", trials=2, resume=True, max_params=50)
        search(widths, "digits", tmp_path / "s", trials=3, resume=True, say=lambda _: None)
        assert len(quick) == 3

    def test_a_chief_takes_up_the_search_of_one_process(self, quick, tmp_path, monkeypatch):
        served = []
        monkeypatch.setattr("keras_tuner.src.distribute.oracle_chief.start_server", served.append)
        search(widths, "digits", tmp_path / "s", trials=3, say=lambda _: None)
        for name, value in (("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1"), ("TUNER_ID", "chief")):
            monkeypatch.setenv(f"KERASTUNER_{name}", value)
        search(widths, "digits", tmp_path / "s", trials=3, resume=True, say=lambda _: None)
        assert [trial.status for trial in served[0].trials.values()] == ["COMPLETED"] * 3

    def test_leaves_a_folder_alone_that_is_not_a_searchs(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(ValueError, match="`folder`"):
            search("width_depth", "digits", tmp_path, resume=True)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_what_a_recipe_sets_of_the_network_is_in_the_row(self, quick):
        hypermodel = HyperResNet("optimizer", "digits", network="wide_resnet16_4", recipe="wrn_dropout")
        config, recipe = hypermodel.draw(keras_tuner.HyperParameters())
        assert (config.dropout, recipe.network) == (0.3, {})
        run = hypermodel.run(config, recipe)
        assert (run.network, run.config) == ("wide_resnet16_4", {"dropout": 0.3})
        assert tuning.recipe_for(run, hypermodel.source) == recipe

    @pytest.mark.parametrize(
        ("row", "recipe", "field", "value"),
        [
            ("wide_resnet16_4", "wrn_dropout", "dropout", 0.3),
            ("resnet50", "bag_of_tricks", "zero_init", True),
            ("resnet18", "cifar100", "stem", "cifar"),
            ("densenet40_k12", "fractalnet", "dropout", 0.4),  # and has no drop_path
        ],
    )
    def test_what_an_own_spaces_recipe_sets_of_the_network_is_in_the_row(self, row, recipe, field, value):
        hypermodel = HyperResNet(lambda hp: (NETWORKS[row], recipe), "digits")
        config, found = hypermodel.draw(keras_tuner.HyperParameters())
        assert (config, found.network) == (replace(NETWORKS[row], **{field: value}), {})
        run = hypermodel.run(config, found)
        assert hypermodel.build(keras_tuner.HyperParameters()).card.config[field] == value
        assert (run.network, run.config) == (row, {field: value})

    def test_what_a_space_draws_is_not_the_recipes_to_set(self):
        def space(hp):
            return replace(NETWORKS["wide_resnet16_4"], dropout=hp.Float("dropout", 0, 0.5, default=0.1)), "wrn_dropout"

        assert HyperResNet(space, "digits").draw(keras_tuner.HyperParameters())[0].dropout == 0.1

    @pytest.mark.parametrize(("field", "argument"), [("zero_init", "zero_init"), ("droput", "network")])
    def test_an_own_spaces_recipe_that_cannot_set_the_row_is_an_error(self, field, argument):
        recipe = replace(RECIPE, network={field: True})
        with pytest.raises(ValueError, match=f"`{argument}`"):
            HyperResNet(lambda hp: (NETWORKS["plain20"], recipe), "digits").check()

    @pytest.mark.parametrize(
        ("given", "argument"),
        [
            ({"space": "width"}, "space"),
            ({"space": lambda hp: 3}, "space"),
            ({"trials": 0}, "trials"),
            ({"tuner": "genetic"}, "tuner"),
            ({"max_params": -1}, "max_params"),
            ({"max_macs": "5M"}, "max_macs"),
            ({"max_latency_ms": 0}, "max_latency_ms"),
            ({"patience": 0}, "patience"),
            ({"seed": -1}, "seed"),
            ({"strategy": "multi_worker"}, "strategy"),
            ({"network": "resnet21"}, "network"),
            ({"recipe": "he2051"}, "recipe"),
            ({"changes": {"epoch": 1}}, "set"),
            ({"space": widths, "network": "resnet20"}, "network"),
            ({"space": "cardinality", "network": "densenet40_k12"}, "network"),
            ({"data": "digits", "validation": 0.1}, "validation"),
            ({"retrain": 1}, "retrain"),
        ],
    )
    def test_says_what_is_wrong_and_leaves_nothing(self, given, argument, tmp_path):
        given = {"space": "width_depth", "data": "digits", **given}
        with pytest.raises(ValueError, match=f"`{argument}`"):
            search(given.pop("space"), given.pop("data"), tmp_path / "s", **given)
        assert not list(tmp_path.iterdir())

    def test_says_which_variables_of_keras_tuner_are_missing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        with pytest.raises(ValueError, match="KERASTUNER_ORACLE_PORT and KERASTUNER_TUNER_ID"):
            search("width_depth", "digits", tmp_path / "s", resume=True)

    def test_the_command_passes_its_options_on(self, monkeypatch, tmp_path):
        found = []
        monkeypatch.setattr(tuning, "search", lambda *arguments, **options: found.append((arguments, options)))
        options = ["--max-macs", "5M", "--max-params", "300k", "--trials", "3", "--set", "epochs=2", "lr=0.2"]
        result = CliRunner().invoke(main, ["search", *options, "--tuner", "grid"])
        assert result.exit_code == 0, result.output
        ((space, data, folder), given), = found  # fmt: skip
        assert (space, data, str(folder)) == ("width_depth", "digits", "searches/width_depth-digits")
        assert (given["max_macs"], given["max_params"], given["trials"]) == (5_000_000, 300_000, 3)
        assert (given["changes"], given["tuner"]) == ({"epochs": 2, "lr": 0.2}, "grid")


class NeverRead:
    """A test split that may be counted, and no more."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getattr__(self, name):
        raise AssertionError(f"the test's {name} was read")


def tiny(hp):
    return ResNetConfig(stages=((hp.Choice("width", [4, 8, 64]),),), stem_filters=4), replace(RECIPE, epochs=1)


@pytest.fixture
def few():
    source = digits()
    return replace(source, train=source.train[:128], validation=source.validation[:64], test=source.test[:16])


@pytest.fixture
def own(few, tmp_path, monkeypatch):
    """keras-tuner's own tuners, which train next to nothing; the runs that they would have trained, and from where."""
    trained = []

    def train(self, model, run, folder, callbacks=(), verbose=0):
        trained.append((run, float(model.weights[0].numpy().sum())))
        model.weights[0].assign_add([[1.0]])
        for callback in callbacks:
            callback.set_model(model)
            callback.on_epoch_end(0, {"val_accuracy": 0.5})
        return {"val_accuracy": 0.5}

    def tuner(kind, **given):
        return kind(HyperResNet(widths, few), objective="val_accuracy", directory=tmp_path, project_name=kind.__name__,
                    seed=1, **given)  # fmt: skip

    def network(self, run):
        return keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])

    monkeypatch.setattr(HyperResNet, "network", network)
    monkeypatch.setattr(HyperResNet, "costs", lambda *_: {})
    monkeypatch.setattr(HyperResNet, "trained", train)
    return tuner, trained


class TestTrials:
    def test_are_scored_on_the_validation_split_and_never_read_the_test(self, few, tmp_path, monkeypatch):
        monkeypatch.setattr(tuning, "exported", lambda *arguments: None)
        hidden = replace(few, test=NeverRead(few.test))
        found = search(tiny, hidden, tmp_path / "s", trials=2, max_params=10_000, patience=1)
        assert sum(trial["status"] == "COMPLETED" for trial in found.trials) == 2
        assert found.best["score"] * 64 == pytest.approx(round(found.best["score"] * 64))
        assert found.best["latency_ms"] > 0
        assert (tmp_path / "s" / "pareto.png").read_bytes().startswith(b"\x89PNG")
        built = keras_resnet.resnet(ResNetConfig(**found.best["config"]), input_shape=(8, 8, 1))
        assert (found.best["params"], found.best["macs"]) == (complexity(built).params, complexity(built).macs)

    def test_hold_images_out_where_there_is_no_validation_split(self, few):
        hypermodel = HyperResNet(tiny, replace(few, validation=None))
        assert (len(hypermodel.source.train), len(hypermodel.source.validation)) == (115, 13)
        assert hypermodel.base.validation == 0.1

    @pytest.mark.parametrize(("patience", "epochs"), [(None, 15), (4, 4)])
    def test_stop_early_and_score_the_weights_that_are_delivered(self, few, monkeypatch, patience, epochs):
        def train(model, source, recipe, folder, *, callbacks, **_):
            assert [(type(stop).__name__, stop.monitor, stop.patience) for stop in callbacks] == [
                ("EarlyStopping", "val_loss", epochs)
            ]
            return [
                dict(val_loss=loss, val_accuracy=score, seconds=1.0) for loss, score in ((3, 0), (1, 0.5), (2, 0.9))
            ]

        monkeypatch.setattr(tuning, "train", train)
        hypermodel = HyperResNet(lambda hp: (tiny(hp)[0], RECIPE), few, patience=patience)
        found = hypermodel.trained(None, hypermodel.run(*hypermodel.draw(keras_tuner.HyperParameters())), None)
        assert found == {"val_accuracy": 0.5, "val_loss": 1, "epochs": 3, "seconds": 3.0}

    def test_have_the_epochs_of_keras_tuners_own_tuners(self, own):
        tuner, trained = own
        tuner(keras_tuner.RandomSearch, max_trials=1).search(epochs=2, verbose=0)
        tuner(keras_tuner.Hyperband, max_epochs=3).search(verbose=0)
        assert [run.changes["epochs"] for run, _ in trained] == [2, 1, 1, 1, 3, 3, 3]
        assert {start for _, start in trained} == {0}

    @pytest.mark.parametrize(
        ("given", "argument"),
        [
            ({"batch_size": 3}, "search"),
            ({"x": [1]}, "search"),
            ({"epochs": 0}, "epochs"),
            ({"initial_epoch": 1}, "initial_epoch"),
        ],
    )
    def test_refuse_what_the_search_of_such_a_tuner_cannot_pass_on(self, own, given, argument):
        tuner, trained = own
        with pytest.raises(ValueError, match=f"`{argument}`"):
            tuner(keras_tuner.RandomSearch, max_trials=5).search(**given, verbose=0)
        assert not trained

    @pytest.mark.slow
    def test_run_under_keras_tuners_own_tuners(self, few, tmp_path):
        tuner = keras_tuner.RandomSearch(
            HyperResNet(tiny, few, max_params=10_000), objective="val_accuracy", max_trials=3, seed=1,
            directory=str(tmp_path), max_consecutive_failed_trials=4,
        )  # fmt: skip
        tuner.search()
        ended = [trial.status for trial in tuner.oracle.trials.values()]
        assert sorted(ended) == ["COMPLETED", "COMPLETED", "FAILED"]


SHORT = ["--max-macs", "200k", "--set", "epochs=3", "steps_per_epoch=3"]
COMMAND = [sys.executable, "-m", "keras_resnet", "search", *SHORT]


def environment(**more):
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}


@pytest.mark.slow
class TestTheCommandSearch:
    def test_killed_and_resumed_repeats_no_trial_and_exports_the_best(self, tmp_path):
        trials = tmp_path / "searches" / "width_depth-digits" / "trials"
        arguments = [*COMMAND, "--trials", "3", "--resume"]
        process = subprocess.Popen(arguments, cwd=tmp_path, env=environment(), start_new_session=True)
        while not any('"COMPLETED"' in path.read_text() for path in trials.glob("*/record.json")):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = {path: path.stat().st_mtime_ns for path in trials.glob("*/record.json")
                  if '"COMPLETED"' in path.read_text()}  # fmt: skip
        done = subprocess.run(
            [*arguments, "--retrain"], cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert {path: path.stat().st_mtime_ns for path in before} == before
        records = json.loads((trials.parent / "trials.json").read_text())
        assert sum(known["status"] == "COMPLETED" for known in records) == 3
        assert all(known["macs"] <= 200_000 for known in records if known["status"] == "COMPLETED")
        (run,) = trials.parent.glob("retrained-*/*")
        card = keras_resnet.card(run / "model.keras")
        best = max((known for known in records if "score" in known), key=lambda known: known["score"])
        assert card.config["stages"] in [known["config"]["stages"] for known in records
                                         if known.get("score") == best["score"]]  # fmt: skip
        assert card.metrics["accuracy"] == json.loads((run / "evaluation.json").read_text())["accuracy"]

    def test_a_chief_and_two_workers_share_a_search(self, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = dict(KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_ORACLE_PORT=port)
        processes = {
            name: subprocess.Popen([*COMMAND, "--trials", "4", "--resume", "--max-macs", "400k"], cwd=tmp_path,
                                   env=environment(KERASTUNER_TUNER_ID=name, **shared), text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for name in ("chief", "worker0", "worker1")
        }  # fmt: skip
        said = {name: process.communicate(timeout=900)[0] for name, process in processes.items()}
        assert all(process.returncode == 0 for process in processes.values()), said
        folder = tmp_path / "searches" / "width_depth-digits"
        records = json.loads((folder / "trials.json").read_text())
        assert sum(known["status"] == "COMPLETED" for known in records) == 4
        assert all("%" in said[worker] for worker in ("worker0", "worker1"))
        assert len(list(folder.glob("best-*/*/card.json"))) == 1

    def test_two_devices_share_a_trial(self, tmp_path):
        code = (
            "import tensorflow as tf; c = tf.config; two = [c.LogicalDeviceConfiguration()] * 2; "
            "c.set_logical_device_configuration(c.list_physical_devices('CPU')[0], two); "
            "from keras_resnet.cli import main; main()"
        )
        arguments = [sys.executable, "-c", code, "search", *SHORT, "--strategy", "mirrored", "--trials", "1"]
        process = subprocess.run(arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        assert "2 replicas on 1 worker" in process.stdout
        (run,) = (tmp_path / "searches" / "width_depth-digits").glob("best-*/*")
        assert (run / "card.json").exists()
