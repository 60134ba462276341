"""ResNet-50 on float32 images of 224 x 224, from an exported file, on all cores; random weights."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import Benchmark, Contender
from benchmarks.train import NO_ONEDNN, ONEDNN

SIZE = 224


def images(batch: int):
    import numpy as np

    return np.random.default_rng(0).uniform(0, 255, (batch, SIZE, SIZE, 3)).astype("float32")


def of_ours(form: str, runtime: Callable[[Path, int], Callable], batch: int, precision: str = "float32"):
    """Our export, whose graph ends in probabilities and starts with pixels, which it normalizes."""
    import keras_resnet

    model = keras_resnet.ResNet50(input_shape=(SIZE, SIZE, 3))
    with TemporaryDirectory() as folder:
        settings = dict(formats=(form,), preprocessing="unit", precision=precision)
        return runtime(keras_resnet.export(model, Path(folder) / "model", **settings), batch)


def of_keras(batch: int):
    import keras
    import tensorflow as tf

    with TemporaryDirectory() as folder:
        keras.applications.ResNet50(weights=None).export(folder, verbose=False)
        loaded, x = tf.saved_model.load(folder), tf.constant(images(batch))
    return lambda: loaded.serve(x).numpy()


def saved_model(folder: Path, batch: int):
    import tensorflow as tf

    serve, x = tf.saved_model.load(folder).signatures["serving_float"], tf.constant(images(batch))
    return lambda: serve(images=x)["probabilities"].numpy()


def litert(folder: Path, batch: int):
    """One image after the other: our LiteRT files take one."""
    import tensorflow as tf

    interpreter: Any = tf.lite.Interpreter(str(folder / "model.tflite"), num_threads=len(os.sched_getaffinity(0)))
    run, x = interpreter.get_signature_runner(), images(batch)
    return lambda: [run(images=image[None]) for image in x]


def onnxruntime(folder: Path, batch: int):
    import onnxruntime

    session, x = onnxruntime.InferenceSession(folder / "model.onnx"), images(batch)
    return lambda: session.run(["probabilities"], {"images": x})


def torch(batch: int, narrow: bool = False):
    import torch
    import torchvision
    from torch.fx.experimental.optimization import fuse

    model = fuse(torchvision.models.resnet50().eval()).to(memory_format=torch.channels_last)
    x = torch.from_numpy(images(batch)).permute(0, 3, 1, 2)  # channels last in memory already

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, narrow):
            return model(x).float().softmax(1)

    return run


def benchmark(batch: int, passes: int) -> Benchmark:
    return Benchmark(
        f"{__doc__} Batch {batch}.",
        (
            Contender("keras_resnet.export, SavedModel", partial(of_ours, "saved_model", saved_model, batch), ONEDNN),
            Contender(
                "keras_resnet.export, SavedModel in bfloat16",
                partial(of_ours, "saved_model", saved_model, batch, "bfloat16"),
                ONEDNN,
            ),
            Contender("keras.applications.ResNet50().export, TensorFlow's defaults", partial(of_keras, batch)),
            Contender("keras.applications.ResNet50().export, oneDNN off", partial(of_keras, batch), NO_ONEDNN),
            Contender(
                "keras_resnet.export, LiteRT, one image after the other", partial(of_ours, "litert", litert, batch)
            ),
            Contender("keras_resnet.export, onnxruntime", partial(of_ours, "onnx", onnxruntime, batch)),
            Contender("torch channels_last, batch norm folded: torchvision resnet50", partial(torch, batch)),
            Contender("the same in bfloat16 by torch.autocast", partial(torch, batch, narrow=True)),
        ),
        rounds=15,
        warmups=2,
        passes=passes,
    )


BENCHMARKS = {"inference": benchmark(1, passes=16), "inference_8": benchmark(8, passes=2)}
