"""Reads pretrained weights from a path, an address or a model: a reader for every format."""

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple, cast

import keras
import numpy as np

from keras_resnet.checks import ArgumentError, expect, invalid
from keras_resnet.files import small_text
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import IMAGENET, MOST_JSON, Card, card, of_unit
from keras_resnet.weights import foreign
from keras_resnet.weights.caffe import Caffemodel
from keras_resnet.weights.catalogue import KERAS, Checkpoint, catalogue, chosen
from keras_resnet.weights.hub import SAFETENSORS, fetched
from keras_resnet.weights.layers import Affine, Layer, Layers, Norm, Other, constant
from keras_resnet.weights.pretrained import PretrainedWeights
from keras_resnet.weights.sources import (
    APPLICATIONS,
    CIFAR10,
    EXPECTED,
    HUB,
    SUFFIXES,
    TRAINED,
    Blocks,
    blocks_of,
    expect_source,
    suffix_of,
)

CONFIG, TORCH_FILE, KERAS_FILE = "config.json", "pytorch_model.bin", "model.keras"  # in a repository


def read(source: Any, stages: Sequence[Any], network: str | None = None) -> PretrainedWeights:
    """Reads the weights of a name, a file, an address or a Keras model.

    What a name stands for depends on the network: on its published name, or else on the stages of its row.
    """
    if isinstance(source, PretrainedWeights):
        return source
    if isinstance(source, keras.Model):
        return read_keras_model(source)
    expect(isinstance(source, str | Path), "weights", EXPECTED, source)
    expect_source(source, blocks_of(stages), network)
    if row := chosen(source, network):
        return read_checkpoint(row)
    if source in NAMED:
        return NAMED[source](blocks_of(stages))
    if str(source).startswith(HUB):
        return read_hub(str(source))
    return FORMATS[suffix_of(source)](Path(source))


# Files, through the door: first their shapes, then the values of the layers that are wanted


class Grouped(NamedTuple):
    """A source's layers, and the names of the arrays that each is made of."""

    layers: dict[str, Layer]
    arrays: Mapping[str, Iterable[str]]


