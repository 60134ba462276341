"""Models made again, layer by layer."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keras_resnet.graph.initialization import zero_kernels
from keras_resnet.graph.tracing import functional_form
from keras_resnet.modelcard import attach, card


def copied(layer: Any, **changes: Any) -> Any:
    """The layer again, with other settings. An operation of `keras.ops` has none to change."""
    settings = changes if isinstance(layer, layers.Layer) else {}
    return layer.__class__.from_config(layer.get_config() | settings)


def called(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def remade(
    model: keras.Model,
    layer: Callable[[Any], Any] = copied,
    call: Callable[..., Any] = called,
    weights: Callable[[Any], list[Any]] = layers.Layer.get_weights,
) -> keras.Model:
    """The model made again from its graph, with the models inside it, its weights and its card; it stays as it is.

    Args:
        model: A functional or built sequential model. The copy of a sequential one is functional.
        layer: From a layer to its copy.
        call: From a copy, and what its layer reads, to what the copy makes of it.
        weights: From a layer to the weights of its copy, where the copy has weights.
    """
    copies = {}

    def copy(original: Any) -> Any:
        copies[original] = layer(original)
        return copies[original]

    with zero_kernels():
        result = keras.models.clone_model(
            functional_form(model), clone_function=copy, call_function=call, recursive=True
        )
    for original, made in copies.items():
        if isinstance(made, layers.Layer) and made.weights:
            made.set_weights(weights(original))
    if known := card(model):
        attach(result, known)
    return result


def portable(model: keras.Model) -> keras.Model:
    """An equal model of stock Keras layers only, which loads where this package is not installed.

    >>> import keras_resnet
    >>> keras_resnet.portable(keras_resnet.build("fractalnet20", drop_path=0.15)).count_params()
    33745226
    """
    return remade(model, stock, called_as_stock)


def stock(layer: Any) -> Any:
    return layer.stock() if hasattr(layer, "stock") else copied(layer)


def called_as_stock(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """A FractalNet's join reads the columns' draws too, the average in its place does not."""
    return layer(args[0]) if isinstance(layer, layers.Average) else layer(*args, **kwargs)
