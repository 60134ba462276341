"""Searches: what they leave, what they refuse, and what they say."""

import csv
from dataclasses import replace

import pytest
from click.testing import CliRunner

from helpers.searches import RECIPE, search, widths
from keras_resnet import ResNetConfig
from keras_resnet.cli import main
from keras_resnet.networks import zoo
from keras_resnet.tuning.hypermodel import HyperResNet

pytestmark = [  # of keras-tuner 1.4.8
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]


def test_the_best_is_one_that_was_completed(quick, tmp_path, monkeypatch):
    train = HyperResNet.trained

    def failing(self, model, resolved, *arguments):
        if len(quick) < 4:
            quick.append(resolved)
            raise MemoryError
        return train(self, model, resolved, *arguments)

    monkeypatch.setattr(HyperResNet, "trained", failing)
    outcome = search(widths, "digits", tmp_path / "s", trials=6)
    assert [trial["status"] for trial in outcome.trials] == ["FAILED"] * 4 + ["COMPLETED"] * 2
    assert outcome.best in outcome.trials[4:]


def test_leaves_a_table_and_a_command_that_repeats_a_trial(quick, tmp_path):
    said = []
    outcome = search(widths, "digits", tmp_path / "s", trials=4, max_latency_ms=5, say=said.append)
    table = list(csv.DictReader((tmp_path / "s" / "pareto.csv").read_text().splitlines()))
    assert [float(line["accuracy"]) for line in table] == [trial["score"] for trial in outcome.front]
    assert set(table[0]) == {"trial", "accuracy", "params", "macs", "latency_ms"}
    again = next(trial for trial in outcome.trials if trial["status"] == "COMPLETED")
    assert again["command"] == quick[0].run.command
    assert ResNetConfig(**again["config"]) == zoo.row(quick[0].run.network, **quick[0].run.config) == quick[0].config
    cost = f"{again['params']:,} params, {again['macs']:,} MACs, {again['latency_ms']:.3g} ms"
    assert f"trial {again['trial']}: {again['score']:.2%}, {cost}, 1 epochs in 0 s" in said


def test_refuses_another_search_of_the_folder(quick, tmp_path):
    search(widths, "digits", tmp_path / "s", trials=2)
    with pytest.raises(ValueError, match="`folder`"):
        search(widths, "digits", tmp_path / "s", trials=2)
    with pytest.raises(ValueError, match="`resume`"):
        search(widths, "digits", tmp_path / "s", trials=2, resume=True, max_params=50)
    search(widths, "digits", tmp_path / "s", trials=3, resume=True)
    assert len(quick) == 3


def test_a_network_that_was_measured_is_not_measured_again(quick, tmp_path, monkeypatch):
    """Its latency could be over the budget the second time."""

    def space(hp):
        config = ResNetConfig(stages=((hp.Choice("width", [4]),),), stem_filters=4)
        return config, replace(RECIPE, lr=hp.Choice("lr", [0.1, 0.2, 0.3]))

    measured, costs = [], HyperResNet.costs
    monkeypatch.setattr(HyperResNet, "costs", lambda self, model: measured.append(model) or costs(self, model))
    outcome = search(space, "digits", tmp_path / "s", trials=3)
    assert (len(measured), len(quick)) == (1, 3)
    assert {trial["latency_ms"] for trial in outcome.trials} == {0.4}


def test_leaves_a_folder_alone_that_is_not_a_searchs(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="`folder`"):
        search("width_depth", "digits", tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


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
def test_says_what_is_wrong_and_leaves_nothing(given, argument, tmp_path):
    given = {"space": "width_depth", "data": "digits", **given}
    with pytest.raises(ValueError, match=f"`{argument}`"):
        search(given.pop("space"), given.pop("data"), tmp_path / "s", **given)
    assert not list(tmp_path.iterdir())


def test_says_which_variables_of_keras_tuner_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(ValueError, match="KERASTUNER_ORACLE_PORT and KERASTUNER_TUNER_ID"):
        search("width_depth", "digits", tmp_path / "s", resume=True)


def test_the_command_passes_its_options_on(monkeypatch):
    calls = []
    monkeypatch.setattr("keras_resnet.tuning.search.search", lambda *given, **options: calls.append((given, options)))
    options = ["--max-macs", "5M", "--max-params", "300k", "--trials", "3", "--set", "epochs=2", "lr=0.2"]
    result = CliRunner().invoke(main, ["search", *options, "--tuner", "grid"])
    assert result.exit_code == 0, result.output
    (((space, data, folder), given),) = calls
    assert (space, data, str(folder)) == ("width_depth", "digits", "searches/width_depth-digits")
    assert (given["max_macs"], given["max_params"], given["trials"]) == (5_000_000, 300_000, 3)
    assert (given["changes"], given["tuner"]) == ({"epochs": 2, "lr": 0.2}, "grid")
