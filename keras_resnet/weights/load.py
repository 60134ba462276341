"""Loads pretrained weights into a model, exactly or not at all: pairs the layers and converts their arrays."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_resnet.checks import expect, expect_rule
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import IMAGENET, PREPROCESSINGS, Card, Preprocessing, attach, card
from keras_resnet.weights.biases import absorbed
from keras_resnet.weights.catalogue import is_noncommercial
from keras_resnet.weights.layers import Affine, Layer, Norm, Other, fault
from keras_resnet.weights.pretrained import PretrainedWeights
from keras_resnet.weights.readers import read
from keras_resnet.weights.schemes import HEAD, OURS, UNNAMED, Fields
from keras_resnet.weights.sources import CHANNEL_ORDER, Blocks
from keras_resnet.weights.structure import matched
from keras_resnet.weights.wiring import refuse_other_wiring, traits

STEMS = ("stem_conv", "stem1_conv")
KINDS = {layers.Conv2D: Affine, layers.Dense: Affine, layers.BatchNormalization: Norm}
SHOWN = 5  # names in an error


@dataclass(frozen=True)
class Target:
    """A layer of the model, and the weights that it needs."""

    layer: layers.Layer
    kind: type
    shape: tuple[int, ...]  # of the kernel as a convolution's, or of gamma


def targets(model: keras.Model) -> dict[str, Target]:
    """The model's layers that have weights, by name."""
    by_name: dict[str, Target] = {}
    for layer in walk(model):
        kind = next((kind for of, kind in KINDS.items() if isinstance(layer, of)), Other)
        if layer.weights and (kind is not Other or re.match("stem|stage|head|predictions", layer.name)):
            expect(kind is not Other, "model", "convolutions, dense layers and batch norms", f"{layer.name}, {layer}")
            expect(layer.name not in by_name, "model", "one network: no two layers of a name", f"{layer.name} twice")
            shape = tuple(layer.weights[0].shape)
            by_name[layer.name] = Target(layer, kind, (1, 1, *shape) if len(shape) == 2 else shape)
    return by_name


def load_weights(model: keras.Model, source: Any, *, channel_order: str | None = None) -> keras.Model:
    """Loads other projects' weights, or ours, into a model. It then computes what the source's network computes.

    Layers are matched by the source's names. If these follow no known scheme, layers are matched by the order and the
    shapes of the convolutions, dense layers and norms, and a warning says so. Nothing is loaded unless everything fits.
    `weights=` of `keras_resnet.build` does more: it changes the number of classes or channels, and the row's fields.

    Args:
        model: A network of this package, also a loaded one. Changed in place, with its card.
        source: "imagenet" (the network's usual public weights), a tag of one of its other checkpoints (see
            `keras_resnet.pretrained`), "cifar10" (ResNet-20's, trained by this project and in the package),
            "hf://owner/repo" on the Hugging Face hub, a Keras model, or the path of a file: torch's `.pth`, `.pt`,
            `.th`, `.tar` or `.bin`, `.safetensors`, `.caffemodel`, `.weights.h5`, `.keras`.
        channel_order: "BGR" if the source's network reads blue, green, red: the channels of its first kernel are then
            reversed, because our networks read RGB. By default the order of the source's project: keras.applications'
            ResNets and Caffe's for ImageNet read BGR. "RGB" if you trained such a network on RGB.

    Returns:
        The model.

    Raises:
        ValueError: If the source cannot be read, tensors are missing, left over or of another shape, or the weights
            imply another network, such as a stride in the 3x3 instead of the 1x1. The model is then unchanged.
        ConnectionError: If weights cannot be downloaded, with the file to fetch by hand.

    >>> import keras_resnet
    >>> model = keras_resnet.ResNet20()
    >>> copy = keras_resnet.load_weights(keras_resnet.ResNet20(), model)
    """
    is_built = isinstance(model, keras.Model) and len(getattr(model, "inputs", None) or ()) == 1
    expect(is_built, "model", "a built Keras model of one input", model)
    expect_rule(CHANNEL_ORDER, "channel_order", channel_order)
    known = card(model)
    load(model, read(source, blocks(model), known.network if known else None), channel_order=channel_order)
    return model


