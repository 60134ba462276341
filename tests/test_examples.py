"""Every example runs, from a folder that is not the project's."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
TRAIN_SEVERAL = ("activation_orders", "shortcuts_side_by_side", "your_own_network")
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
LONGEST = {"drop_in_for_keras_applications", "finetune_folder", "serve_savedmodel"}
quick_ones = pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, marks=[pytest.mark.slow] * (path.stem in LONGEST))
        for path in EXAMPLES
        if path.stem not in TRAIN_SEVERAL
    ],
    ids=lambda path: path.stem,
)


@quick_ones
def test_example_runs(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(example), "--smoke"])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@every_example
def test_example_runs_in_a_process_of_its_own(example, tmp_path):
    command = [sys.executable, str(example), "--smoke"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip()
    assert not list(tmp_path.iterdir())


@every_example
def test_example_is_one_story(example):
    assert len(example.read_text().splitlines()) < 60
