"""Exact parameters and multiply-adds of any Keras model, by watching one image pass through it."""

from dataclasses import dataclass
from math import prod
from typing import Any

import keras
from keras import layers

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import replaced_calls, traced, walk

TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
COUNTED = (
    layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.SeparableConv1D, layers.SeparableConv2D, *TRANSPOSED,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One layer: `macs` are the multiply-adds of its convolution or matrix product for one image."""

    name: str
    kind: str
    output_shape: tuple[int | None, ...] | None
    trainable_params: int
    params: int
    macs: int


@dataclass(frozen=True)
class Complexity:
    """A model's parameters and multiply-adds, by layer and summed; prints as a table."""

    rows: tuple[Row, ...]
    trainable_params: int
    params: int
    macs: int

    def __str__(self):
        head = ("layer", "kind", "output", "params", "MACs")
        body = [(row.name, row.kind, "x".join(map(str, (row.output_shape or ())[1:])), f"{row.params:,}",
                 f"{row.macs:,}") for row in self.rows]  # fmt: skip
        foot = ("total", "", f"{self.trainable_params:,} trainable", f"{self.params:,}", f"{self.macs:,}")
        wide = [max(map(len, column)) for column in zip(head, *body, foot, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) if index < 3 else cell.rjust(width)
                      for index, (cell, width) in enumerate(zip(row, wide, strict=True)))
            for row in (head, *body, foot)
        )  # fmt: skip


def complexity(model: keras.Model, input_shape: Any = None) -> Complexity:
    """Exact parameters and multiply-adds of any built Keras model: functional, sequential or subclassed.

    A multiply-add is one of a convolution's or dense layer's over one image; biases, norms, activations, pools,
    attention scores and recurrent cells are left out, as in the papers' tables. The forward pass is traced on shapes,
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
    leaves = list(dict.fromkeys(walk(model)))
    seen = watch(model, leaves, one_image(model, input_shape))
    rows = tuple(
        Row(leaf.name, type(leaf).__name__, seen[leaf][0], count(leaf.trainable_weights), count(leaf.weights),
            seen[leaf][1]) for leaf in leaves if leaf in seen
    )  # fmt: skip
    return Complexity(rows, count(model.trainable_weights), count(model.weights), sum(row.macs for row in rows))


def one_image(model, input_shape):
    """Keras tensors of the model's structure, for a batch of one."""
    if input_shape is None:
        inputs = model.inputs[0] if isinstance(model, keras.Sequential) else getattr(model, "input", None)
        tensors = [] if inputs is None else keras.tree.flatten(inputs)  # a subclassed model has none
        shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
        expect(
            shapes and all(None not in shape for shape in shapes),
            "input_shape",
            "a shape without None to count the multiply-adds of",
            shapes,
        )
        return keras.tree.map_structure(lambda x: keras.KerasTensor((1, *x.shape[1:]), x.dtype), inputs)
    return keras.tree.map_shape_structure(lambda shape: keras.KerasTensor((1, *shape)), input_shape)


def count(variables) -> int:
    return sum(prod(variable.shape) for variable in variables)


def watch(model, leaves, inputs):
    """Layer -> (last output's shape, multiply-adds of all its calls) while the model is traced."""
    seen = {}

    def watched(layer, call):
        def call_and_see(*args, **kwargs):
            outputs = call(*args, **kwargs)
            x, y = (first_shape(tensors) for tensors in ((args, kwargs), outputs))
            seen[layer] = y, seen.get(layer, (None, 0))[1] + multiply_adds(layer, x, y)
            return outputs

        return call_and_see

    with replaced_calls(leaves, watched):
        traced(model.call, inputs)
    return seen


def first_shape(tensors):
    return next((tuple(tensor.shape) for tensor in keras.tree.flatten(tensors) if hasattr(tensor, "shape")), ())


def multiply_adds(layer, x, output) -> int:
    """Each position of the output takes the whole kernel; of a transposed convolution, each of the input."""
    if isinstance(layer, layers.EinsumDense):
        (_, kernel), result = (part.split(",") if "," in part else part for part in layer.equation.split("->"))
        summed = (size for axis, size in zip(kernel, layer.kernel.shape, strict=True) if axis not in result)
        return prod(output) * prod(summed)
    if not isinstance(layer, COUNTED):
        return 0
    at = x if isinstance(layer, TRANSPOSED) else output
    channels = at[1] if getattr(layer, "data_format", None) == "channels_first" else at[-1]
    kernels = [variable for variable in layer.weights if len(variable.shape) > 1]
    return count(kernels) * prod(at) // channels
