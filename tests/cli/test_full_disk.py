"""Commands on a disk of their own that is full: one line with the path, and what was there stays whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BEFORE = Path(__file__).parent.parent / "before_folders"
pytestmark = pytest.mark.slow


def command(*arguments, cwd):
    return subprocess.run([sys.executable, "-m", "keras_resnet", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount disks")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def leave(disk, size):
    """Fills the disk up to so many bytes."""
    free = shutil.disk_usage(disk).free
    (disk / "full").write_bytes(bytes(max(free - size, 0)))


def content(folder):
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.startswith("event")
    }


SMALL = ["--stages", "[[16], [32]]", "--set", "steps_per_epoch=2"]  # 500 kB a checkpoint
COMMANDS = {  # the command, and how many bytes there are for it
    "export": (["export", str(BEFORE / "plain.keras"), "exports", "--overwrite", "--preprocessing", "cifar10"], 40_000),
    "train": (["train", *SMALL, "epochs=4", "--output", ".", "--resume"], 600_000),
    "search": (
        ["search", "--trials", "2", "--set", "epochs=2", "steps_per_epoch=2", "--output", "s", "--resume"],
        300_000,
    ),
}


@pytest.mark.parametrize(("arguments", "room"), COMMANDS.values(), ids=COMMANDS)
def test_it_is_said_in_one_line_and_the_command_goes_on_when_there_is_room(arguments, room, disk):
    shutil.copytree(BEFORE / "export", disk / "exports")
    before = content(disk)
    leave(disk, room)
    full = command(*arguments, cwd=disk)
    assert full.returncode == 1
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: No space left on device: ")
    assert line.endswith(" was not written. What was there before is whole.")
    assert "Traceback" not in full.stderr
    assert before.items() <= content(disk).items()
    assert not [path for path in disk.rglob(".*") if path.name.startswith((".partial-", ".lock"))]
    (disk / "full").unlink()
    assert command(*arguments, cwd=disk).returncode == 0
