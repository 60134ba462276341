"""What a user writes with Keras alone, under our strategy: one process of tests/training/test_own_fit.py."""

import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
from distributed_worker import DIGITS, divide_cpu

import keras_resnet
from keras_resnet.training.cluster import workers


class OnEveryEpoch(keras.callbacks.Callback):
    """Shows every worker's weights after each epoch."""

    def __init__(self, folder, worker):
        super().__init__()
        self.folder, self.worker = folder, worker

    def on_epoch_end(self, epoch, logs=None):
        np.savez(self.folder / f"epoch{epoch}-worker{self.worker}.npz", *everywhere(self.model))
        print(f"epoch {epoch}", flush=True)


def everywhere(model):
    """The values of all variables on all devices of this process."""
    local = model.distribute_strategy.experimental_local_results
    return [np.stack([value.numpy() for value in local(variable.value)]) for variable in model.variables]


def network():
    model = keras_resnet.build("resnet20", stages=[[16], [32]], input_shape=(8, 8, 1), classes=10)
    head = keras.layers.BatchNormalization(name="own")(model.output)  # Keras' own norm, that we have not built
    return keras.Model(model.input, keras.layers.Dense(10, "softmax")(head))


def train(folder, kind, epochs, leaves=None):
    strategy = keras_resnet.strategy(kind)
    worker, _ = workers(strategy)
    keras.utils.set_random_seed(0)
    with strategy.scope() if strategy else nullcontext():
        model = network()
        model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    with np.load(DIGITS) as file:
        images, labels = file["images"][:256, ..., None] / np.float32(16), file["labels"][:256]
    save = [keras.callbacks.ModelCheckpoint(folder / "epoch{epoch}.keras")] if worker == 0 else []
    model.fit(images, labels, batch_size=64, epochs=epochs, callbacks=[*save, OnEveryEpoch(folder, worker)], verbose=0)
    if worker == leaves:
        os.kill(os.getpid(), signal.SIGKILL)
    if worker == 0:
        time.sleep(5 if leaves else 0)
        model.save(folder / "final.keras")
        print("saved", flush=True)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    divide_cpu(arguments.pop("devices", 1))
    train(Path(arguments.pop("folder")), **arguments)
