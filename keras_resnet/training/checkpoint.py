"""What a killed run needs to end as if it had never been killed, in one file that is written whole or not at all."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from numbers import Number, Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet.checks import COUNT, FLAG, Rule, expect, expect_rule, invalid
from keras_resnet.files import checksum, expect_room, kept, opened_archive, read_last, read_state, replaced, synced
from keras_resnet.training.progress import keep_epochs
from keras_resnet.weights import foreign

IS_MAPPING = Rule(lambda value: isinstance(value, Mapping), "an object")
STATE = {  # of a run, beside its arrays
    "epochs": COUNT,
    "lowest": Rule(lambda value: isinstance(value, Real) and value == value, "a number"),
    "stopped": FLAG,
    "callbacks": Rule(lambda value: IS_MAPPING.holds(value) and all(map(IS_MAPPING.holds, value.values())), "objects"),
    "identity": IS_MAPPING,
}
Saved = tuple[dict[str, Any], foreign.File]  # the state, and the arrays of the variables


class Checkpoint(keras.callbacks.Callback):
    """Every epoch: all variables (the states of dropout, too), the optimizer's, and the numbers that callbacks keep.

    It stands last among the callbacks, so that what the others did in an epoch is in it. Keras' `BackupAndRestore`
    leaves out the dropouts' seeds and all callbacks, and writes in place. The epoch before it is `kept` too, for a last
    one that cannot be read.

    Args:
        path: Of the file, which every worker reads and the `writer` writes.
        others: The callbacks before it, of which the numbers among the attributes are kept: the best loss so far, the
            epochs waited, and so on.
        log: The file to which the epochs are logged; a resumed one continues where the checkpoint was written.
        best: The weights of the lowest validation loss go there; None: nothing is chosen.
        identity: What a run must have in common with the one that it resumes.
        writer: Whether this process writes.
        before: Epochs of the run's earlier parts, which are in the log too.
    """

    def __init__(
        self,
        path: Path,
        others: Sequence[keras.callbacks.Callback],
        log: Path,
        best: Path | None,
        identity: dict[str, Any],
        writer: bool = True,
        before: int = 0,
    ):
        super().__init__()
        self.path, self.others, self.log, self.best, self.before = path, others, log, best, before
        self.identity, self.writer = json.loads(json.dumps(identity)), writer
        self.epochs, self.lowest, self.failed, self.stopped = 0, float("inf"), False, False
        self.saved: foreign.File | None = None
        self.damaged = ""  # what is wrong with the last epoch, where the one before is taken
        if path.exists() or kept(path).exists():
            self.resume()

    def resume(self) -> None:
        """Takes over what the file has. The log ends again where it ended then."""
        (state, self.saved), self.damaged = read_last(self.path, self.read)
        self.check(state["identity"])
        self.epochs, self.lowest, self.stopped = state["epochs"], state["lowest"], state["stopped"]
        self.numbers = state["callbacks"]
        if self.writer:
            keep_epochs(self.log, self.before + self.epochs)
            if self.damaged:
                print(f"{self.damaged}: resuming after epoch {self.before + self.epochs}, the one before.")

    def read(self, path: Path) -> Saved:
        """What a checkpoint says that it has: all of it is whole, and the log has its epochs."""
        with opened_archive(path) as archive:
            for name in archive.namelist():
                checksum(archive, name)
        saved = foreign.declared(path, "npz")
        state = json.loads(saved.facts["texts"]["state"])
        for name, rule in STATE.items():
            expect_rule(rule, name, state[name])
        read_state(self.log, lambda log: expect_epochs(log, self.before + state["epochs"]))
        return state, saved

    def check(self, identity: dict[str, Any]) -> None:
        """Raises an ArgumentError unless the run is the one that is resumed."""
        differing = [key for key in self.identity if identity.get(key) != self.identity[key]]
        if differing:
            then, now = ({key: record.get(key) for key in differing} for record in (identity, self.identity))
            raise invalid("resume", f"the run as it was started, with {then}", now)

    @property
    def variables(self) -> dict[str, Any]:
        """Of the model, but for its metrics', of its optimizer and of the callbacks, by their places."""
        metrics = {id(variable) for variable in self.model.metrics_variables}
        kept = [variable for variable in self.model.variables if id(variable) not in metrics]
        others = [variable for callback in self.others for variable in getattr(callback, "variables", ())]
        everything = [*kept, *self.model.optimizer.variables, *others]
        return {f"{place:05}": variable for place, variable in enumerate(everything)}

    @property
    def named(self) -> dict[str, keras.callbacks.Callback]:
        """The other callbacks, by class and by how many of it came before."""
        classes = [type(callback).__name__ for callback in self.others]
        return {f"{name} {classes[:i].count(name)}": self.others[i] for i, name in enumerate(classes)}

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.saved:
            return
        variables = self.variables
        there = {name: array.shape for name, array in self.saved.arrays.items()}
        ours = {name: tuple(variable.shape) for name, variable in variables.items()}
        wanted = f"the one of {self.path}, with the same {len(there)} variables"
        expect(ours == there, "model", wanted, f"{self.model.name}, with {len(ours)}, or of other shapes")
        with whole(self.saved.path):
            saved = dict(foreign.values(self.saved, variables))
        for name, value in saved.items():
            variables[name].assign(value)
        for name, callback in self.named.items():
            vars(callback).update(self.numbers.get(name, {}))
        self.saved = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.failed = not all(np.isfinite(logs[key]) for key in ("loss", "val_loss") if key in logs)
        if self.failed:
            self.model.stop_training = True
            return
        self.epochs = epoch + 1 - self.before
        if self.best and logs["val_loss"] < self.lowest:
            self.lowest = logs["val_loss"]
            self.write_best(self.best)
        self.write()

    def write_best(self, best: Path) -> None:
        if self.writer:
            with replaced(best) as path:
                expect_room(path, self.room)
                self.model.save_weights(path)

    @property
    def room(self) -> int:
        """Bytes that HDF5 needs at most: 1.4 KB a variable besides its numbers."""
        stored = [*self.model.variables, *self.model.optimizer.variables]
        return sum(4 * prod(variable.shape) + 2048 for variable in stored)

    def write(self) -> None:
        if not self.writer:
            return
        state = {
            "epochs": self.epochs,
            "lowest": float(self.lowest),
            "stopped": self.model.stop_training,
            "callbacks": {name: numbers_of(callback) for name, callback in self.named.items()},
            "identity": self.identity,
        }
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in self.variables.items()}
        synced(self.log)
        with replaced(self.path, keep=not self.damaged) as path, open(path, "wb") as file:
            np.savez(file, state=json.dumps(state, default=float), **arrays)
        self.damaged = ""


def expect_epochs(log: Path, count: int) -> None:
    there = log.read_bytes().count(b"\n") - 1
    expect(there >= count, "epochs", f"the {count} epochs of the checkpoint", there)


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """What a damaged file raises becomes an ArgumentError."""
    try:
        yield
    except (foreign.UnreadableError, KeyError, ValueError) as error:
        raise invalid("resume", f"a whole checkpoint ({error})", str(path)) from error


def numbers_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Those among its attributes."""
    return {name: value for name, value in vars(callback).items() if isinstance(value, Number)}
