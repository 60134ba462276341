"""Seeded kills and pairs of commands at once; docs/reliability.md has their counts."""

import os
import subprocess
import sys

import pytest


@pytest.mark.exhaustive
@pytest.mark.parametrize("trial", ["kills", "pairs"])
def test_nothing_is_lost_mixed_or_left_behind(trial):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "helpers.reliability", trial]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
