"""What TensorFlow reads when it is imported is set by our commands, and by nothing else."""

import logging
import os
import subprocess
import sys

import pytest

import keras_resnet
from keras_resnet.kernels import onednn as environment
from keras_resnet.kernels.onednn import ONEDNN, THREADS

BARE = {key: value for key, value in os.environ.items() if key not in (ONEDNN, *THREADS)}
SHOW = f"import os, sys; print([os.environ.get(name) for name in {(ONEDNN, *THREADS)}], sys.argv[1:], __name__"


def output(*words, **variables):
    return subprocess.run(words, capture_output=True, text=True, check=True, env=BARE | variables).stdout


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(f"{SHOW}, 'keras' in sys.modules, sys.flags.dev_mode)")
    return str(path)


def test_run_starts_a_script_as_python_does(script):
    quota = {"LOKY_MAX_CPU_COUNT": "1"}
    ran = output(sys.executable, "-X", "dev", "-m", "keras_resnet.run", script, "--epochs", "3", **quota)
    assert ran.strip() == f"{['1', '1', '1']} ['--epochs', '3'] __main__ False True"


def test_what_the_user_has_set_stays(script):
    ran = output(sys.executable, "-m", "keras_resnet.run", script, **{ONEDNN: "0", THREADS[0]: "1"})
    assert ran.startswith("['0', '1', ")


def test_run_without_a_script_says_what_it_wants():
    result = subprocess.run([sys.executable, "-m", "keras_resnet.run"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "Usage: python -m keras_resnet.run SCRIPT" in result.stderr


def test_run_does_not_start_a_script_without_the_profiler_that_was_asked_for(script):
    words = [sys.executable, "-m", "cProfile", "-m", "keras_resnet.run", script]
    result = subprocess.run(words, capture_output=True, text=True)
    assert "Usage: python -m keras_resnet.run SCRIPT" in result.stderr


def test_the_command_line_sets_it_and_an_import_does_not(tmp_path):
    show = f"import atexit, os; atexit.register(lambda: print(os.environ.get({ONEDNN!r})))"
    (tmp_path / "sitecustomize.py").write_text(show)
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))}
    assert output(sys.executable, "-m", "keras_resnet", "--version", **paths).endswith("1\n")
    assert output(sys.executable, "-c", "import keras_resnet", **paths).endswith("None\n")


@pytest.mark.parametrize(
    ("original", "arguments", "expected"),
    [
        (["python", "/usr/bin/keras-resnet", "train"], ["/usr/bin/keras-resnet", "train"], ("keras-resnet", [])),
        (["python", "-m", "keras_resnet", "train"], ["-m", "train"], ("keras_resnet", [])),
        (["python", "-mkeras_resnet"], ["-m"], ("keras_resnet", [])),
        (["python", "-um", "keras_resnet.run", "a.py"], ["-m", "a.py"], ("keras_resnet.run", ["-u"])),
        (["python", "a.py", "-m", "keras_resnet"], ["a.py", "-m", "keras_resnet"], ("a.py", [])),
        (["python", "-m", "pytest", "keras_resnet"], ["-m", "keras_resnet"], ("pytest", [])),
        (["python"], [""], ("python", [])),
        (["python", "-c", "import keras_resnet"], ["-c"], ("import keras_resnet", ["-c"])),
        (["python"], ["-c", "a program changed it", "and again"], ("python", [])),
        (["python"], [], ("", [])),
    ],
)
def test_what_python_was_told_to_run(original, arguments, expected):
    assert environment.command(original, arguments) == expected


@pytest.mark.parametrize(
    ("variable", "is_on", "machine", "hints"),
    [
        (None, False, "x86_64", 1),
        ("1", False, "x86_64", 1),  # set too late
        ("0", False, "x86_64", 0),
        ("False", False, "x86_64", 0),
        (None, True, "x86_64", 0),
        (None, False, "aarch64", 0),
    ],
)
def test_one_hint_where_it_would_help(variable, is_on, machine, hints, monkeypatch, caplog):
    monkeypatch.delenv(ONEDNN, raising=False)
    if variable:
        monkeypatch.setenv(ONEDNN, variable)
    monkeypatch.setattr(environment, "onednn_is_on", lambda: is_on)
    monkeypatch.setattr("platform.machine", lambda: machine)
    environment.hint.cache_clear()
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        keras_resnet.ResNet20()
        keras_resnet.ResNet20()
    environment.hint.cache_clear()
    assert [record.getMessage() for record in caplog.records] == [environment.HINT] * hints


def test_it_knows_whether_onednn_is_on():
    asked = "from keras_resnet import environment; print(environment.onednn_is_on())"
    assert output(sys.executable, "-c", asked, **{ONEDNN: "0"}) == "False\n"
    assert output(sys.executable, "-c", asked, **{ONEDNN: "1"}) == "True\n"
