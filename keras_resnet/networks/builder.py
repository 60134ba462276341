"""The parts of `keras_resnet.build` that need Keras: from a row to a model, for every family alike."""

from contextlib import nullcontext
from dataclasses import asdict
from importlib import import_module
from typing import Any

import keras
from keras import KerasTensor, layers

from keras_resnet.checks import Rule, expect, expect_rule
from keras_resnet.graph.initialization import zero_kernels
from keras_resnet.graph.tracing import one_or_all
from keras_resnet.kernels import onednn
from keras_resnet.modelcard import Card, attach
from keras_resnet.networks.arguments import Head, Shape, check_shape
from keras_resnet.networks.families import FAMILIES, Config
from keras_resnet.networks.layers import classifier
from keras_resnet.weights import PretrainedWeights

POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def is_activation(value: Any) -> bool:
    try:
        return callable(keras.activations.get(value))
    except (TypeError, ValueError):
        return False


ACTIVATION = Rule(is_activation, "a Keras activation, or None for logits")


def check_keras(activation: Any) -> None:
    """Raises an error for what only Keras knows to be wrong."""
    onednn.hint()
    layout = keras.config.image_data_format()
    expect(layout == "channels_last", "image_data_format", "Keras' own 'channels_last'", layout)
    expect_rule(ACTIVATION, "classifier_activation", activation)


def outputs_of(config: Config, head: Head, pretrained: PretrainedWeights | None) -> int:
    """Of the classifier: as asked for, or the weights', or the paper's."""
    usual = config.classes if pretrained is None else pretrained.classes
    sources = "a source with a classifier, or `classes=...`, or `include_top=False`"
    expect(usual or head.classes or not head.include_top, "weights", sources, pretrained and pretrained.origin)
    return head.classes or usual or 0


def image_input(
    config: Config,
    input_shape: Shape | None,
    input_tensor: Any,
    include_top: bool,
    pretrained: PretrainedWeights | None,
) -> KerasTensor:
    """The tensor that is given, or a new input."""
    if input_tensor is None:
        size = pretrained and pretrained.size
        usual = (size, size, 3) if size else config.input_shape
        return keras.Input(tuple(input_shape or (usual if include_top else (None, None, 3))))
    expect(keras.backend.is_keras_tensor(input_tensor), "input_tensor", "a Keras tensor", input_tensor)
    shape = tuple(input_tensor.shape[1:])
    check_shape(shape, "input_tensor", config.smallest_size)
    same = input_shape is None or tuple(input_shape) == shape
    expect(same, "input_shape", f"None, or the shape {shape} of `input_tensor`", input_shape)
    return input_tensor


def network(
    x: KerasTensor, config: Config, head: Head, outputs: int, pretrained: PretrainedWeights | None
) -> KerasTensor:
    """The family's trunk and the head. What will be loaded next is not drawn."""
    family = import_module(f"keras_resnet.networks.{FAMILIES[type(config)]}")
    with zero_kernels() if pretrained else nullcontext():
        x = family.trunk(x, config)
    if not head.include_top:
        return POOLINGS[head.pooling](name="head_pool")(x) if head.pooling else x
    with zero_kernels() if pretrained and keeps_classifier(head, pretrained) else nullcontext():
        return classifier(x, family.HEAD_POOL, config.head_dropout, outputs, head.activation)


def keeps_classifier(head: Head, pretrained: PretrainedWeights) -> bool:
    return head.classes in (None, pretrained.classes)


def functional(x: KerasTensor, y: KerasTensor, name: str, config: Config, network: str) -> keras.Model:
    """The model between them, with its card."""
    model = keras.Model(one_or_all(keras.utils.get_source_inputs(x)), y, name=name)
    attach(model, Card(network=network, config=asdict(config), input_shape=tuple(x.shape[1:])))
    return model
