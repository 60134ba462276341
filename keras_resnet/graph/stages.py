"""A network's stages: their outputs, and freezing up to one of them."""

import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_resnet.checks import expect
from keras_resnet.graph.tracing import inferred, one_or_all

SIDE = 1024  # pixels, which the strides of all networks divide


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
    made = inferred(result, keras.KerasTensor((1, SIDE, SIDE, model.inputs[0].shape[-1])))
    result.strides = tuple(SIDE // tensor.shape[1] for tensor in made)
    result.channels = tuple(tensor.shape[-1] for tensor in made)
    return result


def stage_outputs(model: keras.Model) -> dict[int, Any]:
    """Stage -> tensor: what the first convolution or pool of the next stage reads, or the head."""
    read: dict[int, Any] = {}
    stages, last = set(), None
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
    parts = parts_of(model)
    order = list(dict.fromkeys(["stem", *filter(None, parts)]))
    expect(until is None or until in order[:-1], "until", f"None or one of {order[:-1]}", until)
    frozen = () if until is None else order[: order.index(until) + 1]
    for layer, part in zip(model.layers, parts, strict=True):
        layer.trainable = part not in frozen
    return model


def parts_of(model: keras.Model) -> list[str | None]:
    """The part that each layer belongs to: that of the layer before it, where its own name says none."""
    parts: list[str | None] = []
    part = None
    for layer in model.layers:
        if named := re.match(r"stem|stage\d+|head", layer.name):
            part = named[0]
        parts.append("predictions" if layer.name == "predictions" else part)
    return parts
