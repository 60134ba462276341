"""Models made again from their graphs."""

import keras
from keras import layers

from keras_resnet.modelcard import attach, card


def one_or_all(tensors):
    """Keras warns of a single tensor where a list of one was declared."""
    return tensors[0] if len(tensors) == 1 else tensors


def functional_form(model: keras.Model) -> keras.Model:
    """Of a sequential model, of which `clone_model` takes no `call_function`, the functional one; any other itself."""
    if not isinstance(model, keras.Sequential):
        return model
    return keras.Model(one_or_all(model.inputs), model.outputs[0], name=model.name)


def portable(model: keras.Model) -> keras.Model:
    """An equal model of stock Keras layers only, which loads where this package is not installed.

    >>> import keras_resnet
    >>> keras_resnet.portable(keras_resnet.build("fractalnet20", drop_path=0.15)).count_params()
    33745226
    """

    def stock(layer):
        return layer.stock() if hasattr(layer, "stock") else layer.__class__.from_config(layer.get_config())

    def call(layer, *args, **kwargs):
        return layer(args[0]) if isinstance(layer, layers.Average) else layer(*args, **kwargs)

    copy = keras.models.clone_model(functional_form(model), clone_function=stock, call_function=call, recursive=True)
    copy.set_weights(model.get_weights())
    if known := card(model):
        attach(copy, known)
    return copy
