"""Runs what an oracle draws, each trial in a folder of its own with a record."""

from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from keras_tuner import HyperParameters
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FatalError

from keras_resnet.files import DamagedError, DiskFullError, InUseError, disk_full_named, kept, write_json
from keras_resnet.tuning.budget import BUDGETS, Infeasible
from keras_resnet.tuning.hypermodel import EPOCHS, HyperResNet, as_json
from keras_resnet.tuning.oracles import SCORE, Budgeted
from keras_resnet.tuning.records import RECORD, Record, Say, read_record, records, summary_line

STATUSES = {"COMPLETED": "COMPLETED", "FAILED": "FAILED", "INFEASIBLE": "INVALID"}  # of a record -> keras-tuner's

NO_FAULT = (DamagedError, DiskFullError, InUseError)  # of a trial's, which can go on later


class Trials(BaseTuner):
    """A tuner of keras-tuner's that can be killed at any moment, and goes on with what is in the folder.

    Args:
        hypermodel: The space, the budget and the training.
        oracle: What draws.
        folder: Of the search; its trials are in `folder/trials`.
        say: Told of every trial that has ended.
        worker: Whether the oracle is another process', to which keras-tuner then passes all calls.
    """

    def __init__(self, hypermodel: HyperResNet, oracle: Budgeted, folder: Path, say: Say, worker: bool = False):
        self.ours, self.say, self.worker = hypermodel, say, worker
        self.record: Record = {}  # of the trial that runs
        super().__init__(oracle, hypermodel.draw, directory=str(folder), project_name=oracle.file.parent.name)
        if not worker and (oracle.file.exists() or kept(oracle.file).exists()):
            oracle.reload()
            self.repeat_lost()
        self.save()

    def repeat_lost(self) -> None:
        """Runs again the ended trials whose record is not there, from their checkpoints."""
        if self.oracle.damaged:
            self.say(f"{self.oracle.damaged}: resuming from the state before it.")
        for trial_id in self.oracle.end_order:
            if not read_record(Path(self.get_trial_dir(trial_id))):
                self.run_trial(self.oracle.trials[trial_id])

    def save(self) -> None:
        """The oracle alone: whoever goes on with the search reads its file, alone or as chief, by any id."""
        if not self.worker:
            self.oracle.save()

    def run_trial(self, trial: Trial, *_: Any, **__: Any) -> dict[str, float]:
        """The score; keras-tuner asks for a number, also of a trial without one.

        Raises:
            FatalError: Which ends the search, for what is no fault of the trial's.
        """
        try:
            return self.scored(trial)
        except NO_FAULT as error:
            raise FatalError(str(error)) from error

    def scored(self, trial: Trial) -> dict[str, float]:
        """A trial that ended right before a kill is kept, though the oracle had not heard of its end."""
        folder = Path(self.get_trial_dir(trial.trial_id))
        self.record = read_record(folder)
        if self.record.get("status", "RUNNING") == "RUNNING":
            self.record = {"trial": trial.trial_id, "status": "RUNNING", "values": {**trial.hyperparameters.values}}
            self.run(trial.hyperparameters, folder)
        self.say(summary_line(self.record))
        return {SCORE: self.record.get("score", -inf)}

    def run(self, hp: HyperParameters, folder: Path) -> None:
        """Into the record, which is written however the trial ends."""
        try:
            with disk_full_named(folder):
                self.train(hp, folder)
        except Infeasible as error:
            self.record.update(status="INFEASIBLE", reason=str(error))
        except NO_FAULT:
            raise
        except Exception as error:
            self.record.update(status="FAILED", reason=f"{type(error).__name__}: {error}")
        finally:
            write_json(folder / RECORD, self.record)

    def on_trial_end(self, trial: Trial) -> None:
        """Says how the trial ended: keras-tuner only knows whether `run_trial` returned and its score was reported."""
        reported = trial.status == "COMPLETED"
        trial.status = STATUSES[self.record["status"]] if reported else "FAILED"
        trial.message = trial.message or self.record.get("reason")
        super().on_trial_end(trial)

    def train(self, hp: HyperParameters, folder: Path) -> None:
        """Writes the record before the training too: what is known then is not measured again."""
        config, recipe = self.ours.draw(hp)
        resolved = self.ours.resolved(config, recipe, hp.values.get(EPOCHS))
        self.record.update(as_json({"config": asdict(config), "recipe": asdict(recipe), "run": asdict(resolved.run)}))
        self.record.update(command=resolved.run.command)

        def note(costs: Mapping[str, float]) -> None:
            self.record.update(costs)
            write_json(folder / RECORD, self.record)

        model, known = self.ours.network(resolved), self.known_costs(folder.parent)
        scores = self.ours.scored(model, resolved, folder / "run", costs=known, note=note)
        self.record.update(status="COMPLETED", score=scores[SCORE], epochs=scores["epochs"], seconds=scores["seconds"])

    def known_costs(self, folder: Path) -> dict[str, float] | None:
        """Of the same network in another trial, or before a kill: what was within the budget stays within."""
        same = (other for other in records(folder) if other.get("config") == self.record["config"])
        return next(({cost: other[cost] for cost in BUDGETS} for other in same if "latency_ms" in other), None)
