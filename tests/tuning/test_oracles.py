"""Oracles: budgets that hold for every tuner of keras-tuner's, kills at any place, and searches from before."""

import json
import math

import keras_tuner
import numpy as np
import pytest

from helpers.searches import RECIPE, search, statuses, width, widths
from keras_resnet import ResNetConfig
from keras_resnet.tuning import keras_tuner_private, oracles, trials
from keras_resnet.tuning.hypermodel import HyperResNet
from keras_resnet.tuning.oracles import TUNERS, Budgeted
from keras_resnet.tuning.outcome import SearchError

pytestmark = [  # of keras-tuner 1.4.8
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def one_kernel(monkeypatch):
    """The Bayesian tuner's kernel stays as it is: to optimize it takes most of the time of these tests."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    fit = GaussianProcessRegressor.fit
    monkeypatch.setattr(
        GaussianProcessRegressor, "fit", lambda self, *data: fit(self.set_params(optimizer=None), *data)
    )


@pytest.mark.parametrize("tuner", TUNERS)
class TestEveryTuner:
    def test_trains_so_many_networks_and_none_over_the_budget(self, tuner, quick, tmp_path):
        outcome = search(widths, "digits", tmp_path / "s", tuner=tuner, trials=7, max_params=300)
        assert len(quick) == 7
        assert all(width(resolved) <= 28 for resolved in quick)
        ended = [trial["status"] for trial in outcome.trials]
        assert ended.count("COMPLETED") == 7
        assert ended.count("INFEASIBLE") == len(ended) - 7 > 0
        over = next(trial for trial in outcome.trials if trial["status"] == "INFEASIBLE")
        assert over["reason"] == f"params {over['params']} > max_params=300"
        assert outcome.best["score"] == max(trial.get("score", 0) for trial in outcome.trials)

    def test_gives_up_and_names_the_budget_and_the_smallest_network(self, tuner, quick, tmp_path, monkeypatch):
        monkeypatch.setattr(oracles, "INFEASIBLE_IN_A_ROW", 7)
        with pytest.raises(SearchError) as error:
            search(widths, "digits", tmp_path / "s", tuner=tuner, max_macs=10)
        drawn = [trial["macs"] for trial in json.loads((tmp_path / "s" / "trials.json").read_text())]
        assert len(drawn) == 7
        assert not quick
        assert "max_macs=10" in str(error.value)
        assert f"{min(drawn):,} MACs: keras-resnet train" in str(error.value)

    def test_goes_on_after_a_kill_as_if_there_had_been_none(self, tuner, quick, tmp_path, monkeypatch):
        given = dict(tuner=tuner, trials=7, max_params=300)
        search(widths, "digits", tmp_path / "whole", **given)
        whole, train = commands(quick), HyperResNet.trained
        quick.clear()

        def killed(self, model, resolved, folder, callbacks=()):
            if len(quick) in killing:
                killing.remove(len(quick))
                raise KeyboardInterrupt
            return train(self, model, resolved, folder)

        killing = [0, 3, 6]
        monkeypatch.setattr(HyperResNet, "trained", killed)
        while killing:
            with pytest.raises(KeyboardInterrupt):
                search(widths, "digits", tmp_path / "s", **given, resume=True)
        search(widths, "digits", tmp_path / "s", **given, resume=True)
        assert len(quick) == 7
        assert commands(quick) == whole or tuner == "bayesian"  # of which a process has its own draws
        assert statuses(tmp_path / "s").count("COMPLETED") == 7

    def test_goes_on_after_a_kill_at_any_file(self, tuner, quick, tmp_path, monkeypatch):
        """Each file that a search writes is once the one that it is killed at, before it is written."""
        given, written, write_json = dict(tuner=tuner, trials=3, max_params=300), set(), oracles.write_json
        search(widths, "digits", tmp_path / "whole", **given)
        whole = commands(quick)
        quick.clear()

        def killed(path, content, **settings):
            if (known := (path.name, json.dumps(content))) not in written:
                written.add(known)
                raise KeyboardInterrupt
            write_json(path, content, **settings)

        for module in (oracles, trials):
            monkeypatch.setattr(module, "write_json", killed)
        kills = 0
        while True:
            try:
                search(widths, "digits", tmp_path / "s", **given, resume=True)
                break
            except KeyboardInterrupt:
                kills += 1
        assert kills == len(written) > 3 * 4
        assert commands(quick) == [command for command in whole for _ in range(2)]  # killed at its end, once
        assert statuses(tmp_path / "s") == statuses(tmp_path / "whole")

    def test_keeps_ended_trials_under_another_id(self, tuner, quick, tmp_path, monkeypatch):
        given = dict(tuner=tuner, max_params=300, resume=True)
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
        search(widths, "digits", tmp_path / "s", trials=3, **given)
        monkeypatch.delenv("KERASTUNER_TUNER_ID")
        search(widths, "digits", tmp_path / "s", trials=5, **given)
        assert len(quick) == 5
        assert statuses(tmp_path / "s").count("COMPLETED") == 5

    def test_goes_on_with_a_search_that_had_each_trial_in_a_file_of_its_own(self, tuner, quick, tmp_path):
        given = dict(tuner=tuner, max_params=300)
        search(widths, "digits", tmp_path / "whole", trials=5, **given)
        whole = commands(quick)
        quick.clear()
        search(widths, "digits", tmp_path / "s", trials=3, **given)
        as_before_the_trials_were_in_the_state(tmp_path / "s" / "trials")
        search(widths, "digits", tmp_path / "s", trials=5, **given, resume=True)
        assert commands(quick) == whole
        assert statuses(tmp_path / "s") == statuses(tmp_path / "whole")

    def test_ends_without_more_networks_than_the_space_has(self, tuner, quick, tmp_path):
        def two(hp):
            return ResNetConfig(stages=((hp.Choice("width", [4, 8]),),)), RECIPE

        said = []
        outcome = search(two, "digits", tmp_path / "s", tuner=tuner, trials=5, say=said.append)
        assert {width(resolved) for resolved in quick} == {4, 8}
        assert len(quick) == 2 == len(outcome.trials)
        assert any("the space has no more" in line for line in said)


def commands(quick):
    return [resolved.run.command for resolved in quick]


def as_before_the_trials_were_in_the_state(folder):
    """keras-tuner's files of trials, in which what was over the budget stayed INVALID."""
    state = json.loads((folder / "oracle.json").read_text())
    infeasible = state.pop("infeasible")
    del state["trials"]
    (folder / "oracle.json").write_text(json.dumps(state))
    for trial_id in infeasible:
        path = folder / f"trial_{trial_id}" / "trial.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "INVALID"}))


def test_hyperband_promotes_the_best_to_more_epochs(quick, tmp_path):
    search(widths, "digits", tmp_path / "s", tuner="hyperband", trials=22, max_params=300)
    epochs = [resolved.recipe.epochs for resolved in quick]
    assert [epochs.count(number) for number in (4, 10, 30)] == [15, 5, 2]
    first = sorted({width(resolved) for resolved in quick[:15]})
    assert {width(resolved) for resolved in quick[20:]} <= set(first[:3])


def test_the_grid_has_every_combination_the_last_parameter_first(quick, tmp_path):
    def grid(hp):
        stage = (hp.Choice("width", [4, 8]),) * hp.Int("depth", 1, 3, default=2)
        return ResNetConfig(stages=(stage,)), RECIPE

    search(grid, "digits", tmp_path / "s", tuner="grid", trials=10)
    drawn = [resolved.config.stages[0] for resolved in quick]
    assert drawn == [(4, 4), (4,), (4, 4, 4), (8, 8), (8,), (8, 8, 8)]


def test_the_grid_waits_for_trials_that_run_elsewhere(tmp_path):
    """They may still show a parameter that nobody knew."""
    oracle = TUNERS["grid"](5, 3, tmp_path)
    keras_tuner.Tuner(oracle, lambda hp: hp.Choice("width", [4, 8]), directory=tmp_path, project_name="trials")
    first, second, third = (oracle.create_trial(worker) for worker in ("one", "two", "three"))
    assert (first.status, second.status, third.status) == ("RUNNING", "RUNNING", "IDLE")
    for trial in (first, second):
        oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.create_trial("three").status == "STOPPED"


def test_what_a_worker_sends_back_in_32_bits_is_the_value_that_was_drawn(tmp_path):
    oracle = TUNERS["random"](5, 3, tmp_path)
    keras_tuner.Tuner(oracle, lambda hp: hp.Float("lr", 0.0, 1.0), directory=tmp_path, project_name="trials")
    trial = oracle.create_trial("worker")
    drawn = trial.hyperparameters.values["lr"]
    sent = keras_tuner.engine.trial.Trial(trial.hyperparameters.copy(), trial.trial_id, "FAILED")
    sent.hyperparameters.values = {"lr": float(np.float32(drawn))}
    oracle.end_trial(sent)
    assert oracle.trials[trial.trial_id].hyperparameters.values == {"lr": drawn}


def test_failures_count_as_trials_and_never_end_a_search(quick, tmp_path, monkeypatch):
    def failing(self, model, resolved, folder, callbacks=()):
        raise FloatingPointError("The loss was not a finite number")

    monkeypatch.setattr(HyperResNet, "trained", failing)
    with pytest.raises(SearchError, match=r"5 failed.\ntrial 0: FAILED FloatingPointError: The loss"):
        search(widths, "digits", tmp_path / "s", trials=5)
    assert statuses(tmp_path / "s") == ["FAILED"] * 5
    state = json.loads((tmp_path / "s" / "trials" / "oracle.json").read_text())
    assert {trial["status"] for trial in state["trials"].values()} == {"FAILED"}
    assert not state["infeasible"]


def test_a_score_that_does_not_reach_the_oracle_is_a_failure(quick, tmp_path, monkeypatch):
    def lost(self, *arguments, **others):
        raise OSError("no connection")

    monkeypatch.setattr(Budgeted, "update_trial", lost)
    search(widths, "digits", tmp_path / "s", trials=2)
    state = json.loads((tmp_path / "s" / "trials" / "oracle.json").read_text())
    assert [trial["status"] for trial in state["trials"].values()] == ["FAILED"] * 2
    assert not state["infeasible"]


def test_a_chief_takes_up_the_search_of_one_process(quick, tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr("keras_tuner.src.distribute.oracle_chief.start_server", served.append)
    search(widths, "digits", tmp_path / "s", trials=3)
    for name, value in (("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1"), ("TUNER_ID", "chief")):
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    search(widths, "digits", tmp_path / "s", trials=3, resume=True)
    assert [trial.status for trial in served[0].trials.values()] == ["COMPLETED"] * 3


def test_keras_tuner_still_has_its_private_names():
    private = {"_get_num_brackets", "_get_size", "_brackets"}
    oracle = keras_tuner.oracles.HyperbandOracle(keras_tuner.Objective("score", "max"))
    assert private <= set(dir(oracle))
    assert hasattr(keras_tuner.oracles.GridSearchOracle, "_get_next_combination")
    assert keras_tuner_private.FillableHyperband.__mro__[1] is keras_tuner.oracles.HyperbandOracle
    assert math.isclose(oracle._get_size(0, 0), 6)
