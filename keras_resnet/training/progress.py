"""What a training shows and logs of every epoch."""

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_resnet.files import read_state, replaced
from keras_resnet.machine import on_terminal

Epochs = list[dict[str, float]]  # the rows of a history.csv
BAR, LINES = 1, 2  # of `verbose`


@dataclass(frozen=True)
class Part:
    """A part of a run: its epochs are counted on, and all parts share one log."""

    folder: str = ""  # of its checkpoint, below the run's
    before: int = 0  # epochs of the parts before it
    epochs: int | None = None  # of all parts together; None where this is the last one


class Measured(keras.callbacks.Callback):
    """Adds the learning rate and the seconds to what an epoch logs."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        logs.update(learning_rate=float(rate), seconds=time.perf_counter() - self.began)


class Counted(keras.callbacks.Callback):
    """Lets Keras' progress bar count the epochs of all parts of a run."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def set_params(self, params: dict[str, Any]) -> None:
        params["epochs"] = self.epochs  # Keras hands the bar the same dict, behind this
        super().set_params(params)


class Lines(keras.callbacks.Callback):
    """Prints a line an epoch, without the escape codes of Keras' own."""

    def __init__(self, epochs: int, watched: str):
        super().__init__()
        self.epochs, self.watched = epochs, watched

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        kinds = {"": "", "val_": f"{self.watched} "}
        shown = [
            f"{name}loss {logs[f'{key}loss']:.4f}, accuracy {logs[f'{key}accuracy']:.2%}"
            for key, name in kinds.items()
            if f"{key}loss" in logs
        ]
        shown.append(f"rate {logs['learning_rate']:.3g}, {logs['seconds']:.1f} s")
        print(f"Epoch {epoch + 1}/{self.epochs}: {'; '.join(shown)}", flush=True)


def usual_verbosity() -> int:
    """A progress bar on a terminal or in a notebook, elsewhere a line an epoch."""
    return BAR if on_terminal() else LINES


def read_history(path: Path) -> Epochs:
    """The epochs of a `history.csv`."""

    def rows(path: Path) -> Epochs:
        with open(path, newline="") as file:
            return [{key: float(value) for key, value in epoch.items()} for epoch in csv.DictReader(file)]

    return read_state(path, rows)


def keep_epochs(path: Path, count: int) -> None:
    """Cuts the log off behind its first so many epochs."""
    lines = path.read_bytes().splitlines(keepends=True)
    with open(path, "r+b") as file:
        file.truncate(len(b"".join(lines[: 1 + count])))


def join_histories(folder: Path, part: str) -> None:
    """Puts the log of a part, which earlier versions wrote apart, before the run's own, and counts the epochs on."""
    earlier, whole = folder / part / "history.csv", folder / "history.csv"
    if not earlier.exists():
        return
    lines = earlier.read_text().splitlines(keepends=True)
    later = whole.read_text().splitlines(keepends=True)[1:] if whole.exists() else []
    for number, line in enumerate(later, start=len(lines) - 1):
        lines.append(f"{number},{line.partition(',')[2]}")
    with replaced(whole) as path:
        path.write_text("".join(lines))
    earlier.unlink()


def delivered_epoch(history: Epochs, chosen: bool, first: int = 0) -> int:
    """Whose weights a training leaves: those of the lowest validation loss, if there is one, in its last part."""
    if not chosen:
        return int(history[-1]["epoch"])
    return int(min(history[first:], key=lambda epoch: epoch["val_loss"])["epoch"])
