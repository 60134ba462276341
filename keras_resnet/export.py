"""A trained network as a SavedModel that takes pixels and needs TensorFlow alone."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf

from keras_resnet import served
from keras_resnet.card import ARCHIVED, Preprocessing, card
from keras_resnet.files import completed
from keras_resnet.predict import ends_in_logits, preprocessing_row


def export(model: keras.Model, path: Path, preprocessing: Preprocessing | str | None = None) -> None:
    """Writes the SavedModel `path`, with the normalization, and softmax where the model ends in logits, inside.

    Its signature `serving_default` takes `images`, uint8 [N, H, W, C], and returns `probabilities`, float32
    [N, classes]. What the model's card does not say, `preprocessing` does: see `keras_resnet.preprocessing`. The card
    is beside the graph: `keras_resnet.card(path)`.

    Raises:
        ValueError: Where `path` exists, or neither the card nor `preprocessing` says how the model reads images.
    """
    normalize, logits = preprocessing_row(model, preprocessing), ends_in_logits(model)

    def serving_default(images):
        outputs = model(normalize(tf.cast(images, tf.float32)), training=False)
        return {"probabilities": tf.nn.softmax(outputs) if logits else outputs}

    archive = keras.export.ExportArchive()
    archive.track(model)
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="images")
    archive.add_endpoint("serving_default", serving_default, input_signature=[images])
    with completed(path) as partial:
        archive.write_out(partial, verbose=False)
        if known := card(model):
            (partial / ARCHIVED).write_text(replace(known, preprocessing=normalize).to_json())


def predict_in_fresh_process(path: Path, images: np.ndarray) -> np.ndarray:
    """The SavedModel's probabilities, from a Python process that imports TensorFlow and nothing of ours.

    Raises:
        RuntimeError: Where that process fails, with what it printed.
    """
    with TemporaryDirectory() as folder:
        given, returned = Path(folder) / "images.npy", Path(folder) / "probabilities.npy"
        np.save(given, images)
        command = [sys.executable, "-P", served.__file__, str(path), str(given), str(returned)]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"The exported model did not run in a process of its own:\n{process.stderr}")
        return np.load(returned)
