"""What every family's builder shares: the arguments of keras.applications, the input, the head, and the graph's use."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import keras
from keras import layers

from keras_resnet import environment
from keras_resnet.batch_norm import BatchNormalization
from keras_resnet.card import Card, attach, card
from keras_resnet.checks import COUNT, FLAG, Rule, expect, expect_rule, is_integer, one_of
from keras_resnet.grouped_conv import GroupedConv2D, on_cpu
from keras_resnet.layers import dropout
from keras_resnet.remat import rematerialize
from keras_resnet.tracing import traced, walk
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
    kernels_hint()
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


def kernels_hint():
    if keras.backend.backend() == "tensorflow" and on_cpu():
        environment.hint()


def one_or_all(tensors):
    """Keras warns of a single tensor where a list of one was declared."""
    return tensors[0] if len(tensors) == 1 else tensors


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


def features(model: keras.Model, stages: Sequence[int] = (1, 2, 3, 4)) -> keras.Model:
    """The model from a network's images to its stages' outputs, for detection, segmentation and Grad-CAM.

    A stage's output is what the next stage's branches, or the head, read: behind norm and relu in a pre-activation
    network, behind a norm alone between the stages of a PyramidNet. The layers are shared with `model`, not copied.

    Args:
        model: A network of this package, also a loaded one, or one with other layers behind it.
        stages: Stages counted from 1.

    Returns:
        A model with a list of outputs in the order of `stages` (Keras unwraps a list of one), and two attributes:
        `strides`, the pixels of the image per pixel of each output, and `channels`. A saved file does not hold the two.

    Raises:
        ValueError: Where a stage is not in the network.

    >>> import keras_resnet
    >>> backbone = keras_resnet.ResNet50(include_top=False)
    >>> pyramid = keras_resnet.features(backbone, stages=(2, 3, 4))
    >>> pyramid.strides, pyramid.channels
    ((8, 16, 32), (512, 1024, 2048))
    """
    outputs = stage_outputs(model)
    known = isinstance(stages, Sequence) and len(stages) > 0 and set(stages) <= set(outputs)
    expect(known, "stages", f"a list of stages among {tuple(outputs)} of {model.name}", stages)
    result = keras.Model(one_or_all(model.inputs), [outputs[stage] for stage in stages], name=f"{model.name}_features")
    side = 1024
    found = keras.tree.flatten(traced(result.call, keras.KerasTensor((1, side, side, model.inputs[0].shape[-1]))))
    result.strides = tuple(side // tensor.shape[1] for tensor in found)
    result.channels = tuple(tensor.shape[-1] for tensor in found)
    return result


def stage_outputs(model):
    """Stage -> tensor: what the first convolution or pool of the next stage reads, or the head."""
    read, stages, last = {}, set(), None
    for layer in model.layers:
        if named := re.match(r"stage(\d+)_(.*)", layer.name):
            stages.add(int(named[1]))
            if re.fullmatch("(in|block1_a1)_(pad|pool|conv)", named[2]):
                read.setdefault(int(named[1]) - 1, layer.input)
        if named or layer.name in ("head_norm", "head_relu"):
            last = layer.output
    return {stage: read.get(stage, last) for stage in sorted(stages)}


def freeze(model: keras.Model, until: str | None) -> keras.Model:
    """Keeps a network's first parts as they are in training: their weights, and their norms' moving statistics.

    Compile after it, as Keras asks; `keras_resnet.train` does.

    Args:
        model: A network of this package, also a loaded one. Changed in place: the parts behind become trainable.
        until: The last frozen part: "stem", a stage such as "stage3", or "head", which is all but the classifier
            `predictions`. None freezes nothing.

    Returns:
        The model.

    Raises:
        ValueError: Where the network has no such part.

    >>> import keras_resnet
    >>> [v.path for v in keras_resnet.freeze(keras_resnet.ResNet18(), "head").trainable_variables]
    ['predictions/kernel', 'predictions/bias']
    """
    part, reached = [], None
    for layer in model.layers:
        named = re.match(r"stem|stage\d+|head", layer.name)
        reached = named[0] if named else reached
        part.append("predictions" if layer.name == "predictions" else reached)
    order = list(dict.fromkeys(["stem", *filter(None, part)]))
    expect(until is None or until in order[:-1], "until", f"None or one of {order[:-1]}", until)
    frozen = () if until is None else order[: order.index(until) + 1]
    for layer, name in zip(model.layers, part, strict=True):
        layer.trainable = name not in frozen
    return model


def load_model(path: str | Path) -> keras.Model:
    """As `keras.models.load_model`, with the model's card, and with our norms and grouped convolutions for Keras'.

    They compute the same, and train faster. `portable` is the way back, for a file that loads without this package.

    Raises:
        ValueError: Where the path is not that of a `.keras` file.
    """
    expect(str(path).endswith(".keras") and Path(path).is_file(), "path", "a `.keras` file", str(path))
    kernels_hint()
    known, model = card(path), with_our_kernels(keras.models.load_model(path))
    if known:
        attach(model, known)
    return model


def with_our_kernels(model: keras.Model) -> keras.Model:
    """Keras' norms and grouped convolutions become ours, in place: these have no state of their own."""
    for layer in walk(model):
        if type(layer) is layers.BatchNormalization:
            layer.__class__ = BatchNormalization
        elif type(layer) is layers.Conv2D and layer.groups > 1:
            layer.__class__ = GroupedConv2D
    return model


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
