"""What a process runs on: its cores, the processor, GPUs, and the versions of the libraries."""

import platform
import sys
from collections import Counter
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux
LIBRARIES = ("keras_resnet", "keras", "tensorflow", "jax", "numpy")


def cores() -> int:
    """How many cores this process may use: affinity and the control group's quota, which TensorFlow ignores."""
    from joblib import cpu_count  # imports NumPy

    return cpu_count()


def processor() -> str:
    """The name of the processor, such as "AMD EPYC 9R14"."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """What Linux calls the processor's instructions, such as "avx512_bf16"; none on other systems."""
    return frozenset((cpuinfo("flags") or cpuinfo("Features")).split())


def cpuinfo(field: str) -> str:
    """A field of the first core; "" where there is none."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == field), "")


def gpus() -> list[str]:
    """Names of the GPUs that this process sees; [] where TensorFlow is not imported."""
    if not (tf := sys.modules.get("tensorflow")):
        return []
    details = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    return [known.get("device_name", "GPU") for known in details]


def hardware() -> str:
    """Such as "2 cores of AMD EPYC 9R14", or "NVIDIA H200, 16 cores of AMD EPYC 9R14"."""
    counted = (f"{count} x {name}" if count > 1 else name for name, count in Counter(gpus()).items())
    return ", ".join([*counted, f"{cores()} cores of {processor()}"])


def on_terminal() -> bool:
    """Whether standard output can show a progress bar: a terminal or a notebook, and no file."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules


def versions() -> dict[str, str]:
    """Python's, and of the libraries that are imported, whichever distribution brought them."""
    imported = {name: module for name in LIBRARIES if (module := sys.modules.get(name))}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in imported.items()}}
