"""Exact parameters and multiply-adds of any Keras model, by watching one image pass through it."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
from keras import layers

from keras_resnet.checks import expect, plain
from keras_resnet.graph.tracing import inferred, is_graph, walk

Shape = tuple[int | None, ...]

TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D, *TRANSPOSED)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D)
COUNTED = (layers.Dense, *CONVOLUTIONS, *DEPTHWISE)


@dataclass(frozen=True)
class Row:
    """One layer: `macs` are the multiply-adds of its convolution or matrix product for one image."""

    name: str
    kind: str
    output_shape: Shape | None
    trainable_params: int
    params: int
    macs: int

    @property
    def cells(self) -> tuple[str, ...]:
        size = "x".join(map(str, (self.output_shape or ())[1:]))
        return self.name, self.kind, size, f"{self.params:,}", f"{self.macs:,}"


@dataclass(frozen=True)
class Complexity:
    """A model's parameters and multiply-adds, by layer and summed; prints as a table."""

    rows: tuple[Row, ...]
    trainable_params: int
    params: int
    macs: int

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "params", "MACs")
        total = ("total", "", f"{self.trainable_params:,} trainable", f"{self.params:,}", f"{self.macs:,}")
        table = [head, *(row.cells for row in self.rows), total]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join("  ".join(aligned(cells, widths)) for cells in table)


def aligned(cells: Iterable[str], widths: Iterable[int]) -> list[str]:
    """Words to the left, the numbers of the last two columns to the right."""
    *words, params, macs = zip(cells, widths, strict=True)
    return [*(word.ljust(width) for word, width in words), *(number.rjust(width) for number, width in (params, macs))]


def complexity(model: keras.Model, input_shape: Any = None) -> Complexity:
    """Exact parameters and multiply-adds of any built Keras model: functional, sequential or subclassed.

    A multiply-add is one of a convolution's or dense layer's over one image; biases, norms, activations, pools,
    attention scores and recurrent cells are left out, as in the papers' tables. Shapes alone pass through the model,
    nothing is computed.

    Args:
        model: A built model.
        input_shape: The input without its batch dimension (for several inputs, a list or dict of them, as the model
            takes them): where the model's has a None, or to count at another size.

    Returns:
        An object with `.trainable_params`, `.params`, `.macs` and `.rows`, a row a layer; `print` shows a table.

    Raises:
        ValueError: Where the model is not built, or a size of its input is unknown and `input_shape` is not given.

    >>> import keras_resnet
    >>> keras_resnet.complexity(keras_resnet.build("resnet20")).macs
    40551040
    """
    expect(model.built, "model", "a built model: call it once on a batch", model.name)
    shapes: dict[layers.Layer, Shape] = {}
    macs: dict[layers.Layer, int] = {}

    def watch(layer: layers.Layer, read: Any, made: Any) -> None:
        shapes[layer] = first_shape(made)
        macs[layer] = macs.get(layer, 0) + multiply_adds(layer, first_shape(read), shapes[layer])

    inferred(model, one_image(model, plain(input_shape)), watch=watch)
    rows = tuple(
        Row(
            name=layer.name,
            kind=type(layer).__name__,
            output_shape=shapes[layer],
            trainable_params=count(layer.trainable_weights),
            params=count(layer.weights),
            macs=macs[layer],
        )
        for layer in dict.fromkeys(walk(model))
        if layer in shapes
    )
    return Complexity(rows, count(model.trainable_weights), count(model.weights), sum(macs.values()))


def one_image(model: keras.Model, input_shape: Any) -> Any:
    """Keras tensors for a batch of one: in the order of a graph's inputs, or as a subclassed model takes them."""
    if input_shape is None:
        return [keras.KerasTensor((1, *shape), dtype) for shape, dtype in known_inputs(model)]
    names = [tensor.name for tensor in model.inputs] if is_graph(model) else []
    if isinstance(input_shape, dict) and set(input_shape) == set(names):
        input_shape = [input_shape[name] for name in names]
    return keras.tree.map_shape_structure(lambda shape: keras.KerasTensor((1, *shape)), input_shape)


def known_inputs(model: keras.Model) -> list[tuple[Shape, str]]:
    inputs = [(tuple(tensor.shape[1:]), tensor.dtype) for tensor in model.inputs] if is_graph(model) else []
    shapes = [shape for shape, _ in inputs]
    known = shapes and all(None not in shape for shape in shapes)
    expect(known, "input_shape", "a shape without None to count the multiply-adds of", shapes)
    return inputs


def count(variables: Iterable[keras.Variable]) -> int:
    return sum(prod(variable.shape) for variable in variables)


def first_shape(tensors: Any) -> Shape:
    return next((tuple(tensor.shape) for tensor in keras.tree.flatten(tensors) if hasattr(tensor, "shape")), ())


def multiply_adds(layer: layers.Layer, read: Any, made: Any) -> int:
    """Each position of the output takes the whole kernel; of a transposed convolution, each of the input."""
    if isinstance(layer, layers.EinsumDense):
        (_, kernel), result = (part.split(",") if "," in part else part for part in layer.equation.split("->"))
        summed = (size for axis, size in zip(kernel, layer.kernel.shape, strict=True) if axis not in result)
        return prod(made) * prod(summed)
    if not isinstance(layer, COUNTED):
        return 0
    at = read if isinstance(layer, TRANSPOSED) else made
    channels = at[1] if getattr(layer, "data_format", None) == "channels_first" else at[-1]
    kernels = [variable for variable in layer.weights if len(variable.shape) > 1]
    return count(kernels) * prod(at) // channels
