"""What is written is whole or not there, on the disk before it has its name, and a full disk is said with the path."""

import errno
import os
import resource
from contextlib import contextmanager, suppress
from functools import partial

import h5py
import numpy as np
import pytest

from keras_resnet.files import (
    DamagedError,
    DiskFullError,
    aside,
    completed,
    kept,
    overwritten,
    read_json,
    read_last,
    read_state,
    replaced,
    write_json,
    writing,
)
from keras_resnet.files import renaming as renames

WRITERS = {
    "completed": completed,
    "replaced": replaced,
    "kept": partial(replaced, keep=True),
    "overwritten": overwritten,
}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def events(monkeypatch):
    """What is synced and renamed, in that order; a folder inside the temporary one as `file` or `folder`."""
    seen, fsync = [], os.fsync

    def synced(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        seen.append(("sync", os.path.basename(path)))
        fsync(descriptor)

    def renaming_seen(function):
        def rename(source, target, *how):
            done = function(source, target, *how)
            seen.append(("rename", os.path.basename(target)))
            return done

        return rename

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renaming_seen(os.replace))
    monkeypatch.setattr(writing, "renamed", renaming_seen(writing.renamed))
    return seen


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_the_folder_is(write, tmp_path, events):
    with write(tmp_path / "a") as path:
        path.write_text("whole")
    assert events == [("sync", "a"), ("rename", "a"), ("sync", tmp_path.name)]


def test_all_files_of_a_folder_are(tmp_path, events):
    with completed(tmp_path / "a") as path:
        (path / "b").mkdir(parents=True)
        (path / "b" / "c").touch()
    assert events == [("sync", "a"), ("sync", "b"), ("sync", "c"), ("rename", "a"), ("sync", tmp_path.name)]


def test_the_file_before_is_kept(tmp_path):
    for epoch in range(3):
        write_json(tmp_path / "a.json", epoch, keep=True)
    assert [path.read_text() for path in (tmp_path / "a.json", kept(tmp_path / "a.json"))] == ["2\n", "1\n"]


def test_a_version_is_exchanged_in_one_step(tmp_path, monkeypatch):
    """There is no instant without it: at every rename and after it, the folder is whole."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "old").touch()
    monkeypatch.setattr(os, "replace", None)  # would leave such an instant
    with overwritten(tmp_path / "1") as path:
        path.mkdir()
        (path / "new").touch()
    assert names(tmp_path) == ["1"]
    assert names(tmp_path / "1") == ["new"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_where_the_system_cannot_exchange_the_old_one_is_kept_aside_meanwhile(code, tmp_path, monkeypatch):
    for _ in range(2):
        aside_at = []

        def replace(source, target, replace=os.replace, aside_at=aside_at):
            aside_at.append(aside(tmp_path / "1").exists())
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(renames.ctypes, "CDLL", lambda *_, **__: Without)
            patch.setattr(renames.ctypes, "get_errno", lambda: code)
            patch.setattr(os, "replace", replace)
            with overwritten(tmp_path / "1") as path:
                path.mkdir()
    assert aside_at == [True]
    assert names(tmp_path) == ["1"]


class Without:
    @staticmethod
    def renameat2(*_):
        return -1


def test_what_comes_while_a_file_is_written_is_not_replaced_whenever_it_comes(tmp_path, monkeypatch):
    renamed = writing.renamed

    def late(source, target, how):
        target.write_text("theirs")
        return renamed(source, target, how)

    monkeypatch.setattr(writing, "renamed", late)
    with pytest.raises(ValueError, match="nothing else was written meanwhile"), completed(tmp_path / "a") as path:
        path.write_text("ours")
    assert (tmp_path / "a").read_text() == "theirs"
    assert names(tmp_path) == ["a"]


# No room


@contextmanager
def files_of_at_most(size):
    """The system refuses longer ones, as it refuses all on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def of_python(path):
    path.write_bytes(bytes(100_000))


def of_numpy(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(100_000))


def of_hdf5(path):
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(100_000)


@pytest.mark.parametrize("fill", [of_python, of_numpy, of_hdf5])
def test_a_full_disk_is_said_with_the_path_and_what_was_there_stays(fill, tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(DiskFullError) as full, files_of_at_most(10_000), replaced(tmp_path / "a") as path:
        fill(path)
    assert str(full.value) == f"File too large: {tmp_path / 'a'} was not written. What was there before is whole."
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(PermissionError), replaced(tmp_path / "a"):
        raise PermissionError
    with suppress(KeyboardInterrupt), replaced(tmp_path / "a"):
        raise KeyboardInterrupt
    assert not names(tmp_path)


# State


WRONG = {
    "": "it is empty",
    '{"run": {"netw': "Unterminated string",
    "[1]": "it is not a JSON object",
    "\x00": "Expecting",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_damaged_state_is_named_and_what_to_do(text, tmp_path):
    (tmp_path / "search.json").write_text(text)
    with pytest.raises(DamagedError) as damaged:
        read_json(tmp_path / "search.json")
    (line,) = str(damaged.value).splitlines()
    assert line.startswith(f"{tmp_path / 'search.json'} cannot be read ({WRONG[text]}")
    assert line.endswith("Delete it: the same command with --resume writes it again.")


def test_the_file_before_is_read_where_the_last_cannot_be(tmp_path):
    path = tmp_path / "oracle.json"
    for number in range(2):
        write_json(path, {"number": number}, keep=True)
    assert read_last(path, read_json) == ({"number": 1}, "")
    path.write_text("{")
    record, damaged = read_last(path, read_json)
    assert record == {"number": 0}
    assert damaged.startswith(f"{path} cannot be read (Expecting property name")
    path.unlink()  # killed between two renames
    assert read_last(path, read_json) == ({"number": 0}, "")


def test_where_both_are_damaged_the_last_is_named(tmp_path):
    path = tmp_path / "oracle.json"
    path.touch()
    for there in (False, True):
        with pytest.raises(DamagedError, match=r"/oracle.json cannot be read \(it is empty\). Start the search again"):
            read_last(path, read_json)
        assert kept(path).exists() is there
        kept(path).touch()


def test_what_was_damaged_within_is_named(tmp_path):
    def read(path):
        return read_json(path.with_name("record.json"))

    with pytest.raises(DamagedError, match=r"record.json cannot be read"):
        read_state(tmp_path / "oracle.json", read)
