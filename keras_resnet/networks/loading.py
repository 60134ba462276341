"""Our files, loaded with our kernels."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras
from keras import layers

from keras_resnet.checks import ArgumentError, ReportedError, expect, invalid
from keras_resnet.files import disk_full_named, expect_model_file, expect_room
from keras_resnet.graph.keras_private import shared_objects
from keras_resnet.graph.skipping import skip_dropped_paths
from keras_resnet.graph.tracing import walk
from keras_resnet.kernels import onednn
from keras_resnet.kernels.batch_norm import fused
from keras_resnet.kernels.grouped_conv import GroupedConv2D, grouped_convolution
from keras_resnet.modelcard import ARCHIVED, attach, card
from keras_resnet.networks.fractalnet import DrawColumns, Join
from keras_resnet.predict import MiddleOfResized
from keras_resnet.weights import foreign
from keras_resnet.weights.foreign.contents import BFLOAT16, DTYPES, carrier
from keras_resnet.weights.layers import fault

OURS = (DrawColumns, GroupedConv2D, Join, MiddleOfResized)  # Keras finds them in a file once they are imported
MEMBERS = {"config.json", "metadata.json", "model.weights.h5", ARCHIVED}
SPARE = 2**24  # bytes that a file may hold besides the model's variables
A_VARIABLE = 2048  # bytes that HDF5 needs for one at most, besides its numbers
WIDEST = 8  # bytes of a number
WHOLE = "a whole `.keras` file"


def load_model(path: str | Path) -> keras.Model:
    """As `keras.models.load_model`, with the model's card, and with our kernels for norms and grouped convolutions.

    The layers are those of the file. They compute the same, and train faster. A process of its own reads the file, so
    that a hostile one neither hangs this process nor fills its memory; nothing outside of the file is read.

    Raises:
        ValueError: If the path is not that of a `.keras` file, if the file is damaged, has other members than Keras
            and this package write (such as the vocabulary of a text layer), or has values that no network can compute
            with.
    """
    expect_model_file(path)
    onednn.hint()
    known = card(path)
    with refused(path):
        model = loaded(Path(path))
    if known:
        attach(model, known)
    return model


@contextmanager
def refused(path: str | Path) -> Iterator[None]:
    """Whatever Keras raises on a damaged file becomes an ArgumentError."""
    try:
        yield
    except (ArgumentError, ReportedError):
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise invalid("path", f"{WHOLE} ({reason})", str(path)) from error


def loaded(path: Path) -> keras.Model:
    file = foreign.declared(path, "keras_archive")
    others = sorted(set(file.facts["members"]) - MEMBERS)
    expect(not others, "path", f"{WHOLE} without {', '.join(others[:3])}", str(path))
    with shared_objects():
        model = keras.saving.deserialize_keras_object(json.loads(file.facts["config"]))
    expect(isinstance(model, keras.Model), "path", f"{WHOLE} of a model", str(path))
    take_weights(model, file)
    expect_sound(model, path)
    return skip_dropped_paths(with_our_kernels(model))


def load_best(model: keras.Model, path: Path) -> None:
    """Gives a model the weights that `model.save_weights` wrote."""
    with refused(path):
        take_weights(model, foreign.declared(path, "hdf5"))


def take_weights(model: keras.Model, file: foreign.File) -> None:
    """Keras' own loader assigns them, from a file that holds what was read, and nothing else."""
    needed = sum(bytes_of(variable) for variable in variables(model))
    there = sum(array.bytes for array in file.arrays.values())
    expect(there <= needed + SPARE, "path", f"{needed:,} bytes of weights, and not {there:,}", str(file.path))
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.weights.h5"
        with disk_full_named(copy):
            expect_room(copy, there + A_VARIABLE * len(file.arrays))
            write_copy(copy, file)
        model.load_weights(copy)


def variables(model: keras.Model) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    return [*model.variables, *(optimizer.variables if optimizer else ())]


def bytes_of(variable: Any) -> int:
    size = carrier(variable.dtype).itemsize if variable.dtype in DTYPES else WIDEST
    return prod(variable.shape) * size


def write_copy(path: Path, file: foreign.File) -> None:
    """As Keras writes it: groups with the names of layers, and arrays of which it marks bfloat16."""
    with h5py.File(path, "w") as copy:
        for group, name in file.facts["groups"].items():
            there = copy.create_group(group)
            if name is not None:
                there.attrs["name"] = name
        for name, array in foreign.values(file, file.arrays):
            is_bfloat16 = file.arrays[name].dtype == BFLOAT16
            copy[name] = array.view("V2") if is_bfloat16 else array
            if is_bfloat16:
                copy[name].attrs["dtype"] = BFLOAT16


def expect_sound(model: keras.Model, path: Path) -> None:
    """Raises an error that names the layers with values that no network can compute with."""
    broken = [f"{layer.name}: {reason}" for layer in walk(model) if (reason := fault_of(layer))]
    expect(not broken, "path", f"values that a network can compute with; {', '.join(broken[:5])}", str(path))


def fault_of(layer: layers.Layer) -> str | None:
    epsilon = getattr(layer, "epsilon", None)
    arrays = map(keras.ops.convert_to_numpy, layer.weights)
    variance = getattr(layer, "moving_variance", None)
    return fault(epsilon, arrays, () if variance is None else keras.ops.convert_to_numpy(variance))


def with_our_kernels(model: keras.Model) -> keras.Model:
    """The model itself: Keras' norms and grouped convolutions in it compute by our kernels."""
    for layer in walk(model):
        if type(layer) is layers.BatchNormalization:
            fused(layer)
        elif type(layer) is layers.Conv2D and layer.groups > 1:
            layer.convolution_op = partial(grouped_convolution, layer)
    return model
