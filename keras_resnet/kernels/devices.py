"""Where TensorFlow or JAX computes: a machine's processor is not the one that a program, a scope or an export chose."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

DEVICES = ("cpu", "gpu")
MEANT: ContextVar[str | None] = ContextVar("MEANT", default=None)


def on_cpu() -> bool:
    """Whether all that runs here runs on CPUs. Nothing is run to find out: a distribution strategy may come after."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.config.get_visible_devices("GPU")
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False


def must_run_on_cpu() -> bool:
    """Whether what is computed or traced now is for a CPU: as `traced_for` says, or else the devices and the scope."""
    if meant := MEANT.get():
        return meant == "cpu"
    if on_cpu():
        return True
    return keras.backend.backend() == "tensorflow" and "CPU" in current_device()


def current_device() -> str:
    """TensorFlow's choice, under `tf.device`, in a strategy's replica and in a function that is called there."""
    import tensorflow as tf

    with tf.init_scope():
        return tf.constant(0.0).device


@contextmanager
def traced_for(device: str) -> Iterator[None]:
    """While it lasts, networks are traced for a "cpu" or a "gpu", wherever that is done: for files that run elsewhere.

    What is traced for a CPU runs everywhere.
    """
    token = MEANT.set(device)
    try:
        yield
    finally:
        MEANT.reset(token)
