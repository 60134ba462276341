"""Where a source's convolutions have biases and ours have none: what the norms behind them must take over."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from keras_resnet.checks import expect
from keras_resnet.tracing import replaced_calls, walk

CONSTANT = (
    layers.Add, layers.Average, layers.Concatenate, layers.ZeroPadding2D, layers.AveragePooling2D, layers.MaxPooling2D,
    layers.Dropout, layers.InputLayer, layers.Rescaling,
)  # fmt: skip
SIDE = 64


def absorbed(model: keras.Model, biases: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Norm -> what the biases of the convolutions add to its input, channel by channel.

    Everything between a convolution and the norms that read it is linear, and maps an image that is constant to one
    that is: so the model is called with a bias for a convolution's output, zeros for a norm's, and each layer between
    as it is. A bias that meets anything else before a norm cannot be taken over.

    Raises:
        ValueError: Where a bias reaches a relu, another convolution or the head, or is not constant any more.
    """
    if not any(np.any(bias) for bias in biases.values()):
        return {}
    taken: dict[str, np.ndarray] = {}

    def replacement(layer, call):
        def of_constants(x, *args, **kwargs):
            if isinstance(layer, CONSTANT):
                return call(x, *args, **kwargs)
            images = keras.tree.map_structure(keras.ops.convert_to_numpy, x)
            if isinstance(layer, layers.BatchNormalization):
                taken[layer.name] = only_value(images, layer.name)
            else:
                refuse_unless(not any(map(np.any, keras.tree.flatten(images))), layer.name)
            shape = layer.compute_output_shape(keras.tree.map_structure(np.shape, images))
            return keras.ops.convert_to_tensor(np.zeros(shape, "float32") + biases.get(layer.name, 0))

        return of_constants

    shape = (1, *((side or SIDE) for side in model.inputs[0].shape[1:]))
    with replaced_calls(walk(model), replacement):
        refuse_unless(not np.any(keras.ops.convert_to_numpy(model(np.zeros(shape, "float32")))), "the output")
    return {name: offset for name, offset in taken.items() if np.any(offset)}


def only_value(image: np.ndarray, name: str) -> np.ndarray:
    """A channel's value, the same at every pixel."""
    refuse_unless((image == image[:, :1, :1]).all(), name)
    return image[0, 0, 0]


def refuse_unless(holds, name):
    expect(holds, "weights", "no convolution with a bias but before a norm that can take it over", f"one before {name}")
