"""Files of repositories on the hub, with random weights."""

import json

import keras
import numpy as np
from safetensors.numpy import save

from keras_resnet.weights.schemes import SCHEMES

TORCHVISION = next(scheme for scheme in SCHEMES if scheme.title.startswith("torchvision and timm: ResNet"))


def randomized(model, seed=0):
    """With norms, too, that do something."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        spread = np.sqrt(2 / np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.1
        centre = 1 if variable.name in ("gamma", "moving_variance") else 0
        variable.assign(random.uniform(centre - spread, centre + spread, variable.shape))
    return model


def safetensors_of(model, scheme=TORCHVISION):
    """The weights as a file under torchvision's names."""
    state = {}
    for layer in model.layers:
        name = scheme.candidates(layer.name)[0] if layer.weights else ""
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = zip(("weight", "bias", "running_mean", "running_var"), layer.get_weights(), strict=True)
            state |= {f"{name}.{part}": array for part, array in parts}
        elif layer.weights:
            kernel, *bias = layer.get_weights()
            state[f"{name}.weight"] = np.transpose(kernel, (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0))
            state |= {f"{name}.bias": array for array in bias}
    return save({name: np.ascontiguousarray(array) for name, array in state.items()})


def json_of(value):
    return json.dumps(value).encode()
