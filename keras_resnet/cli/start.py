"""Keras and TensorFlow for a command: fast on CPUs, and without TensorFlow's startup messages."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec

from keras_resnet.checks import expect
from keras_resnet.kernels import onednn

BACKENDS = ("tensorflow", "jax", "torch")
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # 0 shows all messages, 2 errors
MESSAGES = re.compile(
    rb"All log messages before absl::InitializeLog"
    rb"|^[IW]\d{4} |: [IW] "  # information and warnings, which some libraries log before they read the level
    rb"|Unable to register cu\w+ factory"
    rb"|cuInit: .*(303|NO_DEVICE)"  # no driver, or no GPU: then TensorFlow runs on the CPU
    rb"|^To enable the following instructions"
)


def start_keras(*, and_tensorflow: bool = False) -> None:
    """Imports Keras and its backend; TensorFlow too, where it reads images for another backend."""
    if "keras" in sys.modules:
        return
    expect_backend()
    everything = os.environ.setdefault(LOG_LEVEL, "2") == "0"
    with nullcontext() if everything or not hasattr(os, "fork") else stderr_without(MESSAGES):
        onednn.prepare()
        import keras

        if and_tensorflow or keras.config.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()  # which logs too


def expect_backend() -> None:
    """Raises a ValueError if the backend that the environment names is unknown or not installed."""
    name = os.environ.get("KERAS_BACKEND") or "tensorflow"
    expect(name in BACKENDS and find_spec(name), "KERAS_BACKEND", f"a backend that is installed, of {BACKENDS}", name)


def start_tensorflow() -> None:
    """As `start_keras`, for commands that need TensorFlow, whatever computes."""
    start_keras()
    import keras

    backend = keras.config.backend()
    expect(backend == "tensorflow", "KERAS_BACKEND", "'tensorflow', which reads data and writes exports", backend)


@contextmanager
def stderr_without(messages: re.Pattern[bytes]) -> Iterator[None]:
    """Standard error, also that of C++ code, without the lines that match.

    A process of its own reads the lines, so that none is lost if this one crashes.
    """
    sys.stderr.flush()
    stderr, (reader, writer) = os.dup(2), os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        copy_lines(reader, stderr, messages)
    os.dup2(writer, 2)
    os.close(reader)
    os.close(writer)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)  # which closes the pipe: the child ends
        os.close(stderr)
        os.waitpid(child, 0)


@contextmanager
def silent() -> Iterator[None]:
    """Standard error, also that of C++ code, is dropped; errors are raised."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def copy_lines(reader: int, stderr: int, messages: re.Pattern[bytes]) -> None:
    """The child's whole life."""
    try:
        with open(reader, "rb") as lines:
            for line in lines:
                if not messages.search(line):
                    os.write(stderr, line)
    finally:
        os._exit(0)
