"""Batch norms folded into the convolutions beside them: an equal network for inference, of fewer operations."""

from collections import Counter, defaultdict
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_resnet.checks import expect
from keras_resnet.graph.remake import copied, remade
from keras_resnet.graph.tracing import functional_form, graphs_of, is_graph, nodes_of
from keras_resnet.kernels.grouped_conv import GroupedConv2D

CONVOLUTIONS = (layers.Conv2D, GroupedConv2D)  # not what users derive from them, which may change the kernel
Arrays = tuple[np.ndarray, np.ndarray]  # kernel and bias, in double precision


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """An equal model for inference, with every batch norm inside the convolution beside it where that is exact.

    A norm right behind a convolution scales its filters and shifts its bias: all of a post-activation network, and
    those inside the branches of a pre-activation one. A norm that 1x1 convolutions and dense layers alone read goes
    into these. What stays is a norm between a sum, a concatenation or a dropout and a relu, and one before a
    convolution that borders its input with zeros, which the norm would have shifted. (Jacob et al. 2018, section 3.2.)

    Args:
        model: Any functional or built sequential Keras model, also with models inside. It stays as it is.

    Returns:
        A new model of the same names and with the card, whose convolutions have biases. Its outputs differ by rounding,
        less than 1e-4 of probabilities. It is not one to train: without norms a network trains otherwise.

    Raises:
        ValueError: Where Keras does not know the model's graph.

    >>> import keras_resnet
    >>> folded = keras_resnet.fold_batch_norm(keras_resnet.ResNet20())
    >>> sum("norm" in layer.name for layer in folded.layers)
    0
    """
    expect(is_graph(model), "model", "a functional or built sequential Keras model", model)
    folded, gone = folds(functional_form(model))

    def copy(layer: Any) -> Any:
        if layer in gone:
            return layers.Identity()
        return copied(layer, use_bias=True) if layer in folded else copied(layer)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if isinstance(layer, layers.Identity) else layer(*args, **kwargs)

    def weights(layer: Any) -> list[np.ndarray]:
        return list(folded[layer]) if layer in folded else layer.get_weights()

    return remade(model, copy, call, weights)


def folds(model: keras.Model) -> tuple[dict[layers.Layer, Arrays], set[layers.Layer]]:
    """Kernel and bias of the layers that take norms in, and these norms."""
    folding = Folding(list(graphs_of(model)))
    for node in folding.nodes:
        if folding.calls[node.operation] == 1 and is_fixed_norm(node):
            folding.fold(node)
    return folding.folded, set(folding.gone)


class Folding:
    """Who makes and who reads each tensor of the graphs; and norm by norm what the layers beside them become."""

    def __init__(self, graphs: list[Any]):
        self.nodes = [node for graph in graphs for node in nodes_of(graph)]
        self.calls = Counter(node.operation for node in self.nodes)
        self.makers = {id(tensor): node.operation for node in self.nodes for tensor in node.outputs}
        self.readers: dict[int, list[Any]] = defaultdict(list)  # a graph that returns a tensor is one
        for node in self.nodes:
            for tensor in node.input_tensors:
                self.readers[id(tensor)].append(node.operation)
        for graph in graphs:
            for tensor in graph.outputs:
                self.readers[id(tensor)].append(graph)
        self.folded: dict[layers.Layer, Arrays] = {}
        self.gone: dict[layers.Layer, Any] = {}  # a norm, and the layer whose output now stands for the norm's

    def fold(self, node: Any) -> None:
        """Into the convolution that alone makes what the norm reads, or into all that read what it makes."""
        read, norm, behind = id(node.input_tensors[0]), node.operation, self.readers[id(node.outputs[0])]
        before = self.makers.get(read)  # None: an input
        before = self.gone.get(before, before)
        if self.calls[before] == 1 and len(self.readers[read]) == 1 and is_linear(before):
            self.fold_back(norm, before)
        elif all(self.calls[layer] == 1 and is_pointwise(layer) for layer in behind):
            self.fold_forth(norm, behind)
        else:
            return
        self.gone[norm] = before

    def fold_back(self, norm: layers.BatchNormalization, layer: Any) -> None:
        (kernel, bias), (scale, shift) = self.arrays(layer), scale_and_shift(norm)
        self.folded[layer] = kernel * scale, bias * scale + shift

    def fold_forth(self, norm: layers.BatchNormalization, behind: list[Any]) -> None:
        scale, shift = scale_and_shift(norm)
        for layer in behind:
            kernel, bias = self.arrays(layer)
            self.folded[layer] = kernel * scale[:, None], bias + shift @ kernel.reshape(kernel.shape[-2:])

    def arrays(self, layer: Any) -> Arrays:
        return self.folded.get(layer) or kernel_and_bias(layer)


def is_fixed_norm(node: Any) -> bool:
    """A batch norm over the last axis that uses its moving statistics."""
    norm = node.operation
    return (
        isinstance(norm, layers.BatchNormalization)
        and norm.axis in (-1, len(node.input_tensors[0].shape) - 1)
        and not node.arguments.kwargs.get("training")
    )


def is_linear(layer: Any) -> bool:
    is_affine = type(layer) in (*CONVOLUTIONS, layers.Dense)
    return is_affine and layer.activation is keras.activations.linear and reads_channels_last(layer)


def is_pointwise(layer: Any) -> bool:
    """Each pixel of the output is a product of a matrix with that of the input."""
    if type(layer) is layers.Dense:
        return True
    is_conv = type(layer) in CONVOLUTIONS and reads_channels_last(layer)
    return is_conv and layer.kernel_size == (1, 1) and layer.groups == 1


def reads_channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def scale_and_shift(norm: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta = scale x + shift"""
    mean, variance = doubled(norm.moving_mean), doubled(norm.moving_variance)
    scale = (doubled(norm.gamma) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    return scale, (doubled(norm.beta) if norm.center else 0.0) - mean * scale


def kernel_and_bias(layer: Any) -> Arrays:
    kernel = doubled(layer.kernel)
    return kernel, doubled(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1])


def doubled(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")
