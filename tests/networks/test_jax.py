"""Under the JAX backend, with TensorFlow absent, the same rows are the same networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_resnet import build

pytest.importorskip("jax")

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
INTERFACE = dict(input_shape=(32, 32, 3), classifier_activation=None)

CHILD = """
import json, sys
sys.modules["tensorflow"] = None  # from here on importing it is an error
from pathlib import Path
import keras
import numpy as np
from keras_resnet import build
assert keras.backend.backend() == "jax"
folder, networks, interface = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
images, counts, outputs = np.load(folder / "images.npy"), {}, {}
for name, changes in networks.items():
    model = build(name, weights=folder / f"{name}.weights.h5", **interface, **changes)
    counts[name], outputs[name] = model.count_params(), model.predict(images, verbose=0)
np.savez(folder / "outputs.npz", **outputs)
(folder / "counts.json").write_text(json.dumps(counts))
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
def both(tmp_path_factory):
    """(TensorFlow's counts, JAX's, TensorFlow's outputs, JAX's), by network, with the same weights."""
    folder = tmp_path_factory.mktemp("jax")
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images)
    counts, outputs = {}, {}
    for name, changes in NETWORKS.items():
        model = randomized(build(name, **INTERFACE, **changes))
        model.save_weights(folder / f"{name}.weights.h5")
        counts[name], outputs[name] = model.count_params(), np.asarray(model(images))
    package = str(Path(__file__).parents[2])
    jax = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    child = [sys.executable, "-c", CHILD, str(folder), json.dumps(NETWORKS), json.dumps(INTERFACE)]
    subprocess.run(child, env={**os.environ, **jax, "PYTHONPATH": package}, cwd=folder, check=True)
    return counts, json.loads((folder / "counts.json").read_text()), outputs, dict(np.load(folder / "outputs.npz"))


def test_networks_under_jax_have_the_same_parameters_and_outputs(both):
    counts, jax_counts, outputs, jax_outputs = both
    assert jax_counts == counts
    for name, expected in outputs.items():
        scale = np.abs(expected).max()  # of the logits: softmax would hide what differs
        np.testing.assert_allclose(jax_outputs[name] / scale, expected / scale, atol=1e-4, err_msg=name)
