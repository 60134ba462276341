"""A damaged file of a search is named with what to do, which is true; a full disk costs no trial."""

import errno
import json
import os
import subprocess
import sys

import pytest

from helpers.searches import search, statuses, widths
from keras_resnet.files import DamagedError, DiskFullError, InUseError, kept
from keras_resnet.tuning.hypermodel import HyperResNet

pytestmark = [  # of keras-tuner 1.4.8
    pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:getName:DeprecationWarning"),
]
CONTENTS = ["", '{"space": "wid', "[]", "{}"]


@pytest.fixture
def folder(quick, tmp_path):
    """A search of two trials, after which `quick` counts the next ones."""
    search(widths, "digits", tmp_path / "s", trials=2)
    quick.clear()
    return tmp_path / "s"


def resumed(folder, trials=3):
    return search(widths, "digits", folder, trials=trials, resume=True)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", ["search.json", "trials/trial_0/record.json"])
def test_it_is_named_and_can_be_deleted(name, content, folder, quick):
    path, whole = folder / name, json.loads((folder / name).read_text())
    path.write_text(content)
    if name == "search.json" or content != "{}":  # which is a record of nothing
        with pytest.raises(DamagedError, match=rf"/{name} cannot be read \(.*\)\. Delete it: ") as damaged:
            resumed(folder)
        assert len(str(damaged.value).splitlines()) == 1
        assert not quick
    path.unlink()
    resumed(folder)
    again = json.loads(path.read_text())
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    assert statuses(folder) == ["COMPLETED"] * 3


@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_state_falls_back_to_the_one_before(content, folder, quick, tmp_path):
    search(widths, "digits", tmp_path / "whole", trials=3)
    quick.clear()
    (folder / "trials" / "oracle.json").write_text(content)
    said = []
    search(widths, "digits", folder, trials=3, resume=True, say=said.append)
    assert f"{folder}/trials/oracle.json cannot be read (" in said[0]
    assert said[0].endswith("): resuming from the state before it.")
    assert len(quick) == 1

    def drawn(folder):
        return [trial["values"] for trial in json.loads((folder / "trials.json").read_text())]

    assert drawn(folder) == drawn(tmp_path / "whole")


def test_without_a_state_before_it_is_named(folder):
    state = folder / "trials" / "oracle.json"
    kept(state).unlink()
    state.write_text('{"tri')
    with pytest.raises(DamagedError, match=r"/oracle.json cannot be read \(.*\)\. Start the search again in another"):
        resumed(folder)


def test_damaged_tables_are_written_again(folder):
    whole = (folder / "trials.json").read_text()
    for name in ("trials.json", "pareto.csv"):
        (folder / name).write_text("{")
    resumed(folder, trials=2)
    assert (folder / "trials.json").read_text() == whole
    assert (folder / "pareto.csv").read_text().startswith("trial,")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DamagedError("a is not whole", "Mend")]
)
def test_what_is_no_fault_of_a_trial_ends_the_search_and_the_trial_goes_on_later(error, folder, quick, monkeypatch):
    def failing(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(HyperResNet, "trained", failing)
        with pytest.raises(
            (DiskFullError, DamagedError), match=r"^(No space left on device: .* was not written|a is not)"
        ):
            resumed(folder)
    resumed(folder)
    assert statuses(folder) == ["COMPLETED"] * 3
    assert len(quick) == 1


HELD = "import sys, time; from pathlib import Path; from keras_resnet.files import locked\n"
HELD += "with locked(Path(sys.argv[1]), *sys.argv[2:]): print(flush=True); time.sleep(60)"


@pytest.mark.parametrize(("role", "refused"), [((), True), (("worker0",), False)])
def test_another_search_is_refused_and_a_worker_is_not(role, refused, folder):
    command = [sys.executable, "-c", HELD, str(folder), *role]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        if refused:
            with pytest.raises(InUseError, match=r"/s is in use by process"):
                resumed(folder)
        else:
            resumed(folder)
        process.kill()


def test_a_worker_takes_the_lock_of_its_id(folder, monkeypatch):
    for name, value in {"ORACLE_IP": "127.0.0.1", "ORACLE_PORT": "1", "TUNER_ID": "worker0"}.items():
        monkeypatch.setenv(f"KERASTUNER_{name}", value)
    command = [sys.executable, "-c", HELD, str(folder), "worker0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(InUseError, match=r"/s is in use by process"):
            resumed(folder)
        process.kill()
