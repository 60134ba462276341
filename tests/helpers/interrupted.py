"""A run that can be killed at any moment: what a user's script does.

python -m helpers.interrupted '{"name": "plateau", "folder": "run", "moment": ["on_epoch_end", 4, null]}'
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

import keras_resnet
from helpers.trained import SOURCE
from keras_resnet.training import Recipe, train

# All that a resumed run must bring back: drop path and dropout (seeds), a plateau (a callback's best and wait, its
# rate), momentum, the best epoch so far, augmentation and order; or else an average, and a rate that is held.
PLATEAU = Recipe(
    epochs=6,
    batch_size=32,
    steps_per_epoch=12,
    lr=0.3,
    schedule="plateau",
    factor=0.5,
    patience=1,
    weight_decay=1e-3,
    nesterov=True,
    augment={"pad_crop": 1, "flip": 0.5, "mixup": 0.2},
)
EMA = Recipe(
    epochs=5,
    steps_per_epoch=7,
    batch_size=32,
    lr=0.2,
    warmup_lr=0.05,
    warmup_error=0.85,
    ema=0.9,
    accumulate=2,
    augment={"rand_augment": 9},
)
RUNS = {"plateau": (PLATEAU, SOURCE), "ema": (EMA, replace(SOURCE, validation=None))}


class Killed(keras.callbacks.Callback):
    """kill -9 of this process, at a moment such as ("on_train_batch_end", 2, 5): the sixth batch of the third epoch."""

    def __init__(self, moment, epoch, batch):
        super().__init__()
        self.epoch, self.at = None, (moment, epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.here("on_train_batch_end", batch)

    def on_epoch_end(self, epoch, logs=None):
        self.here("on_epoch_end", None)

    def here(self, moment, batch):
        if (moment, self.epoch, batch) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing(epoch):
    """Half of a checkpoint is on the disk when the process dies."""
    whole, written = np.savez, []

    def savez(file, **arrays):
        written.append(1)
        if len(written) > epoch:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        whole(file, **arrays)

    np.savez = savez


def run(name, folder, callbacks=()):
    """Trains, or goes on with, the run in that folder: the arrays it ends with."""
    recipe, source = RUNS[name]
    keras.utils.set_random_seed(1)
    config = keras_resnet.ResNetConfig(stages=((4,), (8,)), stem_filters=4, drop_path=0.3, dropout=0.2)
    model = keras_resnet.resnet(config, input_shape=(8, 8, 1), classes=10, classifier_activation=None)
    train(model, source, recipe, folder, seed=3, resume=True, callbacks=callbacks, verbose=0)
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def killed(name, folder, moment):
    """The exit status of a process that does the same until that moment."""
    request = json.dumps({"name": name, "folder": str(folder), "moment": moment})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "helpers.interrupted", request]
    return subprocess.run(command, env=environment, capture_output=True, timeout=300).returncode


def main(name, folder, moment):
    if moment[0] == "while writing":
        kill_while_writing(moment[1])
        run(name, Path(folder))
    run(name, Path(folder), [Killed(*moment)])


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
