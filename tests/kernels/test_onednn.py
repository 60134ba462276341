"""What TensorFlow reads when it is imported is set by our commands, and by nothing else."""

import logging
import os
import subprocess
import sys

import pytest

import keras_resnet
from keras_resnet.kernels import onednn
from keras_resnet.kernels.onednn import HINT, ONEDNN, THREADS

BARE = {key: value for key, value in os.environ.items() if key not in (ONEDNN, *THREADS)}
SHOW = f"import os, sys; print([os.environ.get(name) for name in {(ONEDNN, *THREADS)}], sys.argv[1:], __name__"
WITHOUT, WITH = frozenset({"avx2", "avx512f"}), frozenset({"avx2", "avx512f", "avx512_vnni"})


def output(*words, **variables):
    return subprocess.run(words, capture_output=True, text=True, check=True, env=BARE | variables).stdout


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(f"{SHOW}, 'keras' in sys.modules, sys.flags.dev_mode)")
    return str(path)


def test_run_sets_the_environment_for_a_script(script):
    quota = {"LOKY_MAX_CPU_COUNT": "1"}
    ran = output(sys.executable, "-X", "dev", "-m", "keras_resnet.run", script, "--epochs", "3", **quota)
    assert ran.strip() == f"{['1', '1', '1']} ['--epochs', '3'] __main__ False True"


def test_what_the_user_has_set_stays(script):
    ran = output(sys.executable, "-m", "keras_resnet.run", script, **{ONEDNN: "0", THREADS[0]: "1"})
    assert ran.startswith("['0', '1', ")


FACTS = """
import os, pickle, sys
import beside
class Mine: pass
pickle.loads(pickle.dumps(Mine()))
print(sys.argv, sys.path, __file__, __name__, __spec__, sys.modules["__main__"].Mine is Mine)
sys.exit(3)
"""


def test_a_script_finds_itself_as_python_would_start_it(tmp_path):
    (tmp_path / "script.py").write_text(FACTS)
    (tmp_path / "beside.py").touch()
    words = [str(tmp_path / "script.py"), "-m", "x"]
    plain, ours = (
        subprocess.run([sys.executable, *started, *words], capture_output=True, text=True, env=BARE)
        for started in ([], ["-m", "keras_resnet.run"])
    )
    assert (plain.stdout, plain.returncode) == (ours.stdout, ours.returncode)
    assert plain.returncode == 3


def test_run_without_a_script_says_what_it_wants():
    result = subprocess.run([sys.executable, "-m", "keras_resnet.run"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "Usage: python -m keras_resnet.run SCRIPT" in result.stderr


def test_a_profiler_runs_the_script(script):
    assert "['0', None, None]" not in output(sys.executable, "-m", "cProfile", "-m", "keras_resnet.run", script)


def test_an_import_sets_nothing():
    shown = output(sys.executable, "-c", f"import keras_resnet; keras_resnet.names; {SHOW})")
    assert shown.startswith("[None, None, None]")


@pytest.mark.parametrize(
    ("variable", "flags", "system", "machine", "hints"),
    [
        (None, WITHOUT, "Linux", "x86_64", 1),
        ("1", WITHOUT, "Linux", "x86_64", 0),
        ("0", WITHOUT, "Linux", "x86_64", 0),
        (None, WITH, "Linux", "x86_64", 0),
        (None, WITHOUT, "Linux", "aarch64", 0),
        (None, frozenset(), "Darwin", "x86_64", 0),  # TensorFlow has it on Linux and Windows, there always on
        (None, frozenset(), "Windows", "AMD64", 0),
    ],
)
def test_one_hint_where_it_would_help(variable, flags, system, machine, hints, monkeypatch, caplog):
    monkeypatch.delenv(ONEDNN, raising=False)
    if variable:
        monkeypatch.setenv(ONEDNN, variable)
    monkeypatch.setattr("keras_resnet.machine.processor_flags", lambda: flags)
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    onednn.hint.cache_clear()
    with caplog.at_level(logging.WARNING, "keras_resnet"):
        keras_resnet.ResNet20()
        keras_resnet.ResNet20()
    onednn.hint.cache_clear()
    ours = [record.getMessage() for record in caplog.records if record.name == "keras_resnet"]
    assert ours == [HINT] * hints


@pytest.mark.skipif(ONEDNN in os.environ, reason="the user has decided")
def test_tensorflow_decides_as_we_think():
    """Its own answer, which only a private name gives."""
    port = pytest.importorskip("tensorflow.python.util._pywrap_util_port")
    assert port.IsMklEnabled() != onednn.left_off()
