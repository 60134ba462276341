"""Reads pretrained weights from a path, an address or a model: a reader for every format."""

import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NoReturn

import h5py
import keras
import numpy as np

from keras_resnet.checks import ArgumentError, expect, invalid
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import IMAGENET, Card, card, of_unit
from keras_resnet.weights.caffe import read_caffemodel
from keras_resnet.weights.layers import Affine, Layer, Norm, Other
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
    expect_file,
    expect_source,
    suffix_of,
)


def read(source: Any, stages: Sequence[Any]) -> PretrainedWeights:
    """Reads the weights of a file, an address or a Keras model; the row's stages choose among keras.applications'."""
    if isinstance(source, PretrainedWeights):
        return source
    if isinstance(source, keras.Model):
        return read_keras_model(source)
    expect(isinstance(source, str | Path), "weights", EXPECTED, source)
    expect_source(source, blocks_of(stages))
    if source in NAMED:
        return NAMED[source](blocks_of(stages))
    if str(source).startswith(HUB):
        return read_hub(str(source))
    return FORMATS[suffix_of(source)](Path(source))


# torch's state dicts, in its own files and in safetensors


def read_torch(path: Path) -> PretrainedWeights:
    """Reads torch's state dict, bare or under `state_dict`, `model` or `net`. A file that would run code is refused."""
    import torch

    try:
        state = state_dict(torch.load(path, map_location="cpu", weights_only=True))
        tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
        require_real(tensor.is_complex() for tensor in tensors.values())
        layers = torch_layers({name: value.detach().float().numpy() for name, value in tensors.items()})
    except UnpicklingError:
        whole = "a whole torch file of tensors and plain containers: what holds more could run code, and is not read"
        raise invalid("weights", whole, str(path)) from None
    except Exception as error:  # whatever the unpickler, the archive and odd tensors raise
        unreadable(path, "torch", error)
    expect(layers, "weights", "a file with a state dict, bare or under 'state_dict', 'model' or 'net'", str(path))
    return PretrainedWeights(str(path), layers)


def require_real(are_complex: Iterable[bool]) -> None:
    if any(are_complex):
        raise TypeError("tensors of complex numbers")


