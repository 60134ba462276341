"""Training in less memory: what is inside a block is computed again where its gradient is taken."""

import re
from itertools import groupby
from typing import Any

import keras

from keras_resnet.checks import expect
from keras_resnet.graph.pieces import Piece, called_in_pieces, made_by
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
    graphs = [graph for graph in graphs_of(model) if any(name for name, _ in runs_of(graph))]
    expect(graphs, "model", "a network with blocks", model.name)
    for graph in graphs:
        runs = [(nodes, made_again_later if name else made_by) for name, nodes in runs_of(graph)]
        graph.call, graph.rematerialized = called_in_pieces(graph, runs), True
    model.rematerialized = True
    return model


def runs_of(graph: Any) -> list[tuple[str | None, list[Any]]]:
    """The graph's calls in their order, those of a block together: (its name, calls), (None, calls between blocks)."""

    def block(node: Any) -> str | None:
        named = re.match(r"(stage\d+(_block\d+)?)_", node.operation.name)
        return named[1] if named and not isinstance(node.operation, keras.Model) else None

    return [(name, list(nodes)) for name, nodes in groupby(nodes_of(graph), block)]


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
