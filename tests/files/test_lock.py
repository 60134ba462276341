"""One command at a time writes into a folder, and what dead ones left is swept."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from tempfile import mkdtemp

import pytest

from keras_resnet.files import InUseError, completed, locked, replaced
from keras_resnet.files.lock import LOCK, PARTIAL, own_folder, sweep

HOLD = """
import sys, time
from pathlib import Path
from keras_resnet.files import completed, locked, replaced
with {what}:
    print("in it", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(what, folder):
    """That is within that context, and is killed at the end."""
    command = [sys.executable, "-c", HOLD.format(what=what), str(folder), "--an", "option"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in it\n"
        yield process
        process.send_signal(signal.SIGKILL)


def test_the_second_process_is_refused_at_once_and_told_who_is_there(tmp_path):
    there = another_process("locked(Path(sys.argv[1]))", tmp_path / "run")
    with there as first, pytest.raises(InUseError) as refused, locked(tmp_path / "run"):
        pass
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{tmp_path / 'run'} is in use by process {first.pid} on {os.uname().nodename}, since 20")
    assert "--an option. Wait for it to end" in line


def test_the_lock_goes_when_its_process_is_killed(tmp_path):
    with another_process("locked(Path(sys.argv[1]))", tmp_path):
        pass
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_does_not_say_who_has_it_holds_as_well(tmp_path):
    with another_process("locked(Path(sys.argv[1]))", tmp_path):
        (tmp_path / LOCK).write_text("[]")
        with pytest.raises(InUseError, match=r"in use by another process\. Wait"), locked(tmp_path):
            pass


def test_workers_share_a_folder_each_under_its_own_id(tmp_path):
    with another_process("locked(Path(sys.argv[1]), 'worker-1')", tmp_path):
        with locked(tmp_path), locked(tmp_path, "worker-2"):
            pass
        with pytest.raises(InUseError), locked(tmp_path, "worker-1"):
            pass


def test_a_process_may_lock_again_what_it_has_by_any_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path / "run"):
        with locked((tmp_path / "run").relative_to(tmp_path)):
            pass
        assert (tmp_path / "run" / LOCK).exists()
    assert not list(tmp_path.iterdir())


def test_another_thread_may_not(tmp_path):
    refused = []

    def second():
        with pytest.raises(InUseError) as error, locked(tmp_path):
            pass
        refused.append(error)

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused


def test_what_was_put_into_a_folder_stays(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]


@pytest.mark.parametrize("write", ["completed", "replaced"])
def test_what_a_dead_process_was_writing_is_swept_by_the_next_in_that_folder(write, tmp_path):
    with another_process(f"{write}(Path(sys.argv[1]) / 'a') as half", tmp_path):
        (partial,) = tmp_path.iterdir()
        (partial / "a").write_text("half")
    assert list(tmp_path.iterdir()) == [partial]
    with completed(tmp_path / "b") as path:
        path.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_a_living_process_is_writing_is_never_swept(tmp_path):
    with another_process("replaced(Path(sys.argv[1]) / 'a') as half", tmp_path):
        (partial,) = tmp_path.iterdir()
        with replaced(tmp_path / "b") as path:
            path.touch()
        assert partial.is_dir()
    with replaced(tmp_path / "a") as first:  # nor what this one is
        first.write_text("whole")
        with replaced(tmp_path / "b") as second:
            second.touch()
    assert (tmp_path / "a").read_text() == "whole"


def test_what_was_left_before_there_were_locks_is_swept(tmp_path):
    (tmp_path / f"{PARTIAL}abc").mkdir()
    (tmp_path / f"{PARTIAL}abc" / "checkpoint.npz").write_text("half")
    with replaced(tmp_path / "a") as path:
        path.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_many_threads_write_and_sweep_at_once(tmp_path):
    def write(name):
        for _ in range(20):
            with replaced(tmp_path / name) as path:
                path.write_text(name)

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        str(number): str(number) for number in range(4)
    }


def test_a_folder_that_is_swept_before_it_has_its_lock_is_made_again(tmp_path, monkeypatch):
    made = []

    def swept(**settings):
        made.append(mkdtemp(**settings))
        if len(made) == 1:
            sweep(tmp_path)
        return made[-1]

    monkeypatch.setattr("keras_resnet.files.lock.mkdtemp", swept)
    folder, _ = own_folder(tmp_path)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
