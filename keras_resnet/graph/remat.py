"""Training in less memory: what is inside a block is computed again where its gradient is taken."""

import re
from collections.abc import Callable
from itertools import groupby
from typing import Any

import keras

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import graphs_of, nodes_of


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
    pieces = {id(graph): pieces_of(graph) for graph in graphs_of(model)}
    found = [graph for graph in graphs_of(model) if any(block for block, _ in pieces[id(graph)])]
    expect(found, "model", "a network with blocks", model.name)
    for graph in found:
        graph.call, graph.rematerialized = called_in_pieces(graph, pieces[id(graph)]), True
    model.rematerialized = True
    return model


def pieces_of(graph: Any) -> list[tuple[str | None, list[Any]]]:
    """The graph's calls in their order, those of a block together: (its name, calls), (None, calls between blocks)."""

    def block(node):
        named = re.match(r"(stage\d+(_block\d+)?)_", node.operation.name)
        return named[1] if named and not isinstance(node.operation, keras.Model) else None

    return [(name, list(nodes)) for name, nodes in groupby(nodes_of(graph), block)]


def called_in_pieces(graph: Any, pieces: list[tuple[str | None, list[Any]]]) -> Callable:
    """The graph's `call`, which in training runs block by block."""
    plain = graph.call
    blocks = [None if name is None else ends(nodes, graph) for name, nodes in pieces]

    def call(inputs, training=None, mask=None, **others):
        if not training:
            return plain(inputs, training=training, mask=mask, **others)
        tensors = dict(zip(map(id, graph.inputs), graph._standardize_inputs(inputs), strict=True))
        for (_, nodes), between in zip(pieces, blocks, strict=True):
            if between is None:
                run(nodes, tensors)
            else:
                run_again_later(nodes, tensors, *between)
        made = [tensors[id(tensor)] for tensor in graph.outputs]
        found = keras.tree.pack_sequence_as(graph._outputs_struct, made)
        return found[0] if isinstance(found, list | tuple) and len(found) == 1 else found  # as Keras' own call

    return call


def ends(nodes: list[Any], graph: Any) -> tuple[list[Any], list[Any]]:
    """What these calls read that others made, and what they make that others read, or the graph returns."""
    made = {id(tensor): tensor for node in nodes for tensor in node.outputs}
    read = {id(tensor): tensor for node in nodes for tensor in node.input_tensors}
    others = [tensor for node in nodes_of(graph) if node not in nodes for tensor in node.input_tensors]
    wanted = {id(tensor) for tensor in (*others, *graph.outputs)}
    return (
        [tensor for key, tensor in read.items() if key not in made],
        [tensor for key, tensor in made.items() if key in wanted],
    )


def run(nodes: list[Any], tensors: dict[int, Any]) -> None:
    """Makes the calls, in training, on the tensors that stand for the graph's, and adds theirs."""
    for node in nodes:
        args, kwargs = node.arguments.fill_in(tensors)
        if getattr(node.operation, "_call_has_training_arg", False):
            kwargs["training"] = True
        made = keras.tree.flatten(node.operation(*args, **kwargs))
        tensors.update(zip(map(id, node.outputs), made, strict=True))


def run_again_later(nodes: list[Any], tensors: dict[int, Any], read: list[Any], made: list[Any]) -> None:
    """As `run`, by a function of which Keras keeps the arguments, to call it again for the gradients.

    Whatever norms and dropouts change is set apart by a scope, and what the first run set apart is assigned: so the
    second run changes nothing, and draws what the first one drew.
    """
    variables = list({id(v): v for node in nodes for v in getattr(node.operation, "variables", ())}.values())
    learned = [variable for variable in variables if variable.trainable]
    state = [(variable, keras.ops.copy(variable)) for variable in variables if not variable.trainable]
    numbers = [tensor for tensor in read if keras.backend.is_float_dtype(tensor.dtype)]
    fixed = {id(tensor): tensors[id(tensor)] for tensor in read}  # integers have no gradient
    scopes = []

    def function(*values):
        inside = fixed | dict(zip(map(id, numbers), values, strict=False))
        given = [*state, *zip(learned, values[len(numbers) :], strict=True)]
        with keras.StatelessScope(given, initialize_variables=False) as scope:
            run(nodes, inside)
        scopes.append(scope)
        return [inside[id(tensor)] for tensor in made]  # and not the state: the order of its gradients is not fixed

    values = [tensors[id(tensor)] for tensor in numbers] + [keras.ops.copy(variable) for variable in learned]
    results = keras.remat(function)(*values)
    tensors.update(zip(map(id, made), results, strict=True))
    for variable, before in state:
        if (after := scopes[0].get_current_value(variable)) is not before:
            variable.assign(after)