def blocks(model: keras.Model) -> Blocks:
    names = (re.match(r"stage(\d+)_block(\d+)_", layer.name) for layer in walk(model))
    stages = [int(stage) for stage, _ in {name.groups() for name in names if name}]
    return tuple(stages.count(stage) for stage in sorted(set(stages)))


def load(
    model: keras.Model,
    pretrained: PretrainedWeights,
    *,
    head: bool = True,
    adapt: bool = False,
    channel_order: str | None = None,
) -> None:
    """Assigns the weights once everything that can fail is done.

    Without `head` the model keeps its classifier. `adapt` allows the first convolution another number of channels.
    """
    wanted = {name: target for name, target in targets(model).items() if head or name != HEAD}
    names = paired(wanted, pretrained)
    refuse_contradictions(model, pretrained)
    compare(wanted, names, pretrained, adapt)
    refuse_other_strides(wanted, names, pretrained)
    if pretrained.scheme is OURS:
        refuse_other_wiring(model, pretrained)
    if pretrained.scheme is UNNAMED:
        warn_of_structure(pretrained, channel_order)
    if is_noncommercial(pretrained.licence):
        warn_of_licence(pretrained)
    there = pretrained.fetch({*names.values()}) if pretrained.fetch else pretrained.layers
    theirs = {name: there[names[name]] for name in names}
    refuse_broken(theirs, names, pretrained.origin)
    values = converted(model, wanted, theirs, pretrained, channel_order)
    known = described(model, pretrained, head=HEAD in wanted)
    for name, arrays in values.items():
        wanted[name].layer.set_weights(arrays)
    attach(model, known)


def paired(wanted: Mapping[str, Target], pretrained: PretrainedWeights) -> dict[str, str]:
    """Our layer names -> the source's."""
    if pretrained.scheme is not UNNAMED:
        return {name: pretrained.scheme.of(name, pretrained.layers) for name in wanted}
    channels = next((layer.shape[2] for layer in pretrained.layers.values() if isinstance(layer, Affine)), 0)
    shapes = {
        name: (target.kind, with_channels(target.shape, channels) if name in STEMS else target.shape)
        for name, target in wanted.items()
    }
    return matched(shapes, pretrained, HEAD in wanted)


def warn_of_structure(pretrained: PretrainedWeights, channel_order: str | None) -> None:
    unturned = " Its first kernel is taken for one of red, green, blue: if it is not, pass channel_order='BGR'."
    warnings.warn(
        f"The names in {pretrained.origin} follow no known scheme: layers were matched by their order and shapes. "
        "Whether both networks stride, pad and add alike cannot be seen from them: compare outputs."
        f"{unturned if pretrained.often_bgr and channel_order is None else ''}",
        stacklevel=4,
    )


def warn_of_licence(pretrained: PretrainedWeights) -> None:
    warnings.warn(
        f"The weights of {pretrained.origin} have the licence {pretrained.licence}: not for commercial use.",
        stacklevel=4,
    )


# What does not fit


def compare(wanted: Mapping[str, Target], names: Mapping[str, str], pretrained: PretrainedWeights, adapt: bool) -> None:
    """Raises an error that lists all layers that are missing, left over, or of another kind or shape, by both names."""
    scheme, there = pretrained.scheme, pretrained.layers
    both = {name: (wanted[name], there[theirs]) for name, theirs in names.items() if theirs in there}
    taken = {*names.values(), *(() if HEAD in wanted else (scheme.of(HEAD, there),))}
    complaints = {
        "missing": [f"{name} ({names[name] or 'without a name there'})" for name in names if name not in both],
        "left over": [theirs for theirs in there if theirs not in taken and scheme is not UNNAMED],
        "of another shape": [
            f"{name} {target.shape} ({names[name]} {layer.shape})"
            for name, (target, layer) in both.items()
            if not fits(target, layer, adapt and name in STEMS)
        ],
        "without a bias there": [
            f"{name} ({names[name]})"
            for name, (target, layer) in both.items()
            if isinstance(layer, Affine) and layer.bias is None and getattr(target.layer, "use_bias", False)
        ],
    }
    what = [f"{complaint}: {shortened(which)}" for complaint, which in complaints.items() if which]
    by = f" under the names of {scheme.title}" if scheme.names else ""
    expect(not what, "weights", "; ".join([f"weights of this network{by}", *what]), pretrained.origin)


