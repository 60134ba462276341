"""keras-tuner's oracles, under a budget: what is over it does not count, and a killed search goes on from one file."""

import json
import sys
import warnings
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial

from keras_resnet.files import read_json, read_last, write_json
from keras_resnet.tuning.keras_tuner_private import FillableHyperband, next_combination

SCORE = "val_accuracy"
INFEASIBLE_IN_A_ROW = 1000  # draws over the budget, after which a search gives up
KEPT = ("status", "score", "message")  # of a trial, beside its values


class Budgeted(keras_tuner.Oracle):
    """An oracle of keras-tuner's that draws until so many networks were trained.

    A draw over the budget is reported as INVALID. It is not tried again and does not count: `max_trials` grows with it.
    No number of failures in a row ends a search; `search` raises an error if no trial has a score.

    The state includes the trials. It is written into `oracle.json`, whole or not at all.
    """

    def __init__(self, trials: int, epochs: int, folder: Path, **options: Any):
        self.wanted, self.file = trials, folder / "oracle.json"
        self.infeasible: list[str] = []
        self.damaged = ""  # what is wrong with the file, where the one before is taken
        objective = keras_tuner.Objective(SCORE, "max")
        super().__init__(objective=objective, max_consecutive_failed_trials=sys.maxsize, **options)
        self.verbose = 0

    @property
    def max_trials(self) -> int:
        return self.wanted + len(self.infeasible)

    @max_trials.setter
    def max_trials(self, _):
        """keras-tuner's constructors do."""

    @property
    def in_a_row(self) -> int:
        """The infeasible draws since the last trained one."""
        return sum(1 for _ in takewhile(self.infeasible.__contains__, reversed(self.end_order)))

    @property
    def gave_up(self) -> bool:
        return self.in_a_row >= INFEASIBLE_IN_A_ROW

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        return {"status": "STOPPED"} if self.gave_up else super().populate_space(trial_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        drawn = self.trials[trial.trial_id].hyperparameters.values
        trial.hyperparameters.values.update(drawn)  # a worker's have been through 32 bits, and would match no choice
        if trial.status == "INVALID":
            self.infeasible.append(trial.trial_id)
        super().end_trial(trial)  # which makes INVALID, without retries, FAILED

    def save(self) -> None:
        write_json(self.file, self.get_state(), keep=not self.damaged)
        self.damaged = ""

    def reload(self) -> None:
        """A state that cannot be read falls back to the one before it: a record tells what has ended since."""
        _, self.damaged = read_last(self.file, self.take_over)

    def take_over(self, file: Path) -> None:
        state = json.loads(file.read_bytes())
        self.set_state(state if "trials" in state else with_trials(state, file.parent))

    def get_state(self) -> dict[str, Any]:
        trials = {trial_id: remembered(self.trials[trial_id]) for trial_id in self.start_order}
        return {**super().get_state(), "trials": trials, "infeasible": self.infeasible}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Trials that were started and not ended are run first, in their order: keras-tuner takes the queue's last."""
        pending = [trial_id for trial_id in state["start_order"] if trial_id not in state["end_order"]]
        super().set_state({**state, "ongoing_trials": {}, "retry_queue": pending[::-1]})
        self.trials = {trial_id: self.restored(trial_id, known) for trial_id, known in state["trials"].items()}
        self.infeasible = state["infeasible"]

    def restored(self, trial_id: str, known: Mapping[str, Any]) -> Trial:
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = known["values"]
        trial = Trial(hyperparameters, trial_id, known["status"], known["message"])
        trial.score = known["score"]
        return trial


def remembered(trial: Trial) -> dict[str, Any]:
    return {"values": trial.hyperparameters.values, **{key: getattr(trial, key) for key in KEPT}}


def with_trials(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The state of a search from before the trials were in it: each had a file of its own."""

    def kept(trial_id):
        file = read_json(folder / f"trial_{trial_id}" / "trial.json")
        return {"values": file["hyperparameters"]["values"], **{key: file[key] for key in KEPT}}

    trials = {trial_id: kept(trial_id) for trial_id in state["start_order"]}
    infeasible = [trial_id for trial_id in state["end_order"] if trials[trial_id]["status"] == "INVALID"]
    return {**state, "trials": trials, "infeasible": infeasible}


class Random(Budgeted, oracles.RandomSearchOracle):
    """keras-tuner's `RandomSearch`."""


class Bayesian(Budgeted, oracles.BayesianOptimizationOracle):
    """keras-tuner's `BayesianOptimization`, which would draw the same infeasible optimum for ever."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Gaussian process' fit
            draw = super().populate_space(trial_id)
        drawn = [trial.hyperparameters.values for trial in self.trials.values()]
        again = draw["status"] == "RUNNING" and draw["values"] in drawn
        return oracles.RandomSearchOracle.populate_space(self, trial_id) if again else draw


class Hyperband(Budgeted, FillableHyperband):
    """keras-tuner's `Hyperband`, over and over up to so many trials, in brackets that these can fill."""

    def __init__(self, trials: int, epochs: int, folder: Path, **options: Any):
        super().__init__(trials, epochs, folder, max_epochs=epochs, hyperband_iterations=None, **options)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        if trial.status != "COMPLETED":
            self.leave_bracket(trial.trial_id)
        super().end_trial(trial)


class Grid(Budgeted, oracles.GridSearchOracle):
    """keras-tuner's `GridSearch`, which goes on from the trials themselves: their order is the place in the grid."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.gave_up or not self.start_order:
            return super().populate_space(trial_id)  # of the first trial: the defaults
        drawn = [self.trials[trial_id].hyperparameters.values for trial_id in self.start_order]
        following = (next_combination(self, values) for values in reversed(drawn))
        values = next((values for values in following if values and values not in drawn), None)
        if values is None:  # an ongoing trial may still show a parameter that nobody knew
            return {"status": "IDLE" if self.ongoing_trials else "STOPPED"}
        return {"status": "RUNNING", "values": values}


TUNERS: dict[str, type[Budgeted]] = {"random": Random, "bayesian": Bayesian, "hyperband": Hyperband, "grid": Grid}