def state_dict(loaded: Any) -> Mapping[str, Any]:
    for key in ("state_dict", "model", "net"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    return loaded if isinstance(loaded, Mapping) else {}


def read_safetensors(path: Path) -> PretrainedWeights:
    """Reads a state dict in safetensors, without torch."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        require_real(map(np.iscomplexobj, tensors.values()))
        layers = torch_layers({name: value.astype("float32") for name, value in tensors.items()})
    except (SafetensorError, TypeError, ValueError, OSError) as error:  # a TypeError: numpy has no bfloat16
        unreadable(path, "safetensors", error)
    return PretrainedWeights(str(path), layers, ordered=False)


def torch_layers(tensors: Mapping[str, np.ndarray]) -> dict[str, Layer]:
    """`layer1.0.bn1.weight`, with or without `module.` before it, is the `weight` of layer `layer1.0.bn1`."""
    grouped: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, parameter = name.removeprefix("module.").rpartition(".")
        if parameter in grouped.setdefault(layer or parameter, {}):
            raise ValueError(f"{name} twice, with and without module.")
        grouped[layer or parameter][parameter] = value
    return {name: torch_layer(parameters) for name, parameters in grouped.items()}


def torch_layer(parameters: dict[str, np.ndarray]) -> Layer:
    """OIHW becomes HWIO, and a matrix is transposed."""
    shapes = {name: value.shape for name, value in parameters.items() if name != "num_batches_tracked"}
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if weight is not None and weight.ndim in (2, 4) and shapes.keys() <= {"weight", "bias"}:
        kernel = np.transpose(weight.reshape(*weight.shape, *[1] * (4 - weight.ndim)), (2, 3, 1, 0))
        return whole_or_other(Affine(kernel, bias), shapes)
    if shapes.keys() - {"weight", "bias"} == {"running_mean", "running_var"}:
        mean, variance = parameters["running_mean"], parameters["running_var"]
        gamma = np.ones_like(mean) if weight is None else weight
        return whole_or_other(Norm(gamma, np.zeros_like(mean) if bias is None else bias, mean, variance), shapes)
    return Other(shapes)


def whole_or_other(layer: Affine | Norm, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    return layer if layer.whole else Other(shapes)


# Keras' files and models


def read_keras(path: Path) -> PretrainedWeights:
    """Reads what Keras' `save_weights` and `save` write, of our networks and of keras.applications'."""
    if path.suffix != ".keras":
        layers, names = keras_layers(path, {})
        return PretrainedWeights(str(path), layers, {name: {} for name in names}, ordered=False)
    try:
        with zipfile.ZipFile(path) as archive:
            settings = dict(layer_settings(json.loads(archive.read("config.json"))))
            weights, its_card = BytesIO(archive.read("model.weights.h5")), card(path)
    except Exception as error:  # whatever the archive and its parts raise
        unreadable(path, "Keras", error)
    layers, _ = keras_layers(weights, told_strides(settings), path)
    return with_card(PretrainedWeights(str(path), layers, settings), its_card)


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
    file: Any, settings: Mapping[str, Mapping[str, Any]], path: Any = None
) -> tuple[dict[str, Layer], set[str]]:
    """The layers with weights, in the order of the settings, and the names of all layers."""
    layers: dict[str, Layer] = {}
    names: set[str] = set()

    def visit(where: str, group: Any) -> None:
        if isinstance(group, h5py.Group) and "name" in group.attrs and where.startswith("layers/"):
            name = group.attrs["name"]
            names.add(name)
            if "0" in group:
                if name in layers:
                    raise ValueError(f"two layers of the name {name}")
                layers[name] = keras_layer([array(group[str(i)]) for i in range(len(group))], settings.get(name, {}))

    try:
        with h5py.File(file) as opened:
            opened.visititems(visit)
    except Exception as error:  # whatever h5py raises on a file that is none
        unreadable(path or file, "Keras", error)
    position = {name: index for index, name in enumerate(settings)}
    return dict(sorted(layers.items(), key=lambda item: position.get(item[0], -1))), names


def array(dataset: h5py.Dataset) -> np.ndarray:
    """Reads an array; Keras marks bfloat16, which h5py does not know."""
    if dataset.attrs.get("dtype") == "bfloat16":
        return (dataset[()].view("uint16").astype("uint32") << 16).view("float32")
    return np.array(dataset, "float32")


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
    return replace(pretrained, card=its_card, preprocessing=preprocessing, class_names=its_card.class_names)


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


# The Hugging Face hub


def read_hub(address: str) -> PretrainedWeights:
    """Reads a repository on the hub: safetensors first; preprocessing and classes from timm's config.json."""
    repository, _, revision = address.removeprefix(HUB).partition("@")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fetched(file: str) -> Path:
        return Path(hf_hub_download(repository, file, revision=revision or None))

    try:
        config = json.loads(fetched("config.json").read_text())
        try:
            pretrained = read_safetensors(fetched("model.safetensors"))
        except LocalEntryNotFoundError:  # a kind of the next one: the hub cannot be reached
            raise
        except EntryNotFoundError:
            expect_file(file := fetched("pytorch_model.bin"))
            pretrained = read_torch(file)
    except ArgumentError:
        raise
    except Exception as error:  # whatever the hub raises
        raise invalid("weights", f"a repository of timm's that can be reached ({error})", address) from error
    return replace(pretrained, origin=address, **config_tells(config, address))


def config_tells(config: Any, address: str) -> dict[str, Any]:
    """Preprocessing and class names in timm's config.json. Invalid entries are ignored with a warning."""
    config = config if isinstance(config, dict) else {}
    architecture = str(config.get("architecture", ""))
    filters = f"the anti-aliasing filters of {architecture}, which are not in its weights"
    expect(not re.search(r"blur|aa\d", architecture), "weights", f"a network without {filters}", address)
    config = {**config, **(config.get("pretrained_cfg") or {})}
    names, labels = IMAGENET if config.get("num_classes") == 1000 else None, config.get("label_names")
    is_list = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    told: dict[str, Any] = {"class_names": tuple(labels) if is_list else names}
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


# keras.applications


def read_applications(blocks: Blocks) -> PretrainedWeights:
    """Names and shapes of keras.applications' weights. Keras downloads the weights once these are known to fit."""
    builder = getattr(keras.applications, APPLICATIONS[blocks])

    def download() -> PretrainedWeights:
        try:
            return read_keras_model(builder(weights=IMAGENET))
        except Exception as error:  # Keras' downloader raises nothing narrower
            raise ConnectionError(f"The weights of keras.applications could not be downloaded: {error}") from error

    origin = f"keras.applications.{APPLICATIONS[blocks]}"
    return replace(read_keras_model(builder(weights=None)), origin=origin, download=download)


# Our own


def read_trained(blocks: Blocks) -> PretrainedWeights:
    """Reads the package's weights of a network that this project trained on CIFAR-10."""
    origin = f"{TRAINED[blocks]}-{CIFAR10}.keras"
    with as_file(files("keras_resnet") / "weights" / "trained" / origin) as path:
        return replace(read_keras(path), origin=f"keras_resnet's {origin}")


NAMED: dict[Any, Callable[[Blocks], PretrainedWeights]] = {IMAGENET: read_applications, CIFAR10: read_trained}


# What all readers share


def unreadable(source: object, writer: str, error: Exception) -> NoReturn:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    raise invalid("weights", f"what {writer} wrote ({reason})", str(source)) from error


READERS: dict[str, Callable[[Path], PretrainedWeights]] = {
    "keras": read_keras,
    "safetensors": read_safetensors,
    "caffe": read_caffemodel,
    "torch": read_torch,
}
FORMATS = {suffix: READERS[writer] for suffix, writer in SUFFIXES.items()}
