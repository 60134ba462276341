"""A network's blocks, whose paths have gates while the model is called.

A block adds up two paths, the shortcut and the branches (a multi-residual block's together), and each has a gate for
what it adds and one for the gradient that it carries back:

    y = out(pass(shortcut(x), f0, g0) + pass(F(x), f1, g1)),  pass(p, f, g) = g p + stop_gradient((f - g) p)

With all gates at 1 this is the network itself. A plain block has the gates of its input (0) and of its output (1).
Layers are watched, nothing is copied, and how deep they are nested does not matter.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import recorded, replaced_calls, walk
from keras_resnet.predict import ends_in_logits, last_layer


class Block(NamedTuple):
    """One of the network's blocks, by the layers that it begins and ends with."""

    name: str
    first: layers.Layer  # reads the block's input
    last: layers.Layer  # adds up (or concatenates) its paths, or gives a plain block's output
    sums: bool  # whether there is a shortcut
    changes_shape: bool


def blocks(model: keras.Model) -> list[Block]:
    """Those of a residual, plain or dense network, in their order, also of one inside another model."""
    expect(isinstance(model, keras.Model), "model", "a Keras model", model)
    parts = defaultdict(list)
    for layer in walk(model):
        named = re.match(r"(stage\d+_block\d+)_", layer.name)
        if named and not isinstance(layer, layers.InputLayer):
            parts[named[1]].append(layer)
    expect(parts, "model", "a network of blocks: residual, plain or dense", model.name)
    return [block(name, inside) for name, inside in parts.items()]


def block(name: str, inside: list[layers.Layer]) -> Block:
    sums = [layer for layer in inside if layer.name in (f"{name}_sum", f"{name}_concat")]
    expect(len(sums) <= 1, "model", "one with a single network of blocks inside", name)
    last = sums[0] if sums else inside[-1]
    strides = {stride for layer in inside for stride in np.ravel(getattr(layer, "strides", 1))}
    changes = strides != {1} or inside[0].input.shape[-1] != last.output.shape[-1]
    return Block(name, inside[0], last, bool(sums), changes)


def opened(parts: Sequence[Block]) -> np.ndarray:
    """[blocks, 2]: the gates of the network as it is, the shortcut's and the branches'."""
    return np.array([[part.sums, True] for part in parts], "float32")


def gates(forward: np.ndarray, backward: np.ndarray) -> tf.Tensor:
    """[blocks, 2 paths, 2]: what each path adds, and the gradient that it carries."""
    return tf.constant(np.stack([forward, backward], -1), tf.float32)


def passed(path, gate):
    """`gate` is (f, g): f times the path, with g times the gradient."""
    forward, backward = tf.unstack(tf.cast(gate, path.dtype))
    return backward * path + tf.stop_gradient((forward - backward) * path)


@contextmanager
def gated(parts: Sequence[Block], gates: tf.Tensor) -> Iterator[dict[layers.Layer, Any]]:
    """While it lasts, the model's blocks have these gates; gives what each block's first layer read and made."""
    number = {part.last: index for index, part in enumerate(parts)}

    def gate_paths(layer, call):
        part, (shortcut, branch) = parts[number[layer]], tf.unstack(gates[number[layer]])

        def joined(paths):
            return call([passed(paths[0], shortcut), *(passed(path, branch) for path in paths[1:])])

        def skipped(*args, **kwargs):
            y = call(*args, **kwargs)
            return y if part.changes_shape else passed(entered[part.first][0], shortcut) + passed(y, branch)

        return joined if part.sums else skipped

    with recorded([part.first for part in parts]) as entered, replaced_calls(number, gate_paths):
        yield entered


@contextmanager
def logits(model: keras.Model) -> Iterator[None]:
    """While it lasts, a classifier that ends in a softmax gives what that would read."""

    def before_softmax(layer, call):
        def logits(*args, **kwargs):
            if isinstance(layer, layers.Softmax):
                return args[0]
            activation, layer.activation = layer.activation, keras.activations.linear
            try:
                return call(*args, **kwargs)
            finally:
                layer.activation = activation

        return logits

    with replaced_calls([] if ends_in_logits(model) else [last_layer(model)], before_softmax):
        yield
