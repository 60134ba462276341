"""The command line answers at once: what needs no network imports no Keras; and TensorFlow starts in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_resnet.cli import main
from keras_resnet.cli.start import LOG_LEVEL
from keras_resnet.kernels import onednn
from keras_resnet.kernels.devices import DEVICES
from keras_resnet.serving.formats import FORMATS
from keras_resnet.tuning.oracles import TUNERS
from keras_resnet.tuning.spaces import SPACES

QUICK = {  # arguments, and what is answered
    "--help": "Show the layers",
    "--version": "version ",
    "list resnet5*": "resnet50 ",
    "list vgg*": "No network matches",
    "list --pretrained resnet18*": "a1_in1k",
    "list --pretrained plain*": "No checkpoint matches",
    "convert a1_in2k resnet50 out.keras": "'a1_in1k'",
    "train resnet200 --weights imagenet": "resnet200d",
    "train --help": "--drop-path",
    "inspect cam --help": "Grad-CAM",
    "summary resnet51": "'resnet50'",
    "summary resnet50 --groups 3": "'--groups'",
    "summary resnet50 --stem cifra": "'--stem'",
    "train resnet20 --goups 2": "--groups",
    "train --stages null": "is not a list",
    "train --set epochs": "is not KEY=VALUE",
    "train --data ./missing": "a folder that exists",
    "train --recipe he2051_cifar": "'he2015_cifar'",
    "train --set epoch=1": "'epochs'",
    "train --set epochs=0": "'--set epochs'",
    "train --recipe fast --set augment={'flop':1}": "'flip'",
    "train --weights missing.pth": "missing.pth",
    "search --network resnet51": "'resnet50'",
    "convert imagenet resnet20 out.keras": "'SOURCE'",
    "convert imagenet resnet50 out.h5": "ends in .keras",
    "predict missing.keras image.png": "does not exist",
    "evaluate note.keras --data digits": "a `.keras` file",
    "inspect drawing note.keras --output a.png": "a `.keras` file",
    "export note.keras exported --data ~/missing": "a folder that exists",
    "check /missing": "a folder that exists",
    "export plain.keras . --version 1": "--overwrite",
    "export plain.keras exported --format tflite": "'litert'",
    "search --output 1": "'--output'",
    "search --recipe he2051_cifar": "'he2015_cifar'",
    "search --space widths": "'width_depth'",
    "summary resnet20 --size 3": "'--size'",
    "train densenet121 --size 9": "at least 29 pixels",
    "train --freeze stage9": "stem, stage1, stage2, stage3, head",
}
BEFORE = Path(__file__).parent.parent / "before_folders"
HEAVY = ("keras", "tensorflow", "jax", "numpy", "h5py", "keras_tuner")
CODE = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules]))
from keras_resnet.cli import main
main()
"""


@pytest.mark.parametrize("arguments", QUICK)
def test_what_needs_no_network_imports_no_keras(arguments, tmp_path):
    (tmp_path / "note.keras").write_text("no model")
    (tmp_path / "plain.keras").write_bytes((BEFORE / "plain.keras").read_bytes())
    (tmp_path / "1").mkdir()
    command = [sys.executable, "-c", CODE, *arguments.split()]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert QUICK[arguments] in process.stdout + process.stderr
    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", ["train --data photoss", "check minst", "evaluate plain.keras --data cifar11"])
def test_names_of_no_dataset_start_no_tensorflow(arguments, tmp_path):
    (tmp_path / "plain.keras").write_bytes((BEFORE / "plain.keras").read_bytes())
    code = CODE.replace(f"{HEAVY}", "('keras', 'tensorflow')")
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert "a folder that exists, or the name of a TFDS set; the nearest are" in process.stderr
    assert process.stdout.splitlines()[-1] == "[]"


def without(*variables):
    return {key: value for key, value in os.environ.items() if key not in variables}


@pytest.mark.slow
def test_tensorflow_starts_in_silence_in_the_environment_of_the_commands():
    names = (onednn.ONEDNN, *onednn.THREADS, LOG_LEVEL)
    code = "from keras_resnet.cli.start import *; start_tensorflow(); import tensorflow as tf; tf.ones(2) + 1"
    shown = f"{code}; print([os.environ[name] for name in {names}])"
    quiet = without(*names) | {"LOKY_MAX_CPU_COUNT": "1"}
    process = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, env=quiet)
    assert process.stderr == ""
    assert process.stdout == f"{['1', '1', '1', '2']}\n"


CHATTER = b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795672349.804556   13519 cudart_stub.cc:31] Could not find cuda drivers on your machine
E0000 00:00:1795672365.240656   13519 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)
W0000 00:00:1795672365.240656   13519 computation_placer.cc:177] computation placer already registered
2026-11-26 07:06:01.351944: I tensorflow/core/util/port.cc:113] oneDNN custom operations are on.
2026-11-26 07:06:01.416817: E external/local_xla/cuda_fft.cc:479] Unable to register cuFFT factory
To enable the following instructions: AVX2, in other operations, rebuild TensorFlow with the appropriate compiler flags.
"""  # of TensorFlow 2.16, 2.18 and 2.21
ERRORS = b"E0000 cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\nF0000 last words"


def stderr_of_start(folder, end="", **variables):
    """Where importing Keras writes this, and then ends so."""
    keras = f"import os; os.write(2, {CHATTER + ERRORS}); {end}\nclass config:\n    backend = lambda: 'jax'"
    (folder / "keras.py").write_text(keras)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from keras_resnet.cli.start import *; start_keras()"
    environment = without(LOG_LEVEL) | variables
    return subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment).stderr


@pytest.mark.parametrize("end", ["", "os.abort()", "os.kill(os.getpid(), 9)", "raise OSError"])
def test_messages_are_left_out_and_errors_stay_however_the_process_ends(end, tmp_path):
    stderr = stderr_of_start(tmp_path, end)
    assert stderr.startswith(ERRORS)
    assert stderr == ERRORS or end == "raise OSError"


@pytest.mark.parametrize(("level", "expected"), [("0", CHATTER + ERRORS), ("1", ERRORS), ("3", ERRORS)])
def test_a_user_may_ask_for_all_messages(level, expected, tmp_path):
    assert stderr_of_start(tmp_path, **{LOG_LEVEL: level}) == expected


def test_commands_that_need_tensorflow_say_so(tmp_path):
    pytest.importorskip("jax")
    command = [sys.executable, "-m", "keras_resnet", "train", "--set", "epochs=1"]
    jax = os.environ | {"KERAS_BACKEND": "jax"}
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=jax)
    assert "`KERAS_BACKEND`. Expected 'tensorflow'" in process.stderr


@pytest.mark.parametrize(
    ("command", "option", "table"),
    [
        ("export", "formats", FORMATS),
        ("export", "device", DEVICES),
        ("search", "space", SPACES),
        ("search", "tuner", TUNERS),
    ],
)
def test_choices_are_the_keys_of_the_tables_that_are_not_imported_for_them(command, option, table):
    (choice,) = (param.type for param in main.get_command(None, command).params if param.name == option)
    assert list(choice.choices) == list(table)
