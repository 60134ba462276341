"""Training in less memory: what is inside a block is computed again where its gradient is taken."""

import re
from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

import keras

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import functional_form, graphs_of, nodes_of, one_or_all


def rematerialize(model: keras.Model) -> keras.Model:
    """Lets a network train in less memory: it keeps what its blocks read, and computes them again going back.

    A block is a residual or plain one, a layer of a DenseNet with its concatenation, or all of a FractalNet's between
    two pools. Weights, outputs and gradients are the same, norms and dropouts move on once a step, and whatever is not
    a call with `training=True` sees the network as it was.

    It is the model that has it, neither its layers nor its file: ask again for a loaded or copied one, or for another
    `keras.Model` of the same layers. `keras_resnet.train` does so itself. It is for one device: with batch norms that
    several synchronize, TensorFlow has aborted, and `train` refuses. There are no gradients of gradients.

    Args:
        model: A network of this package, also a loaded one, or one with other layers around or outside it. Changed in
            place. Compile it after this.

    Returns:
        The model.

    Raises:
        ValueError: Where the model has no blocks, or Keras runs on another backend than TensorFlow.

    >>> import keras_resnet
    >>> keras_resnet.rematerialize(keras_resnet.ResNet20()).name
    'resnet20'
    """
    backend = keras.config.backend()
    expect(backend == "tensorflow", "KERAS_BACKEND", "'tensorflow', whose gradients this is made for", backend)
    expect(isinstance(model, keras.Model), "model", "a Keras model", model)
    graphs = [graph for graph in graphs_of(model) if any(name for name, _ in runs_of(graph))]
    expect(graphs, "model", "a network with blocks", model.name)
    for graph in graphs:
        graph.call, graph.rematerialized = called_in_pieces(graph), True
    model.rematerialized = True
    return model


def runs_of(graph: Any) -> list[tuple[str | None, list[Any]]]:
    """The graph's calls in their order, those of a block together: (its name, calls), (None, calls between blocks)."""

    def block(node: Any) -> str | None:
        named = re.match(r"(stage\d+(_block\d+)?)_", node.operation.name)
        return named[1] if named and not isinstance(node.operation, keras.Model) else None

    return [(name, list(nodes)) for name, nodes in groupby(nodes_of(graph), block)]


class Piece(NamedTuple):
    """Some of a graph's calls, as a model from the tensors that others make to those that others read."""

    model: keras.Model
    read: list[Any]
    made: list[Any]
    is_block: bool


def called_in_pieces(graph: Any) -> Callable:
    """The graph's `call`, which in training runs block by block."""
    plain, form = graph.call, functional_form(graph)
    taken = keras.Model(form.input, form.inputs)  # what the graph takes, in whatever structure, as a list
    pieces = [piece_of(nodes, graph, name is not None) for name, nodes in runs_of(graph)]

    def call(inputs: Any, training: Any = None, mask: Any = None, **others: Any) -> Any:
        if not training:
            return plain(inputs, training=training, mask=mask, **others)
        tensors = dict(zip(map(id, graph.inputs), keras.tree.flatten(taken.call(inputs)), strict=True))
        for piece in pieces:
            values = [tensors[id(tensor)] for tensor in piece.read]
            made = made_again_later(piece, values) if piece.is_block else made_by(piece, values)
            tensors.update(zip(map(id, piece.made), made, strict=True))
        outputs = keras.tree.pack_sequence_as(form.output, [tensors[id(tensor)] for tensor in graph.outputs])
        return one_or_all(outputs) if isinstance(outputs, list | tuple) else outputs  # as Keras' own call

    return call


def piece_of(nodes: list[Any], graph: Any, is_block: bool) -> Piece:
    made = {id(tensor): tensor for node in nodes for tensor in node.outputs}
    read = {id(tensor): tensor for node in nodes for tensor in node.input_tensors}
    others = [tensor for node in nodes_of(graph) if node not in nodes for tensor in node.input_tensors]
    wanted = {id(tensor) for tensor in (*others, *graph.outputs)}
    inputs = [tensor for key, tensor in read.items() if key not in made]
    outputs = [tensor for key, tensor in made.items() if key in wanted]
    return Piece(keras.Model(inputs, outputs), inputs, outputs, is_block)


def made_by(piece: Piece, values: list[Any]) -> list[Any]:
    return keras.tree.flatten(piece.model.call(values, training=True))


def made_again_later(piece: Piece, values: list[Any]) -> list[Any]:
    """As `made_by`, by a function of which Keras keeps the arguments, to call it again for the gradients.

    Whatever norms and dropouts change is set apart by a scope, and what the first run set apart is assigned: so the
    second run changes nothing, and draws what the first one drew.
    """
    learned = [variable for variable in piece.model.variables if variable.trainable]
    state = [(variable, keras.ops.copy(variable)) for variable in piece.model.variables if not variable.trainable]
    numbers = [index for index, value in enumerate(values) if keras.backend.is_float_dtype(value.dtype)]
    scopes = []

    def function(*arguments: Any) -> list[Any]:
        read = list(values)  # integers have no gradient
        for index, value in zip(numbers, arguments, strict=False):
            read[index] = value
        given = [*state, *zip(learned, arguments[len(numbers) :], strict=True)]
        with keras.StatelessScope(given, initialize_variables=False) as scope:
            made = made_by(piece, read)
        scopes.append(scope)
        return made  # and not the state: the order of its gradients is not fixed

    made = keras.remat(function)(*(values[index] for index in numbers), *map(keras.ops.copy, learned))
    for variable, before in state:
        if (after := scopes[0].get_current_value(variable)) is not before:
            variable.assign(after)
    return made