def expect_whole(path: Path, writer: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """What the call returns. Whatever it raises on a damaged file becomes an ArgumentError."""
    try:
        return call(*arguments)
    except ArgumentError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise invalid("weights", f"what {writer} wrote ({reason})", str(path)) from error


def from_file(
    file: foreign.File, writer: str, group: Callable[[Mapping[str, np.ndarray]], Grouped], **known: Any
) -> PretrainedWeights:
    """Layers with the shapes of the file's arrays, and what fetches their values."""
    shapes = {name: foreign.stand_in(array) for name, array in file.arrays.items()}
    layers, arrays = expect_whole(file.path, writer, group, shapes)

    def fetched(wanted: Collection[str]) -> dict[str, Layer]:
        needed = [array for layer in wanted for array in arrays[layer]]
        return group(shapes | dict(foreign.float32_values(file, needed))).layers

    fetch = partial(expect_whole, file.path, writer, fetched)
    return PretrainedWeights(str(file.path), layers, fetch=fetch, **known)


# torch's state dicts, in its own files and in safetensors


def read_torch(path: Path) -> PretrainedWeights:
    """Reads torch's state dict, bare or under `state_dict`, `model` or `net`, without torch. No code in it is run."""
    file = expect_whole(path, "torch", foreign.declared, path, "torch_pickle")
    expect(file.arrays, "weights", "a file with a state dict, bare or under 'state_dict', 'model' or 'net'", str(path))
    return from_file(file, "torch", torch_layers)


def read_safetensors(path: Path) -> PretrainedWeights:
    """Reads a state dict in safetensors, without torch."""
    file = expect_whole(path, "safetensors", foreign.declared, path, "safetensors_file")
    return from_file(file, "safetensors", torch_layers, ordered=False)


def torch_layers(tensors: Mapping[str, np.ndarray]) -> Grouped:
    """`layer1.0.bn1.weight`, with or without `module.` before it, is the `weight` of layer `layer1.0.bn1`."""
    grouped: dict[str, dict[str, str]] = {}
    for name in tensors:
        layer, _, parameter = name.removeprefix("module.").rpartition(".")
        if parameter in grouped.setdefault(layer or parameter, {}):
            raise ValueError(f"{name} twice, with and without module.")
        grouped[layer or parameter][parameter] = name
    layers = {
        layer: torch_layer({parameter: tensors[name] for parameter, name in names.items()})
        for layer, names in grouped.items()
    }
    return Grouped(layers, {layer: names.values() for layer, names in grouped.items()})


def torch_layer(parameters: dict[str, np.ndarray]) -> Layer:
    """OIHW becomes HWIO, and a matrix is transposed."""
    shapes = {name: value.shape for name, value in parameters.items() if name != "num_batches_tracked"}
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if weight is not None and weight.ndim in (2, 4) and shapes.keys() <= {"weight", "bias"}:
        kernel = np.transpose(weight.reshape(*weight.shape, *[1] * (4 - weight.ndim)), (2, 3, 1, 0))
        return whole_or_other(Affine(kernel, bias), shapes)
    if shapes.keys() - {"weight", "bias"} == {"running_mean", "running_var"}:
        mean, variance = parameters["running_mean"], parameters["running_var"]
        gamma = constant(1, mean) if weight is None else weight
        beta = constant(0, mean) if bias is None else bias
        return whole_or_other(Norm(gamma, beta, mean, variance), shapes)
    return Other(shapes)


def whole_or_other(layer: Affine | Norm, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    return layer if layer.whole else Other(shapes)


# Keras' files and models


def read_keras(path: Path) -> PretrainedWeights:
    """Reads what Keras' `save_weights` and `save` write, of our networks and of keras.applications'."""
    if path.suffix != ".keras":
        file = expect_whole(path, "Keras", foreign.declared, path, "hdf5")
        settings: dict[str, Any] = {name: {} for name in file.facts["groups"].values() if name}
        return from_file(file, "Keras", partial(keras_layers, file, {}), settings=settings, ordered=False)
    file = expect_whole(path, "Keras", foreign.declared, path, "keras_archive")
    settings, told = expect_whole(path, "Keras", settings_and_strides, file.facts["config"])
    its_card = expect_whole(path, "Keras", card, path)
    return with_card(from_file(file, "Keras", partial(keras_layers, file, told), settings=settings), its_card)


def settings_and_strides(config: str) -> tuple[dict[str, Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
    """The settings of all layers: as they are, and as far as they tell the strides of the weights."""
    settings = dict(layer_settings(json.loads(config)))
    return settings, told_strides(settings)


def layer_settings(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and settings of every layer in Keras' JSON, however deep, in the model's order."""
    if isinstance(config, list):
        for item in config:
            yield from layer_settings(item)
    elif isinstance(config, dict):
        settings = config.get("config")
        if isinstance(settings, dict) and "name" in settings:
            yield settings["name"], settings
        for item in config.values():
            yield from layer_settings(item)


def told_strides(settings: dict[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The settings, without strides if the network trades them for dilation: its weights then do not tell them."""
    if all(set(layer.get("dilation_rate", [1])) == {1} for layer in settings.values()):
        return settings
    return {name: {**layer, "strides": None} for name, layer in settings.items()}


def keras_layers(
    file: foreign.File, settings: Mapping[str, Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
) -> Grouped:
    """The layers with weights, in the order of the settings."""
    sizes = Counter(array.rpartition("/")[0] for array in arrays)
    names: dict[str, list[str]] = {}
    for group, name in file.facts["groups"].items():
        if name and group.startswith("layers/") and sizes[group]:
            if name in names:
                raise ValueError(f"two layers of the name {name}")
            names[name] = [f"{group}/{index}" for index in range(sizes[group])]
    position = {name: index for index, name in enumerate(settings)}
    in_order = sorted(names, key=lambda name: position.get(name, -1))
    layers = {name: keras_layer([arrays[array] for array in names[name]], settings.get(name, {})) for name in in_order}
    return Grouped(layers, names)


def read_keras_model(model: keras.Model) -> PretrainedWeights:
    weighted = [layer for layer in walk(model) if layer.weights]
    names = [layer.name for layer in weighted]
    expect(len(set(names)) == len(names), "weights", "one network: no two layers of a name", f"the model {model.name}")
    settings = json.loads(json.dumps({layer.name: layer.get_config() for layer in walk(model)}, default=str))
    told = told_strides(settings)
    arrays = {layer.name: [np.array(variable) for variable in layer.weights] for layer in weighted}
    layers = {name: keras_layer(arrays[name], told[name]) for name in names}
    return with_card(PretrainedWeights(f"the model {model.name}", layers, settings), card(model))


def with_card(pretrained: PretrainedWeights, its_card: Card | None) -> PretrainedWeights:
    """Adds what the card of one of our networks tells."""
    if its_card is None:
        return pretrained
    its = its_card.preprocessing
    preprocessing = (its, its.share) if its else None
    names, licence = its_card.class_names, its_card.licence
    return replace(pretrained, card=its_card, preprocessing=preprocessing, class_names=names, licence=licence)


def keras_layer(arrays: list[np.ndarray], settings: Mapping[str, Any]) -> Layer:
    dimensions, shapes = [array.ndim for array in arrays], {str(i): array.shape for i, array in enumerate(arrays)}
    if dimensions in ([2], [2, 1], [4], [4, 1]):
        kernel, bias = arrays[0], arrays[1] if len(arrays) == 2 else None
        strides = settings.get("strides")
        return whole_or_other(
            Affine(kernel.reshape(*[1] * (4 - kernel.ndim), *kernel.shape), bias, strides and strides[0]), shapes
        )
    if dimensions == [1] * 4:
        gamma, beta, mean, variance = arrays
        return whole_or_other(Norm(gamma, beta, mean, variance, settings.get("epsilon")), shapes)
    return Other(shapes)


# Caffe's files


def read_caffemodel(path: Path) -> PretrainedWeights:
    """Reads Caffe's convolutions, dense layers and norms, of both generations of messages, without Caffe."""
    file = expect_whole(path, "Caffe", foreign.declared, path, "caffe_wire")
    net = expect_whole(path, "Caffe", Caffemodel, file.facts["net"])
    pool_pad = expect_whole(path, "Caffe", net.first_pool_pad)
    return from_file(file, "Caffe", lambda arrays: Grouped(*net.grouped(arrays)), often_bgr=True, pool_pad=pool_pad)


# The Hugging Face hub


def read_hub(address: str) -> PretrainedWeights:
    """Reads a repository on the hub: timm's, with its config.json, in safetensors if it has them; or one of ours."""
    if (config := fetched(address, CONFIG)) is None:
        return replace(read_keras(required(address, KERAS_FILE)), origin=address)
    told = config_tells(parsed(config, address), address)
    if path := fetched(address, SAFETENSORS):
        return replace(read_safetensors(path), origin=address, **told)
    return replace(read_torch(required(address, TORCH_FILE)), origin=address, **told)


def required(address: str, file: str) -> Path:
    path = fetched(address, file)
    expect(path, "weights", f"a repository with {CONFIG} and {SAFETENSORS} or {TORCH_FILE}, or {KERAS_FILE}", address)
    return cast(Path, path)


def parsed(config: Path, address: str) -> Any:
    try:
        return json.loads(small_text(config, MOST_JSON))
    except ValueError as error:
        raise invalid("weights", f"a repository whose {CONFIG} is JSON ({error})", address) from error


def read_checkpoint(row: Checkpoint) -> PretrainedWeights:
    """Reads the weights of a row of the catalogue."""
    if row.source.startswith(KERAS):
        return read_applications(row.source.removeprefix(KERAS))
    pretrained = replace(
        read_safetensors(required(row.address, SAFETENSORS)),
        origin=row.address,
        licence=row.licence,
        size=row.size,
        preprocessing=row.preprocessing,
        class_names=IMAGENET if row.classes == 1000 else None,
    )
    classes = f"{row.classes} classes, as the catalogue says, and not {pretrained.classes}"
    expect((pretrained.classes or 0) == row.classes, "weights", classes, row.address)
    return pretrained


def config_tells(config: Any, address: str) -> dict[str, Any]:
    """Preprocessing and class names in timm's config.json. Invalid entries are ignored with a warning."""
    config = config if isinstance(config, dict) else {}
    architecture = str(config.get("architecture", ""))
    filters = f"the anti-aliasing filters of {architecture}, which are not in its weights"
    expect(not re.search(r"blur|aa\d", architecture), "weights", f"a network without {filters}", address)
    config = {**config, **(config.get("pretrained_cfg") or {})}
    names, labels = IMAGENET if config.get("num_classes") == 1000 else None, config.get("label_names")
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    told: dict[str, Any] = {"class_names": tuple(labels) if is_list else names, "size": size_in(config)}
    told["licence"] = config["license"] if isinstance(config.get("license"), str) else None
    if "mean" not in config:
        return told
    try:
        normalization = of_unit(config["mean"], config["std"])
        reads = replace(normalization, interpolation=config.get("interpolation", "bilinear"))
        share = float(config.get("crop_pct", 1.0))
        expect(0 < share <= 1, "crop_pct", "a share in (0, 1]", share)
    except (KeyError, TypeError, ValueError) as error:
        warnings.warn(f"config.json of {address} does not say how to read images: {error}", stacklevel=2)
        return told
    return told | {"preprocessing": (reads, share)}


def size_in(config: Mapping[str, Any]) -> int | None:
    """Of square images."""
    match config.get("input_size"):
        case [int(), int(height), int(width)] if height == width > 0:
            return height
    return None


# keras.applications


def read_applications(function: str) -> PretrainedWeights:
    """Names and shapes of keras.applications' weights. Keras downloads the weights once these are known to fit."""
    builder = getattr(keras.applications, function)

    def download(_wanted: Collection[str]) -> Layers:
        try:
            return read_keras_model(builder(weights=IMAGENET)).layers
        except Exception as error:  # Keras' downloader raises nothing narrower
            raise ConnectionError(f"The weights of keras.applications could not be downloaded: {error}") from error

    origin = KERAS + function
    licence = next(row.licence for row in catalogue() if row.source == origin)
    return replace(read_keras_model(builder(weights=None)), origin=origin, licence=licence, fetch=download)


# Our own


def read_trained(blocks: Blocks) -> PretrainedWeights:
    """Reads the package's weights of a network that this project trained on CIFAR-10."""
    origin = f"{TRAINED[blocks]}-{CIFAR10}.keras"
    with as_file(files("keras_resnet") / "weights" / "trained" / origin) as path:
        return replace(read_keras(path), origin=f"keras_resnet's {origin}")


NAMED: dict[Any, Callable[[Blocks], PretrainedWeights]] = {
    IMAGENET: lambda blocks: read_applications(APPLICATIONS[blocks]),
    CIFAR10: read_trained,
}


READERS: dict[str, Callable[[Path], PretrainedWeights]] = {
    "keras": read_keras,
    "safetensors": read_safetensors,
    "caffe": read_caffemodel,
    "torch": read_torch,
}
FORMATS = {suffix: READERS[writer] for suffix, writer in SUFFIXES.items()}
