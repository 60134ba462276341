"""Under JAX and torch, with TensorFlow absent, the same rows are the same networks: built, counted, loaded, trained."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_resnet

SMALL = ((16,), (32,), (64,))
NETWORKS = {  # name -> what makes it small
    "resnet20": dict(),
    "plain20": dict(stages=SMALL),
    "resnet110v2": dict(stages=SMALL),
    "wide_resnet28_10": dict(stages=SMALL),
    "resnext29_32x4d": dict(stages=((256,),)),
    "seresnet20": dict(stages=SMALL),
    "pyramidnet110_a84": dict(stages=((18, 21), (23, 25))),
    "multiresnet26_10_k2": dict(stages=SMALL),
    "densenetbc100_k12": dict(stages=(2, 2)),
    "fractalnet20": dict(stages=(4, 8), drop_path=0.15),
    "resnet18": dict(),
    "resnet18v2": dict(stages=((64,),), stem="imagenet_bare", drop_path=0.2),
    "resnet50d": dict(stages=((64,), (128,))),
    "resnetrs50": dict(stages=((64,), (128,))),
}
TRAINED = ("plain20", "wide_resnet28_10", "resnext29_32x4d", "seresnet20", "densenetbc100_k12", "fractalnet20")
INTERFACE = dict(input_shape=(32, 32, 3), classifier_activation=None)

BACKENDS = {  # and what keeps its tests short
    "jax": {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"},
    "torch": {"CUDA_VISIBLE_DEVICES": ""},
}

CHILD = """
import json, sys
sys.modules["tensorflow"] = None  # from here on importing it is an error
from pathlib import Path
import keras
import numpy as np
import keras_resnet
folder, networks, trained, interface = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
images, outputs = np.load(folder / "images.npy"), {}
told = {"backend": keras.backend.backend(), "params": {}, "macs": {}, "losses": {}}
for name, changes in networks.items():
    model = keras_resnet.build(name, weights=folder / f"{name}.weights.h5", **interface, **changes)
    costs = keras_resnet.complexity(model)
    told["params"][name], told["macs"][name] = costs.params, costs.macs
    outputs[name] = model.predict(images, verbose=0)
cifar10 = keras_resnet.build("resnet20", weights="cifar10", classifier_activation=None)
outputs["cifar10"] = cifar10.predict(images, verbose=0)
for name in trained:
    keras.utils.set_random_seed(0)
    model = keras_resnet.build(name, **interface, **networks[name])
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    told["losses"][name] = model.fit(images, np.arange(4), epochs=8, verbose=0).history["loss"]
np.savez(folder / "outputs.npz", **outputs)
(folder / "told.json").write_text(json.dumps(told))
assert sys.modules["tensorflow"] is None
"""


def randomized(model):
    """The model with norms as after training: no gamma 1, no beta 0."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def tensorflows(tmp_path_factory):
    """(the folder of images and weights, the networks under TensorFlow, their outputs)"""
    assert keras.backend.backend() == "tensorflow"
    folder = tmp_path_factory.mktemp("backends")
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    models = {name: randomized(keras_resnet.build(name, **INTERFACE, **row)) for name, row in NETWORKS.items()}
    for name, model in models.items():
        model.save_weights(folder / f"{name}.weights.h5")
    cifar10 = keras_resnet.build("resnet20", weights="cifar10", classifier_activation=None)
    outputs = {name: np.asarray(model(images)) for name, model in (models | {"cifar10": cifar10}).items()}
    return folder, models, outputs


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in BACKENDS])
def other(request, tensorflows):
    """(what the other backend told, its outputs)"""
    backend, (folder, *_) = request.param, tensorflows
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, **BACKENDS[backend], "KERAS_BACKEND": backend}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    settings = map(json.dumps, (NETWORKS, TRAINED, INTERFACE))
    subprocess.run([sys.executable, "-c", CHILD, str(folder), *settings], env=environment, cwd=folder, check=True)
    told = json.loads((folder / "told.json").read_text())
    assert told["backend"] == backend
    return told, dict(np.load(folder / "outputs.npz"))


def test_networks_compute_the_same_under_every_backend(other, tensorflows):
    """To 1e-4 of the largest logit: softmax would hide what differs."""
    for name, expected in tensorflows[-1].items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(other[1][name] / scale, expected / scale, atol=1e-4, err_msg=name)


def test_networks_have_the_same_complexity_under_every_backend(other, tensorflows):
    costs = {name: keras_resnet.complexity(model) for name, model in tensorflows[1].items()}
    assert other[0]["params"] == {name: cost.params for name, cost in costs.items()}
    assert other[0]["macs"] == {name: cost.macs for name, cost in costs.items()}


@pytest.mark.parametrize("name", TRAINED)
def test_fit_learns_a_batch_by_heart_under_every_backend(other, name):
    first, *rest = other[0]["losses"][name]
    assert min(rest) < first  # drop-path makes single ones rise
