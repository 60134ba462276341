"""Every example runs, in a process of its own, from a folder that is not the project's."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
TRAIN_SEVERAL = ("activation_orders", "shortcuts_side_by_side", "your_own_network")


def by_speed(example):
    return pytest.param(example, marks=pytest.mark.slow if example.stem in TRAIN_SEVERAL else ())


@pytest.mark.parametrize("example", [by_speed(example) for example in EXAMPLES], ids=lambda path: path.stem)
def test_example_runs(example, tmp_path):
    process = subprocess.run(
        [sys.executable, str(example), "--smoke"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_one_story(example):
    assert len(example.read_text().splitlines()) < 60
