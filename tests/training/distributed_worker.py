"""What a user writes to train on several devices: one process of tests/test_distribute.py."""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

import keras_resnet
from keras_resnet.training import distribute
from keras_resnet.training.peers import peers_watched

DIGITS = Path(keras_resnet.__file__).parent / "data" / "digits" / "digits.npz"
DEEP = [[16] * 3, [32] * 3, [64] * 3]
BATCH, TRAIN, VALIDATION = 48, 192, 97  # 97 divides by neither two nor three workers


def images(first, last):
    with np.load(DIGITS) as file:
        return file["images"][first:last, ..., None] * np.float32(1 / 16), file["labels"][first:last].astype("int32")


def batches(arrays, size):
    """Of every global batch each worker reads the images whose place, divided by the workers, leaves its number."""

    def of(worker, workers):
        dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(size)
        return dataset.map(lambda *batch: tuple(part[worker::workers] for part in batch))

    return of


@keras.saving.register_keras_serializable()
class Images(keras.metrics.Sum):
    """How many there were, so that none is read twice or not at all."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(keras.ops.ones_like(y_true))


class Saved(keras.callbacks.Callback):
    """Every epoch's model, by the chief alone; what every worker resumes from."""

    def __init__(self, folder, chief):
        super().__init__()
        self.path, self.chief = folder / "epoch.keras", chief

    def on_epoch_end(self, epoch, logs=None):
        print(f"epoch {epoch}", flush=True)
        if self.chief:
            self.model.save(self.path.with_suffix(".part.keras"))
            os.replace(self.path.with_suffix(".part.keras"), self.path)


def network(synchronized, stages):
    keras.utils.set_random_seed(0)
    model = keras_resnet.build("resnet20", stages=stages, input_shape=(8, 8, 1), classes=10, classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy", Images(name="images")])
    return distribute.synchronized(model, synchronized)


def train(folder, kind, epochs=2, synchronized=True, stages=DEEP, evaluated=False):
    keras.config.set_floatx("float64")
    strategy = distribute.strategy(kind)
    distribute.shared_folder(strategy, folder, timeout=10)
    print(distribute.sharing(strategy, BATCH), flush=True)
    saved = Saved(folder, distribute.is_chief(strategy))
    resumed = distribute.from_chief(strategy, saved.path.exists())
    with strategy.scope() if strategy else nullcontext():
        model = keras.models.load_model(saved.path) if resumed else network(synchronized, stages)
    done = int(model.optimizer.iterations.numpy()) // (TRAIN // BATCH)
    training = distribute.distributed(strategy, batches(images(0, TRAIN), BATCH))
    held_out = images(TRAIN, TRAIN + VALIDATION)
    size = distribute.even_batch_size(strategy, BATCH, VALIDATION)
    validation = distribute.distributed(strategy, batches(held_out, size))
    with peers_watched(strategy):
        settings = dict(epochs=epochs, initial_epoch=done, callbacks=[saved], shuffle=False, verbose=0)
        history = model.fit(training, validation_data=validation, **settings)
        result = {**history.history, "chief": distribute.from_chief(strategy, 1 + distribute.workers(strategy)[0])}
        if evaluated:
            result["evaluate"] = model.evaluate(validation, verbose=0)
            result["predict"] = model.predict(held_out[0], batch_size=size, verbose=0)
    weights = {f"weight {number}": weight for number, weight in enumerate(model.get_weights())}
    np.savez(folder / f"worker{distribute.workers(strategy)[0]}.npz", **result, **weights)


def divide_cpu(devices):
    """As if it were so many GPUs, also for a strategy of several workers, which takes one CPU a worker otherwise."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * devices
    )

    def local_devices(self, resolver, worker):
        return tuple(f"{worker}/device:CPU:{index}" for index in range(devices)), "CPU"

    CollectiveAllReduceExtended._initialize_local_devices = local_devices


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    divide_cpu(arguments.pop("devices", 1))
    folder = Path(arguments.pop("folder"))
    for kind in arguments.pop("kinds", ()):  # one after the other, each in a folder of its own
        train(folder / kind, kind, **arguments)
    if "kind" in arguments:
        train(folder, **arguments)
