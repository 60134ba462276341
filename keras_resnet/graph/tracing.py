"""A model's layers however deep, and its shapes without computing anything."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers


def walk(layer: layers.Layer) -> Iterator[layers.Layer]:
    """The layers without layers inside, in the model's order."""
    inside = list(layer._flatten_layers(include_self=False, recursive=False))
    for child in inside:
        yield from walk(child)
    if not inside:
        yield layer


def graphs_of(model: Any) -> Iterator[Any]:
    """The model and all models inside, each once."""
    found = {id(model): model}
    waiting = [model]
    while waiting:
        for node in nodes_of(waiting.pop()):
            inside = node.operation
            if isinstance(inside, keras.Model) and getattr(inside, "outputs", None) and id(inside) not in found:
                found[id(inside)] = inside
                waiting.append(inside)
    yield from found.values()


def nodes_of(graph: Any) -> list[Any]:
    """Calls in the order in which the graph makes them."""
    by_depth = getattr(graph, "_functional", graph)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


class Trace(layers.Layer):
    """Any function as a layer, so that Keras infers what it returns for symbolic tensors."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)


def traced(function: Callable, *tensors: Any) -> Any:
    """What the function returns for such Keras tensors, with all shapes known."""
    return Trace(function).compute_output_spec(*tensors)


@contextmanager
def replaced_calls(leaves: Iterable[layers.Layer], replacement: Callable) -> Iterator[None]:
    """While it lasts, each layer calls `replacement(layer, its own call)`."""
    replaced = list(leaves)
    try:
        for layer in replaced:
            layer.call = replacement(layer, layer.call)
        yield
    finally:
        for layer in replaced:
            layer.__dict__.pop("call", None)


@contextmanager
def recorded(leaves: Iterable[layers.Layer]) -> Iterator[dict[layers.Layer, tuple[Any, Any]]]:
    """While it lasts, fills what it gives: layer -> (what it read, what it made), in the order of the calls."""
    found: dict[layers.Layer, tuple[Any, Any]] = {}

    def record(layer, call):
        def call_and_record(*args, **kwargs):
            found[layer] = args[0] if args else None, call(*args, **kwargs)
            return found[layer][1]

        return call_and_record

    with replaced_calls(leaves, record):
        yield found
