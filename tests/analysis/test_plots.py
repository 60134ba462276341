"""The figures of a training run: what they show, and their formats."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from keras_resnet.analysis.plots import plot_confusion, plot_history

HISTORY = [
    {"epoch": float(epoch), "loss": 1.0, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.4} for epoch in range(3)
]
SIGNATURES = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures, savefig = [], Figure.savefig

    def saved(figure, *arguments, **settings):
        figures.append(figure)
        savefig(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", saved)
    return figures


@pytest.mark.parametrize("watched", ["validation", "test"])
def test_curves_mark_the_delivered_epoch_and_name_the_split(watched, drawn, tmp_path):
    plot_history(HISTORY, tmp_path / "curves.png", "title", watched=watched, delivered=1)
    for axes in drawn[0].axes:
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["training", watched, "delivered: epoch 2"]
        assert axes.lines[-1].get_xdata()[0] == 2
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_confusion_has_its_numbers(drawn, tmp_path):
    confusion = np.array([[90, 3, 0], [0, 50, 7], [1, 0, 1200]])
    plot_confusion(confusion, ("a", "b", "c"), tmp_path / "confusion.png", "title")
    texts = {text.get_position()[::-1]: text.get_text() for text in drawn[0].axes[0].texts}
    assert texts == {tuple(place): str(confusion[tuple(place)]) for place in np.argwhere(confusion).tolist()}


@pytest.mark.parametrize(("classes", "images"), [(60, 9), (50, 10**9)])
def test_numbers_that_do_not_fit_are_left_out(classes, images, drawn, tmp_path):
    names = tuple(map(str, range(classes)))
    plot_confusion(np.full((classes, classes), images), names, tmp_path / "confusion.png", "title")
    assert not drawn[0].axes[0].texts


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_a_figure_is_what_its_suffix_says(suffix, tmp_path):
    path = tmp_path / f"confusion{suffix}"
    plot_confusion(np.eye(2, dtype=int), ("a", "b"), path, "title")
    assert path.read_bytes().startswith(SIGNATURES[suffix])
