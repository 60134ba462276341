"""What every family's builder shares: the arguments of keras.applications, the input, the head, and weights."""

from dataclasses import asdict
from typing import Any, TypedDict

import keras
from keras import layers

from keras_resnet.checks import COUNT, FLAG, Rule, expect, expect_rule, is_integer, one_of
from keras_resnet.graph.remat import rematerialize
from keras_resnet.graph.tracing import one_or_all
from keras_resnet.kernels import onednn
from keras_resnet.modelcard import Card, attach
from keras_resnet.networks.layers import dropout
from keras_resnet.weights import classes_of, load, read

POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


class Interface(TypedDict, total=False):
    """The arguments of `keras_resnet.build` that any network takes."""

    classes: int | None
    input_shape: tuple[int | None, int | None, int] | None
    weights: Any
    include_top: bool
    pooling: str | None
    classifier_activation: Any
    input_tensor: Any
    remat: bool


def functional(trunk, config, *, name, classes=None, input_shape=None, weights=None, include_top=True, pooling=None,
               classifier_activation="softmax", input_tensor=None, remat=False,
               head_pool=layers.GlobalAveragePooling2D) -> keras.Model:  # fmt: skip
    """The model input -> trunk(input, config) -> head, after its arguments are checked."""
    onednn.hint()
    expect(hasattr(config, "smallest_size"), "config", "a row, such as keras_resnet.NETWORKS['resnet50']", config)
    layout = keras.config.image_data_format()
    expect(layout == "channels_last", "image_data_format", "Keras' own 'channels_last'", layout)
    check_top(classes, include_top, pooling, classifier_activation)
    expect_rule(FLAG, "remat", remat)
    if include_top and input_tensor is None:
        input_shape = config.input_shape if input_shape is None else input_shape
    checkpoint = None if weights is None else read(weights, config.stages)
    there = config.classes if checkpoint is None else classes_of(checkpoint)
    expect(there or classes or not include_top, "weights", "a source with a classifier, or classes=..., or "
           "include_top=False", checkpoint and checkpoint.origin)  # fmt: skip
    x = image_input(input_shape, input_tensor, config.smallest_size)
    y = trunk(x, config)
    if include_top:
        y = dropout(head_pool(name="head_pool")(y), config.head_dropout, "head")
        whole = keras.config.dtype_policy().variable_dtype  # softmax in half precision loses accuracy
        y = layers.Dense(classes or there, classifier_activation, dtype=whole, name="predictions")(y)
    elif pooling:
        y = POOLINGS[pooling](name="head_pool")(y)
    model = keras.Model(one_or_all(keras.utils.get_source_inputs(x)), y, name=name)
    attach(model, Card(network=name, config=asdict(config), input_shape=tuple(x.shape[1:])))
    if checkpoint is not None:
        load(model, checkpoint, head=classes in (None, there), adapt=True)
    return rematerialize(model) if remat else model


def check_top(classes, include_top, pooling, classifier_activation):
    expect_rule(
        Rule(lambda count: count is None or COUNT.holds(count), f"None or {COUNT.expected}"), "classes", classes
    )
    expect_rule(FLAG, "include_top", include_top)
    expect_rule(one_of(None, *POOLINGS), "pooling", pooling)
    expect_rule(ACTIVATION, "classifier_activation", classifier_activation)


def is_activation(value):
    try:
        return callable(keras.activations.get(value))
    except (TypeError, ValueError):
        return False


ACTIVATION = Rule(is_activation, "a Keras activation, or None for logits")


def image_input(input_shape, input_tensor, smallest):
    if input_tensor is None:
        shape = (None, None, 3) if input_shape is None else input_shape
        check_shape(shape, "input_shape", smallest)
        return keras.Input(tuple(shape))
    expect(keras.backend.is_keras_tensor(input_tensor), "input_tensor", "a Keras tensor", input_tensor)
    check_shape(input_tensor.shape[1:], "input_tensor", smallest)
    expect(input_shape is None or tuple(input_shape) == tuple(input_tensor.shape[1:]), "input_shape",
           f"None, or the shape {tuple(input_tensor.shape[1:])} of `input_tensor`", input_shape)  # fmt: skip
    return input_tensor


def check_shape(shape, argument, smallest):
    holds = (
        isinstance(shape, list | tuple)
        and len(shape) == 3
        and all(size is None or (is_integer(size) and size >= smallest) for size in shape[:2])
        and COUNT.holds(shape[2])
    )
    expect(holds, argument, f"(height, width, channels), a height and width of at least {smallest} pixels, below which "
           "a stage would have none, or None for any", shape)  # fmt: skip
