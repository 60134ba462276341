"""TensorFlow's oneDNN kernels for CPUs, and as many threads as there are cores: read when TensorFlow is imported."""

import logging
import os
import platform
from functools import cache

from keras_resnet import machine

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
ON_BY_DEFAULT = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}  # TensorFlow's rule
HINT = (
    "TensorFlow's oneDNN kernels are off on this processor. Networks train and predict faster with them: start with "
    f"`{ONEDNN}=1 python script.py` or `python -m keras_resnet.run script.py`. {ONEDNN}=0 turns this message off."
)


def prepare() -> None:
    """Sets the environment for a fast TensorFlow, before it is imported. What the user has set stays."""
    for name, value in {ONEDNN: 1, **dict.fromkeys(THREADS, machine.cores())}.items():
        os.environ.setdefault(name, str(value))


@cache
def hint() -> None:
    """Logs once that oneDNN is off, where it would help and the user has not decided."""
    import keras

    from keras_resnet.kernels.devices import on_cpu

    if keras.backend.backend() == "tensorflow" and on_cpu() and left_off():
        logging.getLogger("keras_resnet").warning(HINT)


def left_off() -> bool:
    """Whether TensorFlow leaves oneDNN off by itself: on Linux, on x86 processors without these instructions."""
    if ONEDNN in os.environ or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    return ON_BY_DEFAULT.isdisjoint(machine.processor_flags())
