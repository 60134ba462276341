"""Figures of a training run (extra `[plots]`)."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.files import replaced

SMALLEST_TEXT = 4.5  # points


def plot_history(
    history: list[dict[str, float]], path: Path, title: str, *, watched: str = "watched", delivered: int | None = None
) -> None:
    """Loss and error of every epoch of a `history.csv`, as the path's suffix says.

    Args:
        history: What `keras_resnet.training.read_history` returns.
        path: Of the figure.
        title: Above it.
        watched: The split that was evaluated after every epoch: "validation" or "test".
        delivered: The epoch, from 0, whose weights the training left; it is marked.
    """
    from matplotlib.figure import Figure  # no window, no global state

    epochs = [1 + int(epoch["epoch"]) for epoch in history]
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, error = figure.subplots(1, 2)
    for key, label in (("", "training"), ("val_", watched)):
        loss.plot(epochs, [epoch[f"{key}loss"] for epoch in history], label=label)
        error.plot(epochs, [100 * (1 - epoch[f"{key}accuracy"]) for epoch in history], label=label)
    for axes, name in ((loss, "cross-entropy"), (error, "error (%)")):
        if delivered is not None:
            axes.axvline(1 + delivered, color="0.4", linestyle="--", label=f"delivered: epoch {1 + delivered}")
        axes.set(xlabel="epoch", ylabel=name, ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    with replaced(path) as partial:
        figure.savefig(partial, dpi=120)


def plot_confusion(confusion: np.ndarray, class_names: tuple[str, ...], path: Path, title: str) -> None:
    """Shares of each true class (a row) that were named each class (a column), as the path's suffix says.

    Up to 50 classes have their names, and their numbers of images where these fit.
    """
    from matplotlib.figure import Figure

    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 3 + 0.25 * min(len(class_names), 50)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100), label="% of the true class")
    axes.set(xlabel="named", ylabel="true", title=title)
    if len(class_names) <= 50:
        ticks = range(len(class_names))
        axes.set_xticks(ticks, class_names, rotation=90)
        axes.set_yticks(ticks, class_names)
        write_counts(axes, confusion, shares)
    with replaced(path) as partial:
        figure.savefig(partial, dpi=120)


def write_counts(axes: Any, confusion: np.ndarray, shares: np.ndarray) -> None:
    """The numbers of images into their cells, but for zeros, if they can be read there."""
    axes.figure.draw_without_rendering()  # which lays out, so that a cell has its size
    points = 72 * axes.get_window_extent().width / axes.figure.dpi / len(confusion)
    size = min(9.0, points / (0.7 * len(str(confusion.max()))))
    if size < SMALLEST_TEXT:
        return
    for row, column in np.argwhere(confusion):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = str(confusion[row, column])
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def plot_front(trials: list[dict], front: list[dict], path: Path, title: str) -> None:
    """The validation accuracy of a search's trials against each cost, the Pareto front in colour, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    costs = {"params": "parameters", "macs": "multiply-adds", "latency_ms": "milliseconds an image"}
    for axes, (cost, label) in zip(figure.subplots(1, 3, sharey=True), costs.items(), strict=True):
        for group, style in ((trials, {"color": "0.7"}), (front, {"color": "C0", "label": "Pareto front"})):
            axes.plot([trial[cost] for trial in group], [100 * trial["score"] for trial in group], "o", **style)
        axes.set(xlabel=label, xlim=(0, None))
        axes.grid(alpha=0.3)
    axes.legend()
    figure.supylabel("validation accuracy (%)")
    figure.suptitle(title)
    with replaced(path) as partial:
        figure.savefig(partial, dpi=120)
