"""A model's layers and calls, however deep, and its shapes without computing anything."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from keras_resnet.graph.keras_private import nodes_by_depth

Watch = Callable[[layers.Layer, Any, Any], None]  # told of a layer, what it read, and what it made


def layers_in(layer: layers.Layer) -> list[layers.Layer]:
    """Those right inside any layer, by the property that Keras gives to models alone."""
    return keras.Model.layers.fget(layer)


def every_layer(layer: layers.Layer) -> Iterator[layers.Layer]:
    """The layer, and those inside however deep, in the model's order."""
    yield layer
    for inside in layers_in(layer):
        yield from every_layer(inside)


def walk(layer: layers.Layer) -> Iterator[layers.Layer]:
    """The layers without layers inside, in the model's order."""
    return (leaf for leaf in every_layer(layer) if not layers_in(leaf))


def is_graph(layer: Any) -> bool:
    """A model of which Keras knows all calls: a functional or a built sequential one."""
    return isinstance(layer, keras.Function) or (isinstance(layer, keras.Sequential) and hasattr(layer, "outputs"))


def one_or_all(tensors: Any) -> Any:
    """Keras warns of a single tensor where a list of one was declared."""
    return tensors[0] if len(tensors) == 1 else tensors


def functional_form(model: keras.Model) -> keras.Model:
    """Of a sequential model the functional one, of the same layers; any other itself."""
    if not isinstance(model, keras.Sequential):
        return model
    return keras.Model(one_or_all(model.inputs), model.outputs[0], name=model.name)


def graphs_of(model: Any) -> Iterator[Any]:
    """The model and all models inside, each once; none of a model of which Keras knows no calls."""
    waiting = [model] if is_graph(model) else []
    reached = {id(graph): graph for graph in waiting}
    while waiting:
        for node in nodes_of(waiting.pop()):
            if is_graph(node.operation) and id(node.operation) not in reached:
                reached[id(node.operation)] = node.operation
                waiting.append(node.operation)
    yield from reached.values()


def nodes_of(graph: Any) -> list[Any]:
    """Calls in the order in which the graph makes them."""
    by_depth = nodes_by_depth(functional_form(graph))
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def maker(graph: Any, tensor: Any) -> Any:
    """The layer or operation whose call in the graph made the tensor."""
    return next(node.operation for node in nodes_of(graph) if any(made is tensor for made in node.outputs))


class Trace(layers.Layer):
    """Any function as a layer, so that Keras infers what it returns for symbolic tensors."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def traced(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """What the function returns for such Keras tensors, with all shapes known."""
    return Trace(function).compute_output_spec(*args, **kwargs)


def unwatched(layer: layers.Layer, read: Any, made: Any) -> None:
    """Hears of a call and does nothing."""


def inferred(operation: Any, *args: Any, watch: Watch = unwatched, **kwargs: Any) -> Any:
    """What a model or layer makes of such Keras tensors, with all shapes known; a model's as a list.

    Layers are asked for their shapes one by one, which takes a hundredth of the time of tracing the model. What does
    not know its shapes, or has layers inside without a graph, is traced.

    Args:
        operation: The model or layer, or an operation of `keras.ops`.
        args: What it reads.
        watch: Is told of each call of a layer without layers inside.
        kwargs: What it reads by name.
    """
    if is_graph(operation):
        return inferred_graph(operation, keras.tree.flatten((args, kwargs)), watch)
    if not isinstance(operation, layers.Layer):
        return operation.compute_output_spec(*args, **kwargs)
    if has_own_shapes(operation):
        made = operation.compute_output_spec(*args, **kwargs)
        if all(None not in tensor.shape for tensor in keras.tree.flatten(made)):
            watch(operation, (args, kwargs), made)
            return made
    with replaced_calls(walk(operation), lambda layer, call: watched(layer, call, watch)):
        return traced(operation, *args, **kwargs)


def inferred_graph(graph: Any, inputs: list[Any], watch: Watch) -> list[Any]:
    tensors = dict(zip(map(id, graph.inputs), inputs, strict=False))
    for node in nodes_of(graph):
        args, kwargs = node.arguments.fill_in(tensors)
        made = inferred(node.operation, *args, watch=watch, **kwargs)
        tensors |= zip(map(id, node.outputs), keras.tree.flatten(made), strict=True)
    return [tensors[id(tensor)] for tensor in graph.outputs]


def has_own_shapes(layer: layers.Layer) -> bool:
    """Whether a layer has a function of its own for shapes, and no layers inside that it would pass over."""
    own, base = type(layer), layers.Layer
    has_shape = own.compute_output_shape is not base.compute_output_shape
    has_spec = own.compute_output_spec is not base.compute_output_spec
    return (has_shape or has_spec) and not layers_in(layer)


def watched(layer: layers.Layer, call: Callable, watch: Watch) -> Callable:
    def call_and_tell(*args: Any, **kwargs: Any) -> Any:
        made = call(*args, **kwargs)
        watch(layer, (args, kwargs), made)
        return made

    return call_and_tell


@contextmanager
def replaced_calls(leaves: Iterable[layers.Layer], replacement: Callable) -> Iterator[None]:
    """While it lasts, each layer calls `replacement(layer, its own call)`."""
    usual = {layer: vars(layer).get("call") for layer in leaves}  # None: that of its class
    try:
        for layer in usual:
            layer.call = replacement(layer, layer.call)
        yield
    finally:
        for layer, call in usual.items():
            vars(layer).pop("call", None)
            if call:
                layer.call = call


@contextmanager
def recorded(leaves: Iterable[layers.Layer]) -> Iterator[dict[layers.Layer, tuple[Any, Any]]]:
    """While it lasts, fills what it gives: layer -> (what it read, what it made), in the order of the calls."""
    records: dict[layers.Layer, tuple[Any, Any]] = {}

    def record(layer: layers.Layer, call: Callable) -> Callable:
        def call_and_record(*args: Any, **kwargs: Any) -> Any:
            records[layer] = args[0] if args else None, call(*args, **kwargs)
            return records[layer][1]

        return call_and_record

    with replaced_calls(leaves, record):
        yield records
