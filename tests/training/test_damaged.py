"""A damaged file of a run is named with what to do, and a damaged checkpoint falls back to the epoch before it."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers.trained import FEW, linear, log
from keras_resnet.files import DamagedError, DiskFullError, kept
from keras_resnet.training import Recipe, train

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.1, nesterov=True, schedule="plateau", patience=1)


def trained(folder, **settings):
    model = linear()
    train(model, FEW, RECIPE, folder, resume=True, verbose=0, **settings)
    return model.get_weights()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run, and its weights."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, trained(folder)


@pytest.fixture
def run(whole, tmp_path):
    """A copy, in which the last epoch can be damaged."""
    return shutil.copytree(whole[0], tmp_path / "run")


def with_state(change):
    def damage(path):
        with np.load(path) as archive:
            arrays = dict(archive)
        state = json.loads(str(arrays.pop("state")))
        change(state)
        np.savez(path, state=json.dumps(state), **arrays)

    return damage


def flipped(path):
    """A bit of the last array, which the zip's checksum tells."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.infolist()[-1].header_offset + 200] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-400]),
    "foreign": lambda path: path.write_text("epoch,loss\n"),
    "another archive": lambda path: np.savez(path, a=np.zeros(3)),
    "a flipped bit": flipped,
    "epochs below zero": with_state(lambda state: state.update(epochs=-5)),
    "epochs of nobody": with_state(lambda state: state.update(epochs=99)),
    "no number": with_state(lambda state: state.update(lowest="low")),
    "nothing of callbacks": with_state(lambda state: state.pop("callbacks")),
}


QUICK = ("empty", "a flipped bit", "epochs below zero")
TRAINED = [pytest.param(d, id=name, marks=[] if name in QUICK else pytest.mark.slow) for name, d in DAMAGES.items()]


@pytest.mark.parametrize("damage", TRAINED)
def test_a_damaged_last_epoch_falls_back_to_the_one_before_and_ends_bit_equal(damage, run, whole, capsys):
    damage(run / "checkpoint.npz")
    for ours, theirs in zip(trained(run), whole[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    said = capsys.readouterr().out
    assert "run/" in said
    assert ".npz cannot be read (" in said or "history.csv cannot be read (" in said
    assert "resuming after epoch 3, the one before." in said
    assert [{**row, "seconds": 0} for row in log(run)] == [{**row, "seconds": 0} for row in log(whole[0])]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_without_an_epoch_before_the_file_is_named_and_what_to_do(damage, run):
    kept(run / "checkpoint.npz").unlink()
    damage(run / "checkpoint.npz")
    with pytest.raises(DamagedError, match=r"/run/(checkpoint.npz|history.csv) cannot be read \(") as damaged:
        trained(run)
    assert len(str(damaged.value).splitlines()) == 1


def test_what_to_do_about_a_checkpoint_is_true(run, whole):
    kept(run / "checkpoint.npz").unlink()
    (run / "checkpoint.npz").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"Delete it: --resume trains from the first epoch\."):
        trained(run)
    (run / "checkpoint.npz").unlink()
    for ours, theirs in zip(trained(run), whole[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_damaged_epoch_never_takes_the_place_of_the_one_before(run):
    """While the damaged one is replaced, the run may be killed again."""
    before = kept(run / "checkpoint.npz").read_bytes()
    (run / "checkpoint.npz").write_bytes(b"")
    trained(run)
    assert kept(run / "checkpoint.npz").read_bytes() == before


def test_killed_between_the_two_renames_it_goes_on_from_the_epoch_before(run, whole):
    (run / "checkpoint.npz").unlink()
    for ours, theirs in zip(trained(run), whole[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("content", [b"", b"epoch,accuracy,loss\n", b"\xff\xfe" * 90])
def test_a_log_without_the_epochs_is_named(content, run):
    (run / "history.csv").write_bytes(content)
    with pytest.raises(DamagedError, match=r"/history.csv cannot be read .* Start the run again in another folder"):
        trained(run)


def test_damaged_best_weights_are_named(run):
    (run / "best.weights.h5").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"/best.weights.h5 cannot be read \(it is empty\)\. Start the run again"):
        trained(run)


def test_the_log_is_on_the_disk_before_the_checkpoint_that_counts_on_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("keras_resnet.training.checkpoint.synced", lambda *paths: synced.append(paths))
    trained(tmp_path)
    assert synced == [(tmp_path / "history.csv",)] * 4


def test_a_full_disk_ends_a_training_in_one_line_and_it_goes_on_when_there_is_room(tmp_path, whole, monkeypatch):
    savez, written = np.savez, []

    def full(file, **arrays):
        written.append(1)
        if len(written) == 3:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        savez(file, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(DiskFullError, match=r"^No space left on device: .*checkpoint.npz was not written\."):
            trained(tmp_path)
    assert not list(Path(tmp_path).glob(".*"))
    for ours, theirs in zip(trained(tmp_path), whole[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
