"""One log and one progress for all parts of a run, and no escape codes in a file."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from helpers.trained import FEW, Interrupt, linear, log
from keras_resnet.training import Part, Recipe, check_fit, delivered_epoch, fit, join_histories, train
from keras_resnet.training.progress import keep_epochs

FIRST, SECOND = Recipe(epochs=2, batch_size=32), Recipe(epochs=2, batch_size=32, lr=0.01)
PARTS = {Part("frozen", 0, 4): FIRST, Part("", 2): SECOND}
HEAD = "epoch,accuracy,val_loss\n"


def run(model, folder, *, resume=False, callbacks=(), verbose=0):
    training = check_fit(model, FEW, FIRST)
    for part, recipe in PARTS.items():
        fit(replace(training, recipe=recipe), folder, resume=resume, callbacks=callbacks, verbose=verbose, part=part)


def test_parts_share_one_log_and_count_on(tmp_path):
    run(linear(), tmp_path)
    assert [row["epoch"] for row in log(tmp_path)] == ["0", "1", "2", "3"]
    assert [path.parent.name for path in tmp_path.rglob("checkpoint.npz")] == [tmp_path.name, "frozen"]


@pytest.mark.parametrize("epoch", [1, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (2, 3))])
def test_a_part_that_was_interrupted_ends_as_if_it_had_not_been(epoch, tmp_path):
    whole, resumed = linear(), linear()
    run(whole, tmp_path / "whole")
    with suppress(KeyboardInterrupt):
        run(linear(), tmp_path / "parts", callbacks=[Interrupt(epoch)])
    (begun,) = log(tmp_path / "parts")[-1:]
    assert int(begun["epoch"]) == epoch - 1
    run(resumed, tmp_path / "parts", resume=True) if epoch < 3 else only_the_last(resumed, tmp_path / "parts")
    np.testing.assert_array_equal(whole.get_weights()[0], resumed.get_weights()[0])
    losses = [[(row["epoch"], row["loss"]) for row in log(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1]


def only_the_last(model, folder):
    """As the command goes on: a part that has a checkpoint needs none before it."""
    part, recipe = list(PARTS.items())[-1]
    fit(replace(check_fit(model, FEW, FIRST), recipe=recipe), folder, resume=True, verbose=0, part=part)


@pytest.mark.parametrize("verbose", [2, None])
def test_a_file_gets_a_line_an_epoch_without_escape_codes(verbose, capsys):
    train(linear(), FEW, Recipe(epochs=2, batch_size=32), verbose=verbose)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]
    assert all("; validation loss " in line and "\x1b" not in line and "\b" not in line for line in lines)


def test_the_progress_bar_counts_the_epochs_of_all_parts(tmp_path, capsys):
    run(linear(), tmp_path, verbose=1)
    counted = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    assert counted == [f"Epoch {number}/4" for number in (1, 2, 3, 4)]


def test_silence_is_silent(capsys):
    train(linear(), FEW, Recipe(epochs=1, batch_size=32), verbose=0)
    assert capsys.readouterr().out == ""


def test_logs_of_earlier_versions_become_one(tmp_path):
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "history.csv").write_text(f"{HEAD}0,0.1,3.0\n1,0.2,2.0\n")
    (tmp_path / "history.csv").write_text(f"{HEAD}0,0.3,1.0\n")
    for _ in range(2):
        join_histories(tmp_path, "frozen")
        assert (tmp_path / "history.csv").read_text() == f"{HEAD}0,0.1,3.0\n1,0.2,2.0\n2,0.3,1.0\n"
    assert not (tmp_path / "frozen" / "history.csv").exists()


def test_a_log_is_cut_behind_its_first_epochs(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(f"{HEAD}0,0.1,3.0\n1,0.2,2.0\n2,0.3")
    keep_epochs(path, 2)
    assert path.read_text() == f"{HEAD}0,0.1,3.0\n1,0.2,2.0\n"


@pytest.mark.parametrize(("chosen", "first", "epoch"), [(True, 0, 1), (True, 2, 3), (False, 0, 4)])
def test_the_delivered_epoch_has_the_lowest_validation_loss_of_the_last_part(chosen, first, epoch):
    losses = [0.9, 0.1, 0.8, 0.5, 0.7]
    history = [{"epoch": float(number), "val_loss": loss} for number, loss in enumerate(losses)]
    assert delivered_epoch(history, chosen, first) == epoch
