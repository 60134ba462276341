"""What TensorFlow leaves off on CPUs. It reads the environment once, when it is imported: `prepare` comes before."""

import logging
import os
import platform
import subprocess
import sys
from functools import cache

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
RUN = "keras_resnet.run"
COMMANDS = {"keras-resnet", "keras-resnet.exe", "keras_resnet", RUN}
HINT = (
    "TensorFlow's oneDNN kernels are off on this processor, and networks train and predict faster with them. Start as "
    f"`{ONEDNN}=1 python script.py` or `python -m {RUN} script.py`: nothing turns them on once TensorFlow is imported, "
    f"and {ONEDNN}=0 keeps this quiet."
)


def prepare() -> None:
    """For a process that one of our commands started; what the user has set stays. `keras_resnet.run` goes on here."""
    started, options = command(sys.orig_argv, sys.argv)
    if started not in COMMANDS:
        return
    from joblib import cpu_count  # of this process: affinity and the control group's quota, which TensorFlow ignores

    for name, value in {ONEDNN: 1, **dict.fromkeys(THREADS, cpu_count())}.items():
        os.environ.setdefault(name, str(value))
    if started == RUN and sys.argv[0] == "-m" and len(sys.argv) > 1:  # and not below a profiler
        replace_process([sys.executable, *options, *sys.argv[1:]])


def replace_process(words: list[str]) -> None:
    if os.name == "nt":  # whose execv returns to the shell at once
        sys.exit(subprocess.call(words))
    os.execv(words[0], words)


def command(original: list[str], arguments: list[str]) -> tuple[str, list[str]]:
    """The script or module that Python was told to run, and Python's own options before it.

    >>> command(["python", "-u", "-m", "keras_resnet.run", "script.py", "--fast"], ["-m", "script.py", "--fast"])
    ('keras_resnet.run', ['-u'])
    """
    position = max(0, len(original) - len(arguments))
    options, started = original[1:position], original[position] if arguments else ""
    if arguments[:1] == ["-m"] and options and options[-1].endswith("m"):
        flags = options.pop().removesuffix("m")
        options += [flags] if flags != "-" else []
    return os.path.basename(started.removeprefix("-m")), options


@cache
def hint() -> None:
    """Logged once, where oneDNN is off though the user has not turned it off, and would help."""
    import keras

    from keras_resnet.kernels.grouped_conv import on_cpu

    if keras.backend.backend() != "tensorflow" or not on_cpu():
        return
    turned_off = os.environ.get(ONEDNN, "").lower() in ("0", "false")
    if not turned_off and platform.machine() in ("x86_64", "AMD64") and not onednn_is_on():
        logging.getLogger("keras_resnet").warning(HINT)


def onednn_is_on() -> bool:
    try:
        from tensorflow.python.util import _pywrap_util_port  # TensorFlow's own tests ask it
    except ImportError:  # it is private
        return True
    return _pywrap_util_port.IsMklEnabled()
