"""The formats of exports: how each is written, into which file, and how far it may differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_resnet.graph.remake import portable
from keras_resnet.modelcard import attach
from keras_resnet.serving.job import Job
from keras_resnet.serving.saved_model import write_saved_model

CALIBRATED = 256  # images


def write_keras(job: Job, path: Path) -> None:
    network = portable(job.network)
    attach(network, job.card({}))
    network.save(path)


def write_litert(job: Job, path: Path, **settings: Any) -> None:
    images = tf.TensorSpec((1, *job.shape), tf.float32, name="images")
    job.from_pixels.export(path, format="litert", verbose=False, input_signature=[images], **settings)


def write_litert_float16(job: Job, path: Path) -> None:
    write_litert(job, path, optimizations=[tf.lite.Optimize.DEFAULT], target_spec={"supported_types": [tf.float16]})


def write_litert_int8(job: Job, path: Path) -> None:
    """Weights and activations; the images and the probabilities stay float32."""
    assert job.data
    images = job.sized(job.images(job.data.train, CALIBRATED)[0])
    calibration = {"representative_dataset": lambda: ([image[np.newaxis]] for image in images)}
    write_litert(job, path, optimizations=[tf.lite.Optimize.DEFAULT], **calibration)


def write_onnx(job: Job, path: Path) -> None:
    images = tf.TensorSpec((None, *job.shape), tf.float32, name="images")
    job.from_pixels.export(path, format="onnx", verbose=False, input_signature=[images])


class Format(NamedTuple):
    write: Callable[[Job, Path], None]
    file: str  # in the version's folder; none for the folder itself
    tolerance: float  # largest difference of a probability
    packages: tuple[str, ...] = ()
    narrow: bool = False  # also written in bfloat16
    fixed: bool = True  # takes images of one size
    calibrated: bool = False


FORMATS = {
    "saved_model": Format(write_saved_model, "", 1e-4, narrow=True, fixed=False),
    "keras": Format(write_keras, "model.keras", 1e-4, fixed=False),
    "litert": Format(write_litert, "model.tflite", 1e-4),
    "litert_float16": Format(write_litert_float16, "model_float16.tflite", 1e-2),
    "litert_int8": Format(write_litert_int8, "model_int8.tflite", 0.5, calibrated=True),
    "onnx": Format(write_onnx, "model.onnx", 1e-4, ("onnx", "onnxruntime", "tf2onnx")),
}
IN_BFLOAT16 = 0.02  # the tolerance: bfloat16 has 8 bits


def tolerance(name: str, precision: str) -> float:
    """The largest difference in a probability that such a file may have."""
    return FORMATS[name].tolerance if precision == "float32" else IN_BFLOAT16
