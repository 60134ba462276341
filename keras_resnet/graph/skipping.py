"""Stochastic depth that saves time: a path that is dropped for a whole batch is not computed."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
from keras import layers

from keras_resnet.graph.pieces import Piece, Run, called_in_pieces, made_by
from keras_resnet.graph.tracing import graphs_of, nodes_of

WHOLE_BATCH = (1, 1, 1, 1)  # the noise shape of one draw for all samples


def skip_dropped_paths(model: keras.Model) -> keras.Model:
    """Lets a network skip in training what `drop_path_per="batch"` drops (Huang et al. 2016, section 3).

    The layers are those of a network that computes every path and multiplies it by 0 or 1 / (1 - rate). Draws, outputs
    and gradients stay the same. A path that is not computed does not move the statistics of its norms either.

    It is the model that skips, neither its layers nor its file, and only in a compiled step of TensorFlow on one
    device. Several replicas compute every path, since their norms may wait for one another; statistics move as on one.

    Args:
        model: A network of this package. Changed in place. One without such paths stays as it is.

    Returns:
        The model.
    """
    for graph in graphs_of(model) if keras.config.backend() == "tensorflow" else ():
        if runs := runs_of(graph):
            graph.call, graph.skips = called_in_pieces(graph, runs), True
            model.skips = True
    return model


def runs_of(graph: Any) -> list[tuple[list[Any], Run]]:
    """The graph's calls in an order in which they can be made: those of a dropped path together, and those between."""
    paths = {id(node): path for path in dropped_paths(nodes_of(graph)) for node in path}
    runs: list[tuple[list[Any], Run]] = []
    between: list[Any] = []
    for node in nodes_of(graph) if paths else ():
        path = paths.get(id(node))
        if path is None:
            between.append(node)
        elif node is path[-1]:  # whatever the path reads has been made
            runs += [(between, made_by)] if between else []
            runs.append((path, partial(made_or_dropped, drop=node.operation, kept=kept_model(path))))
            between = []
    return [*runs, (between, made_by)] if paths else []


def dropped_paths(nodes: list[Any]) -> Iterator[list[Any]]:
    """The calls that serve nothing but a path that is dropped for whole batches, the drop last."""
    for place, node in enumerate(nodes):
        if drops_batches(node.operation):
            names, path = node.operation.name.removesuffix("_drop_path"), [node]
            for earlier in reversed(nodes[:place]):
                made = {id(tensor) for tensor in earlier.outputs}
                others = (tensor for other in nodes if other not in path for tensor in other.input_tensors)
                if earlier.operation.name.startswith(names) and not any(id(tensor) in made for tensor in others):
                    path.insert(0, earlier)
            yield path


def drops_batches(operation: Any) -> bool:
    return isinstance(operation, layers.Dropout) and tuple(operation.noise_shape or ()) == WHOLE_BATCH


def kept_model(path: list[Any]) -> keras.Model:
    """What the drop reads, from what the path reads."""
    *calls, drop = path
    made = {id(tensor) for node in calls for tensor in node.outputs}
    read = {id(tensor): tensor for node in calls for tensor in node.input_tensors if id(tensor) not in made}
    return keras.Model(list(read.values()), drop.input_tensors[0])


def made_or_dropped(piece: Piece, values: list[Any], *, drop: layers.Dropout, kept: keras.Model) -> list[Any]:
    """The path times what the drop draws, and the statistics that its norms keep, moved if it was not dropped."""
    scale = drop.call(keras.ops.ones(WHOLE_BATCH, drop.compute_dtype), training=True)
    state = kept.non_trainable_variables
    before = [keras.ops.convert_to_tensor(variable) for variable in state]

    def path() -> list[Any]:
        with keras.StatelessScope(list(zip(state, before, strict=True)), initialize_variables=False) as scope:
            made = kept.call(values, training=True)
        return [made * scale, *map(scope.get_current_value, state)]

    shape = keras.ops.shape(values[0])[:1] + tuple(kept.compute_output_shape([value.shape for value in values])[1:])

    def nothing() -> list[Any]:
        return [keras.ops.zeros(shape, drop.compute_dtype), *before]

    made, *after = one_of(scale[0, 0, 0, 0] > 0, path, nothing, skips=None not in shape)
    for variable, value in zip(state, after, strict=True):
        variable.assign(value)
    return [made]


def one_of(condition: Any, first: Callable, second: Callable, skips: bool) -> list[Any]:
    """What one of the two functions makes; the other is not called where it can be left out."""
    import tensorflow as tf

    if skips and tf.inside_function() and tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return tf.cond(condition, first, second)
    return [keras.ops.where(condition, one, other) for one, other in zip(first(), second(), strict=True)]
