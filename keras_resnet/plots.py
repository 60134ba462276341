"""Curves of a training run (extra `[plots]`)."""

import csv
from pathlib import Path

from keras_resnet.files import completed


def plot_history(history: Path, path: Path, title: str) -> None:
    """Loss and error of every epoch in a `history.csv`, training and validation, as a PNG."""
    from matplotlib.figure import Figure  # no window, no global state

    with open(history, newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [1 + int(row["epoch"]) for row in rows]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, error = figure.subplots(1, 2)
    for key, label in (("", "training"), ("val_", "validation")):
        loss.plot(epochs, [float(row[f"{key}loss"]) for row in rows], label=label)
        error.plot(epochs, [100 * (1 - float(row[f"{key}accuracy"])) for row in rows], label=label)
    for axes, name in ((loss, "cross-entropy"), (error, "error (%)")):
        axes.set(xlabel="epoch", ylabel=name, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    with completed(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
