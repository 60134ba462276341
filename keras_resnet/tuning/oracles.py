"""keras-tuner's oracles, under a budget: what is over it does not count, and every file can be resumed from."""

import warnings
from functools import cmp_to_key
from itertools import takewhile
from pathlib import Path

import keras_tuner
from keras_tuner import oracles

from keras_resnet.files import write_json

SCORE = "val_accuracy"
INFEASIBLE_IN_A_ROW = 1000  # draws over the budget, after which a search gives up


class Budgeted(keras_tuner.Oracle):
    """An oracle of keras-tuner's that draws until so many networks were trained.

    A draw over the budget ends INVALID, is not tried again, and does not count: `max_trials` grows with it. Files are
    written whole or not at all, and what was killed between two of them is put in order when it is read again.
    """

    def __init__(self, trials: int, epochs: int, **options):
        self.wanted = trials
        super().__init__(objective=keras_tuner.Objective(SCORE, "max"), **options)
        self.verbose = 0

    @property
    def max_trials(self) -> int:
        return self.wanted + sum(trial.status == "INVALID" for trial in self.trials.values())

    @max_trials.setter
    def max_trials(self, _):
        """keras-tuner's constructors do."""

    @property
    def in_a_row(self) -> int:
        """The infeasible draws since the last trained one."""
        ended = (self.trials[trial].status for trial in reversed(self.end_order))
        return sum(1 for _ in takewhile(lambda status: status == "INVALID", ended))

    @property
    def gave_up(self) -> bool:
        return self.in_a_row >= INFEASIBLE_IN_A_ROW

    def populate_space(self, trial_id):
        return {"status": "STOPPED"} if self.gave_up else super().populate_space(trial_id)

    def _retry(self, trial):
        return False  # which leaves INVALID as it is, where keras-tuner makes it FAILED

    def _check_consecutive_failures(self):
        """Three diverged trials in a row do not end a search; one without any score does, in `search`."""

    @keras_tuner.synchronized
    def end_trial(self, trial):
        ours = self.trials[trial.trial_id].hyperparameters.values
        trial.hyperparameters.values.update(ours)  # a worker's have been through 32 bits, and would match no choice
        super().end_trial(trial)

    def save(self):
        write_json(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial):
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self):
        super().reload()
        self.trials = {trial: self.trials[trial] for trial in self.start_order}
        self._retry_queue = sorted({*self._retry_queue} - {*self.end_order}, reverse=True)


class Random(Budgeted, oracles.RandomSearchOracle):
    """keras-tuner's `RandomSearch`."""


class Bayesian(Budgeted, oracles.BayesianOptimizationOracle):
    """keras-tuner's `BayesianOptimization`, which would draw the same infeasible optimum for ever."""

    def populate_space(self, trial_id):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Gaussian process' fit
            found = super().populate_space(trial_id)
        again = found["status"] == "RUNNING" and self._duplicate(found["values"])
        return self._random_populate_space() if again else found


class Hyperband(Budgeted, oracles.HyperbandOracle):
    """keras-tuner's `Hyperband`, over and over up to so many trials, in brackets that these can fill."""

    def __init__(self, trials, epochs, **options):
        super().__init__(trials, epochs, max_epochs=epochs, hyperband_iterations=None, **options)

    def _get_num_brackets(self):
        brackets = range(super()._get_num_brackets())
        sizes = [sum(self._get_size(bracket, turn) for turn in range(bracket + 1)) for bracket in brackets]
        return max(1, sum(size <= self.wanted for size in sizes))

    @keras_tuner.synchronized
    def end_trial(self, trial):
        if trial.status != "COMPLETED":  # another draw takes its place, or the bracket would wait for its score
            for bracket in self._brackets:
                bracket["rounds"][0] = [known for known in bracket["rounds"][0] if known["id"] != trial.trial_id]
        super().end_trial(trial)


class Grid(Budgeted, oracles.GridSearchOracle):
    """keras-tuner's `GridSearch`, which leaves its place in the grid out of its state."""

    def reload(self):
        super().reload()
        values = {trial: self.trials[trial].hyperparameters.values for trial in self.start_order}
        for trial in sorted(values, key=cmp_to_key(lambda a, b: self._compare(values[a], values[b]))):
            self._ordered_ids.insert(trial)
        self._populate_next = list(self.end_order)


TUNERS: dict[str, type] = {"random": Random, "bayesian": Bayesian, "hyperband": Hyperband, "grid": Grid}
