"""NumPy's numbers are numbers everywhere, and what is written of them is Python's."""

import json
from dataclasses import asdict

import numpy as np
import pytest

import keras_resnet
from helpers.trained import FEW, READ, linear, tiny
from keras_resnet import Preprocessing, Recipe, analysis
from keras_resnet.experiment import Run
from keras_resnet.tuning.hypermodel import HyperResNet

INT, FLOAT = np.int64, np.float32
IMAGES = np.zeros((40, 8, 8, 3), "uint8"), np.arange(40) % 2


def trained(folder):
    recipe = Recipe(epochs=INT(1), batch_size=INT(16), lr=FLOAT(0.1), augment={"flip": FLOAT(0.5)})
    return keras_resnet.train(linear(), FEW, recipe, folder, seed=INT(3), verbose=INT(0))


def searched(_):
    changes = {"epochs": INT(2)}
    space = HyperResNet("width_depth", "digits", max_macs=FLOAT(1e7), patience=INT(2), seed=INT(1), changes=changes)
    return json.dumps(space.asked)


def run(_):
    return json.dumps(
        asdict(
            Run(
                network="resnet20",
                data="digits",
                size=INT(16),
                seed=INT(1),
                validation=FLOAT(0.25),
                changes={"lr": FLOAT(0.5)},
                config={"drop_path": FLOAT(0.5)},
                remat=np.False_,
            )
        )
    )


CALLS = {
    "train": trained,
    "HyperResNet": searched,
    "Run": run,
    "load_data": lambda _: keras_resnet.load_data((IMAGES, IMAGES), validation=FLOAT(0.25)),
    "evaluate": lambda _: keras_resnet.evaluate(linear(), FEW, preprocessing=READ, batch_size=INT(99)),
    "complexity": lambda _: keras_resnet.complexity(tiny(), (INT(16), INT(16), INT(1))),
    "features": lambda _: keras_resnet.features(tiny(), stages=(INT(1), INT(2))),
    "decode_predictions": lambda _: keras_resnet.decode_predictions(np.array([[0.25, 0.75]]), top=INT(1), model=tiny()),
    "Preprocessing": lambda _: json.dumps(asdict(Preprocessing((FLOAT(1),), (INT(2),), resize=(INT(8), INT(8))))),
    "grad_cam": lambda _: analysis.grad_cam(tiny(), FEW.test.images[0], INT(3), preprocessing=READ),
    "feature_maps": lambda _: analysis.feature_maps(tiny(), FEW.test.images[0], INT(1), preprocessing=READ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_function_takes_numpys_numbers(name, tmp_path):
    CALLS[name](tmp_path)