def refuse_other_strides(wanted: Mapping[str, Target], names: Mapping[str, str], pretrained: PretrainedWeights) -> None:
    """Compares the strides that the source tells, but for stages in which the model may trade them for dilation."""
    dilated = any(getattr(target.layer, "dilation_rate", (1, 1)) != (1, 1) for target in wanted.values())
    compared = [name for name in names if not (dilated and re.match(r"stage([3-9]|\d\d)", name))]
    theirs = {name: getattr(pretrained.layers[names[name]], "stride", None) for name in compared}
    ours = {name: getattr(wanted[name].layer, "strides", (1,))[0] for name in compared}
    other = [f"{name} ({names[name]})" for name in compared if theirs[name] not in (None, ours[name])]
    expect(not other, "weights", f"weights of this network; of another stride: {shortened(other)}", pretrained.origin)


def fits(target: Target, layer: Layer, stem: bool) -> bool:
    """Whether kind and shape agree; a stem may have another number of channels."""
    if type(layer) is not target.kind or 0 in layer.shape:
        return False
    return target.shape == (with_channels(layer.shape, target.shape[2]) if stem else tuple(layer.shape))


def with_channels(shape: Any, channels: int) -> tuple[int, ...]:
    return *shape[:2], channels, *shape[3:]


def shortened(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def refuse_contradictions(model: keras.Model, pretrained: PretrainedWeights) -> None:
    """Raises an error if the weights imply another network than the model, as far as the source's names show it."""
    names, scheme = {layer.name for layer in walk(model)}, pretrained.scheme
    for name, instead in scheme.instead.items():
        expect(name not in names, "weights", instead, pretrained.origin)
    if scheme is not OURS:
        expect_agreement(scheme.implies(pretrained), traits(model), pretrained.origin)


def expect_agreement(implied_fields: Fields, given: Mapping[str, Any], origin: str) -> None:
    """Raises an error unless the given fields are those that the weights imply."""
    for field, value in implied_fields.items():
        here = given.get(field, value)
        expect(here == value, field, f"{value!r}, which the weights of {origin} imply", here)


def refuse_broken(theirs: Mapping[str, Layer], names: Mapping[str, str], origin: str) -> None:
    """Raises an error that names the layers whose values no network can compute with."""
    broken = [f"{name} ({names[name]}): {reason}" for name, layer in theirs.items() if (reason := fault_of(layer))]
    expect(not broken, "weights", f"values that a network can compute with; {shortened(broken)}", origin)


def fault_of(layer: Layer) -> str | None:
    arrays = (part for part in vars(layer).values() if isinstance(part, np.ndarray))
    return fault(getattr(layer, "epsilon", None), arrays, getattr(layer, "variance", ()))


# From the source's arrays to ours


def converted(
    model: keras.Model,
    wanted: Mapping[str, Target],
    theirs: Mapping[str, Layer],
    pretrained: PretrainedWeights,
    channel_order: str | None,
) -> dict[str, list[np.ndarray]]:
    """Our layer names -> the arrays to assign."""
    affine = {name: layer for name, layer in theirs.items() if isinstance(layer, Affine)}
    norms = {name: layer for name, layer in theirs.items() if isinstance(layer, Norm)}
    bgr = pretrained.scheme.bgr if channel_order is None else channel_order == "BGR"
    offsets = absorbed(model, biases_before_norms(wanted, affine), pretrained.origin)
    return {
        **{name: affine_arrays(wanted[name], layer, bgr and name in STEMS) for name, layer in affine.items()},
        **{
            name: norm_arrays(wanted[name].layer, layer, offsets.get(name, 0), pretrained.scheme.epsilon)
            for name, layer in norms.items()
        },
    }


def biases_before_norms(wanted: Mapping[str, Target], affine: Mapping[str, Affine]) -> dict[str, np.ndarray]:
    """The biases of the source's convolutions whose counterparts in the model have none."""
    biases = {name: layer.bias for name, layer in affine.items() if not wanted[name].layer.use_bias}
    return {name: bias for name, bias in biases.items() if bias is not None}


def affine_arrays(target: Target, source: Affine, reversed_channels: bool) -> list[np.ndarray]:
    kernel = source.kernel[:, :, ::-1] if reversed_channels else source.kernel
    kernel = to_channels(kernel, target.shape[2]).reshape(target.layer.weights[0].shape)
    return [kernel, source.bias] if target.layer.use_bias and source.bias is not None else [kernel]


def to_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """As timm does: one channel takes the sum of all, more take them in turn, scaled to the same response."""
    there = kernel.shape[2]
    if channels == there:
        return kernel
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    return kernel[:, :, np.arange(channels) % there] * (there / channels)


def norm_arrays(layer: Any, source: Norm, offset: Any, scheme_epsilon: float | None) -> list[np.ndarray]:
    """Moves a different epsilon into gamma, exactly: gamma sqrt((variance + ours) / (variance + theirs))."""
    gamma = source.gamma
    epsilon = next(value for value in (source.epsilon, scheme_epsilon, layer.epsilon) if value is not None)
    if epsilon != layer.epsilon:
        variance = source.variance.astype("float64")
        gamma = (gamma * np.sqrt((variance + layer.epsilon) / (variance + epsilon))).astype("float32")
    return [gamma, source.beta, (source.mean - offset).astype("float32"), source.variance]


# What else the source tells


def implied(pretrained: PretrainedWeights, config: Any, given: Mapping[str, Any]) -> Fields:
    """The fields that a residual network's row must have for these weights; the `given` ones must agree with them.

    A plain network stays plain, because no weights imply shortcuts.
    """
    if not hasattr(config, "stride_in"):
        return {}
    fields = pretrained.scheme.implies(pretrained)
    fields.pop("order", None)  # which makes another network: the model is compared with it, not changed
    expect_agreement(fields, given, pretrained.origin)
    return {field: value for field, value in fields.items() if field != "shortcut" or config.shortcut != "none"}


def described(model: keras.Model, pretrained: PretrainedWeights, head: bool) -> Card:
    """The model's card with the origin of the weights, their preprocessing and their class names."""
    known = card(model) or Card(network=model.name, config={}, input_shape=model.input_shape[1:])
    source = pretrained.card if pretrained.card and head else Card(network="", config={}, input_shape=())
    known = replace(
        known, **{name: getattr(source, name) for name in ("data", "metrics", "recipe", "seed", "versions")}
    )
    usual, names = what_is_usual(pretrained)
    preprocessing, share = pretrained.preprocessing or usual
    return replace(
        known,
        weights=pretrained.origin,
        licence=pretrained.licence,
        preprocessing=preprocessing and preprocessing.for_input(known.input_shape, share),
        class_names=(pretrained.class_names or names) if head else None,
    )


def what_is_usual(pretrained: PretrainedWeights) -> tuple[tuple[Preprocessing | None, float], Any]:
    """Preprocessing and class names that weights of this scheme have for ImageNet, or for the scheme's only data."""
    scheme = pretrained.scheme
    names = {1000: IMAGENET, len(scheme.only_data): scheme.only_data}.get(pretrained.classes or -1)
    if scheme.preprocessing is None or names is None:
        return (None, 1.0), None
    preprocessing, share = PREPROCESSINGS[scheme.preprocessing]
    return (preprocessing, 1.0 if scheme.only_data else share), names
