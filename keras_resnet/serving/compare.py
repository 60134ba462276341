"""Exported files against the network, run by a Python process that has nothing of this package."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.checks import ReportedError
from keras_resnet.data import digits
from keras_resnet.machine import cores
from keras_resnet.modelcard import Preprocessing
from keras_resnet.serving import runtimes
from keras_resnet.serving.formats import FORMATS, tolerance
from keras_resnet.serving.job import Job

PRECISIONS = {  # what a card says of them
    "float32": {},
    "bfloat16": {"precision": "bfloat16", "faster_on": "processors with AVX-512 BF16 or AMX, GPUs with tensor cores"},
}
COMPARED, MEASURED = 16, 1000  # images: of the digits, and of the data


class ExportError(ReportedError, ArithmeticError):
    """An exported file does not compute what the network computes."""


def compared(job: Job, folder: Path, formats: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Runs every format on real images in a process that has nothing of ours; what that measured.

    Raises:
        ExportError: If a format does not give the network's probabilities.
    """
    images, labels = job.images(job.data.test, MEASURED) if job.data else job.images(digits().test, COMPARED)
    with without_tensor_float_32():
        expected = job.reference.predict(job.preprocessing(job.sized(images)), runtimes.BATCH, verbose=0)
    files = [folder / FORMATS[name].file for name in formats]
    runs = run_elsewhere(files, images, job.preprocessing)
    measured = {}
    for name, file, (probabilities, milliseconds) in zip(formats, files, runs, strict=True):
        measured[name] = {
            "file": FORMATS[name].file or ".",
            "bytes": size_of(file),
            **PRECISIONS[job.precision],
            "difference": difference(name, probabilities, expected, tolerance(name, job.precision)),
            "tolerance": tolerance(name, job.precision),
            "milliseconds": round(milliseconds, 2),
        }
        if job.data:
            measured[name]["accuracy"] = float(np.mean(probabilities.argmax(1) == labels))
    return measured


def difference(name: str, probabilities: np.ndarray, expected: np.ndarray, tolerance: float) -> float:
    """The largest of a probability, which is within the tolerance."""
    largest = float(np.abs(probabilities - expected).max())
    if not largest <= tolerance:
        differs = f"{name} differs from the network by {largest:.2g} in a probability"
        raise ExportError(f"{differs}, more than the {tolerance:.2g} that is allowed: nothing was written.")
    return largest


@contextmanager
def without_tensor_float_32() -> Iterator[None]:
    """GPUs convolve float32 in 10 bits by default, too few to compare by."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def run_elsewhere(
    files: Sequence[Path], images: np.ndarray, preprocessing: Preprocessing
) -> list[tuple[np.ndarray, float]]:
    """Runs exported files in a Python process that imports nothing of ours: probabilities, and milliseconds an image.

    The process runs on the CPU, because this one may hold all of a GPU's memory. The time is the median.

    Args:
        files: Exported by `export`: a version's folder for its SavedModel.
        images: uint8 [N, H, W, C], of the size to which `preprocessing` resizes.
        preprocessing: How the network reads them.

    Raises:
        RuntimeError: If that process fails, with what it printed.
    """
    crop = preprocessing.crop or images.shape[1:3]
    settings: dict[str, Any] = {"mean": preprocessing.mean, "std": preprocessing.std, "threads": cores()}
    with TemporaryDirectory() as folder:
        given, returned = Path(folder) / "images.npz", Path(folder) / "results.npz"
        np.savez(given, images=images, crop=crop, **settings)
        command = [sys.executable, "-P", runtimes.__file__, given, returned, *files]
        on_cpu = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        process = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=on_cpu)
        if process.returncode:
            raise RuntimeError(f"An exported file did not run in a process of its own:\n{process.stderr}")
        with np.load(returned) as results:
            return [(results[str(file)], float(results[f"{file} ms"])) for file in files]


def size_of(path: Path) -> int:
    """Bytes of a file, or of a SavedModel's graph and variables."""
    files = [path] if path.is_file() else [path / "saved_model.pb", *(path / "variables").iterdir()]
    return sum(file.stat().st_size for file in files)
