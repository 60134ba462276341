"""A graph that trains piece by piece: some of its layers' calls together, each in a way of its own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_resnet.graph.tracing import functional_form, nodes_of, one_or_all


class Piece(NamedTuple):
    """Some of a graph's calls, as a model from the tensors that others make to those that others read."""

    model: keras.Model
    read: list[Any]
    made: list[Any]


Run = Callable[[Piece, list[Any]], list[Any]]  # from what a piece reads in training to what it makes


def made_by(piece: Piece, values: list[Any]) -> list[Any]:
    return keras.tree.flatten(piece.model.call(values, training=True))


def called_in_pieces(graph: Any, runs: Sequence[tuple[list[Any], Run]]) -> Callable:
    """The graph's `call`, which in training runs these parts of its calls one after another."""
    plain, form = graph.call, functional_form(graph)
    taken = keras.Model(form.input, form.inputs)  # what the graph takes, in whatever structure, as a list
    pieces = [(piece_of(nodes, graph), run) for nodes, run in runs]

    def call(inputs: Any, training: Any = None, mask: Any = None, **others: Any) -> Any:
        if not training:
            return plain(inputs, training=training, mask=mask, **others)
        tensors = dict(zip(map(id, graph.inputs), keras.tree.flatten(taken.call(inputs)), strict=True))
        for piece, run in pieces:
            made = run(piece, [tensors[id(tensor)] for tensor in piece.read])
            tensors.update(zip(map(id, piece.made), made, strict=True))
        outputs = keras.tree.pack_sequence_as(form.output, [tensors[id(tensor)] for tensor in graph.outputs])
        return one_or_all(outputs) if isinstance(outputs, list | tuple) else outputs  # as Keras' own call

    return call


def piece_of(nodes: list[Any], graph: Any) -> Piece:
    made = {id(tensor): tensor for node in nodes for tensor in node.outputs}
    read = {id(tensor): tensor for node in nodes for tensor in node.input_tensors}
    others = [tensor for node in nodes_of(graph) if node not in nodes for tensor in node.input_tensors]
    wanted = {id(tensor) for tensor in (*others, *graph.outputs)}
    inputs = [tensor for key, tensor in read.items() if key not in made]
    outputs = [tensor for key, tensor in made.items() if key in wanted]
    return Piece(keras.Model(inputs, outputs), inputs, outputs)
