"""Moves biases of a source's convolutions that ours do not have into the norms behind them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import every_layer, replaced_calls, walk

LINEAR = (
    layers.Add,
    layers.Average,
    layers.AveragePooling2D,
    layers.Concatenate,
    layers.Dropout,
    layers.InputLayer,
    layers.MaxPooling2D,
    layers.Rescaling,
    layers.ZeroPadding2D,
)
SIDE = 64


def absorbed(model: keras.Model, biases: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
    """Norm -> what the biases of the convolutions add to its input, channel by channel.

    Between a convolution and the norms that read it, every layer adds what it adds to an image that is constant. So the
    model is called with zeros for the outputs of all other layers, once with the biases and once without, and the
    difference is what the norms read of them. A bias that meets anything but a norm cannot be taken over.

    Raises:
        ValueError: Where a bias reaches a relu, another convolution or the head, or is not constant any more.
    """
    if not any(np.any(bias) for bias in biases.values()):
        return {}
    without, with_biases = reads(model, {}), reads(model, biases)
    added = {reader: with_biases[reader] - without[reader] for reader in with_biases}
    added = {reader: values for reader, values in added.items() if np.any(values)}
    others = [
        "the output" if reader is model else reader.name
        for reader, values in added.items()
        if not is_taken_over(reader, values)
    ]
    taken_over = "no convolution with a bias but before norms that can take it over"
    expect(not others, "weights", f"{taken_over}; one is added to what {', '.join(others[:3])} reads", origin)
    return {norm.name: pixels(norm, values)[0] for norm, values in added.items()}


def is_taken_over(reader: layers.Layer, values: np.ndarray) -> bool:
    if not isinstance(reader, layers.BatchNormalization):
        return False
    image = pixels(reader, values)
    return bool((image == image[0]).all())


def pixels(norm: layers.BatchNormalization, values: np.ndarray) -> np.ndarray:
    """[height * width, channels]"""
    return values.reshape(-1, norm.gamma.shape[0])


def reads(model: keras.Model, biases: Mapping[str, np.ndarray]) -> dict[layers.Layer, np.ndarray]:
    """What each layer but the linear ones reads, where each of these gives its bias or zeros; and its output."""
    read: dict[layers.Layer, np.ndarray] = {}

    def replacement(layer: Any, call: Any) -> Any:
        def of_constants(x: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, LINEAR):
                return call(x, *args, **kwargs)
            read[layer] = flat(x)
            try:  # most layers know their shape, and need not compute
                shape = layer.compute_output_shape(keras.tree.map_structure(np.shape, x))
            except NotImplementedError:
                shape = np.shape(call(x, *args, **kwargs))
            return keras.ops.zeros(shape, "float32") + biases.get(layer.name, 0)

        return of_constants

    shape = (1, *((side or SIDE) for side in model.inputs[0].shape[1:]))
    with in_full_precision(model), replaced_calls(walk(model), replacement):
        read[model] = flat(model(keras.ops.zeros(shape, "float32")))
    return read


def flat(tensors: Any) -> np.ndarray:
    return np.concatenate([np.ravel(keras.ops.convert_to_numpy(tensor)) for tensor in keras.tree.flatten(tensors)])


@contextmanager
def in_full_precision(model: keras.Model) -> Iterator[None]:
    """Neither the model nor a layer in it casts what it reads."""
    usual = {layer: layer.autocast for layer in every_layer(model)}
    try:
        for layer in usual:
            layer.autocast = False
        yield
    finally:
        for layer, autocast in usual.items():
            layer.autocast = autocast
