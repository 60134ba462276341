"""Other projects' weights become our networks exactly, or not at all: files, models and addresses of every kind."""

import json
import re
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications.densenet import DenseNet
from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1
from safetensors.numpy import save_file

import keras_resnet
from helpers import caffe_files as caffe
from helpers.live import live
from helpers.torch_networks import NETWORKS, REFERENCE, assert_equal
from helpers.torch_networks import load as assign_record
from helpers.undrawn import undrawn
from keras_resnet import PREPROCESSINGS, DenseNetConfig, ResNetConfig, card, densenet, load_weights, resnet
from keras_resnet.checks import ArgumentError
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import attach
from keras_resnet.networks.layers import max_pool
from keras_resnet.weights.layers import Affine, Other
from keras_resnet.weights.pretrained import PretrainedWeights
from keras_resnet.weights.readers import FORMATS
from keras_resnet.weights.schemes import SCHEMES
from keras_resnet.weights.structure import matched

BASIC, BOTTLENECK = NETWORKS["basic_b"], NETWORKS["bottleneck_3x3"]
SMALL = {"input_shape": (16, 12, 3), "classes": 5, "classifier_activation": None}
IMAGES = np.random.default_rng(1).normal(size=(2, 16, 12, 3)).astype("float32")


# How other projects name our layers


BLOCK = r"stage(\d+)_block(\d+)_"
TORCH_BLOCK = {
    BLOCK + r"a(\d)_conv": lambda s, b, i: f"layer{s}.{b - 1}.conv{i}",
    BLOCK + r"a(\d)_norm": lambda s, b, i: f"layer{s}.{b - 1}.bn{i}",
    "stem_conv": lambda: "conv1",
    "stem_norm": lambda: "bn1",
}
TORCHVISION = {
    **TORCH_BLOCK,
    BLOCK + "skip_conv": lambda s, b: f"layer{s}.{b - 1}.downsample.0",
    BLOCK + "skip_norm": lambda s, b: f"layer{s}.{b - 1}.downsample.1",
    BLOCK + "a_se_squeeze": lambda s, b: f"layer{s}.{b - 1}.se.fc1",
    BLOCK + "a_se_excite": lambda s, b: f"layer{s}.{b - 1}.se.fc2",
    "predictions": lambda: "fc",
}
TIMM_D = {
    **TORCHVISION,
    BLOCK + "skip_conv": lambda s, b: f"layer{s}.{b - 1}.downsample.1",
    BLOCK + "skip_norm": lambda s, b: f"layer{s}.{b - 1}.downsample.2",
    "stem1_conv": lambda: "conv1.0",
    "stem1_norm": lambda: "conv1.1",
    "stem2_conv": lambda: "conv1.3",
    "stem2_norm": lambda: "conv1.4",
    "stem3_conv": lambda: "conv1.6",
    "stem3_norm": lambda: "bn1",
    "stem4_conv": lambda: "maxpool.0",
    "stem4_norm": lambda: "maxpool.1",
}
TIMM_V2 = {
    "stem_conv": lambda: "stem.conv",
    r"stem(\d)_conv": lambda i: f"stem.conv{i}",
    r"stem(\d)_norm": lambda i: f"stem.norm{i}",
    BLOCK + r"a(\d)_conv": lambda s, b, i: f"stages.{s - 1}.blocks.{b - 1}.conv{i}",
    BLOCK + r"a(\d)_norm": lambda s, b, i: f"stages.{s - 1}.blocks.{b - 1}.norm{i + 1}",
    BLOCK + "skip_conv": lambda s, b: f"stages.{s - 1}.blocks.{b - 1}.downsample.conv",
    "head_norm": lambda: "norm",
    "predictions": lambda: "head.fc",
}
CIFAR = {
    **TORCH_BLOCK,
    BLOCK + "skip_conv": lambda s, b: f"layer{s}.{b - 1}.shortcut.0",
    BLOCK + "skip_norm": lambda s, b: f"layer{s}.{b - 1}.shortcut.1",
    "predictions": lambda: "linear",
}
XTERNALZ = {
    "stem_conv": lambda: "conv1",
    BLOCK + r"a(\d)_conv": lambda s, b, i: f"block{s}.layer.{b - 1}.conv{i}",
    BLOCK + r"a(\d)_norm": lambda s, b, i: f"block{s}.layer.{b - 1}.bn{i + 1}",
    BLOCK + "skip_conv": lambda s, b: f"block{s}.layer.{b - 1}.convShortcut",
    "head_norm": lambda: "bn1",
    "predictions": lambda: "fc",
}
DENSENET = {
    "stem_conv": lambda: "features.conv0",
    "stem_norm": lambda: "features.norm0",
    BLOCK + r"a(\d)_conv": lambda s, b, i: f"features.denseblock{s}.denselayer{b}.conv{i}",
    BLOCK + r"a(\d)_norm": lambda s, b, i: f"features.denseblock{s}.denselayer{b}.norm{i + 1}",
    r"stage(\d)_in_conv": lambda s: f"features.transition{s - 1}.conv",
    r"stage(\d)_in_norm": lambda s: f"features.transition{s - 1}.norm",
    "head_norm": lambda: "features.norm5",
    "predictions": lambda: "classifier",
}
DENSENET_OF_2017 = {
    **DENSENET,
    BLOCK + r"a(\d)_conv": lambda s, b, i: f"features.denseblock{s}.denselayer{b}.conv.{i}",
    BLOCK + r"a(\d)_norm": lambda s, b, i: f"features.denseblock{s}.denselayer{b}.norm.{i + 1}",
}


def caffe_names(letter, kind="res", skip="conv"):
    return {
        BLOCK + rf"a(\d)_{skip}": lambda s, b, i: f"{kind}{s + 1}{letter(b)}_branch2{'abc'[i - 1]}",
        BLOCK + f"skip_{skip}": lambda s, b: f"{kind}{s + 1}{letter(b)}_branch1",
    }


def caffe_project(letter):
    """`letter` is the block's: a, b, c of 50 layers; a, b1, b2 of 101."""
    ends = {"stem_conv": lambda: "conv1", "stem_norm": lambda: "bn_conv1", "predictions": lambda: "fc1000"}
    return {**caffe_names(letter), **caffe_names(letter, "bn", "norm"), **ends}


LETTERED = caffe_project(lambda b: "abc"[b - 1])
NUMBERED = caffe_project(lambda b: "a" if b == 1 else f"b{b - 1}")


def renamed(layer, names):
    """By the first pattern that fits."""
    found = ((re.fullmatch(pattern, layer), name) for pattern, name in names.items())
    return next(name(*map(int, match.groups())) for match, name in found if match)


# What writes files


TORCH_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Project(NamedTuple):
    names: dict[str, Any]
    prefix: str = ""
    convolved: str = ""  # dense layers of ours that are 1x1 convolutions there


TORCH = Project(TORCHVISION)
TIMM = Project(TORCHVISION, convolved=".*_se_.*")
TIMM_DEEP = Project(TIMM_D, convolved=".*_se_.*")
TIMM_PRE = Project(TIMM_V2, convolved="predictions")
AKAMASTER = Project(CIFAR, prefix="module.")
KUANGLIU = Project(CIFAR)
WIDE = Project(XTERNALZ)


def record_arrays(record):
    """Layer -> variable -> array."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer, variable in (field.split("/") for field in record.dtype.names if "/" in field):
        found.setdefault(layer, {})[variable] = record[f"{layer}/{variable}"].astype("float32")
    return found


def model_arrays(model):
    return {
        layer.name: {variable.name: np.array(variable) for variable in layer.weights}
        for layer in walk(model)
        if layer.weights
    }


def as_torch(array, convolved):
    """HWIO becomes OIHW; a matrix is transposed, and a 1x1 convolution's kernel where it is `convolved`."""
    array = array.transpose(*range(array.ndim)[:1:-1], *range(array.ndim)[:2]) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array[..., None, None] if convolved and array.ndim == 2 else array)


def write_keras(model, path):
    (model.save if path.suffix == ".keras" else model.save_weights)(path)


def state_dict(arrays, project):
    """What torch would save."""
    found = {}
    for layer, variables in arrays.items():
        name, convolved = f"{project.prefix}{renamed(layer, project.names)}", re.fullmatch(project.convolved, layer)
        for variable, array in variables.items():
            found[f"{name}.{TORCH_VARIABLES[variable]}"] = as_torch(array, convolved)
        if "moving_mean" in variables:
            found[f"{name}.num_batches_tracked"] = np.array(7)
    return found


def save(path, tensors):
    save_file(tensors, path)
    return path


FACTOR = 99.5  # of Caffe's sums


def bias_of(convolution):
    """Any, the same for a convolution and for the norm behind it."""
    return np.random.default_rng(list(convolution.name.encode())).normal(size=convolution.filters)


def caffe_convolution(model, layer, name):
    kernel = np.array(layer.kernel)
    kernel = kernel[:, :, ::-1] if layer.name == "stem_conv" else kernel  # Caffe reads BGR
    return [caffe.convolution(name, "in", name, kernel, bias_of(layer), layer.strides[0])]


def caffe_norm(model, layer, name):
    gamma, beta, mean, variance = map(np.array, layer.weights)
    mean = mean + bias_of(model.get_layer(layer.name.replace("_norm", "_conv")))
    return [
        caffe.batch_norm(name, name, name, mean * FACTOR, variance * FACTOR, FACTOR, layer.epsilon),
        caffe.scale(f"scale_{name}", name, name, gamma, beta),
    ]


def caffe_dense(model, layer, name):
    return [caffe.inner_product(name, "in", name, *map(np.array, layer.weights))]


CAFFE_LAYERS = {
    layers.Conv2D: caffe_convolution,
    layers.BatchNormalization: caffe_norm,
    layers.Dense: caffe_dense,
    layers.MaxPooling2D: lambda model, layer, name: [caffe.max_pool("pool1", "in", "pool1")],
}


def row_of(layer, table, default=None):
    return next((row for kind, row in table.items() if isinstance(layer, kind)), default)


def caffe_layers(model, names):
    """Layers that compute what the model computes: with biases, which the norms' means have too."""
    found = []
    for layer in model.layers:
        if write := row_of(layer, CAFFE_LAYERS):
            found += write(model, layer, renamed(layer.name, names) if layer.weights else "")
    return found


# What makes networks, and compares


def draw(random, name, shape):
    """He et al. 2015's normal kernels; scales, shifts, means and variances, none of which is that of the beginning."""
    if len(shape) > 1:
        return random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
    return random.uniform(0.5, 1.5, shape) if name in ("gamma", "moving_variance") else random.uniform(-0.5, 0.5, shape)


def randomized(model, seed=0):
    random = np.random.default_rng(seed)
    for layer in walk(model):
        for variable in layer.weights:
            variable.assign(draw(random, variable.name, variable.shape))
    return model


def network(config, **changes):
    return randomized(resnet(config, **SMALL | changes))


def variant(model, changes=None, name=str):
    """A copy with other settings of the layers of some type, under other names, and its own weights."""

    def clone(layer):
        settings = row_of(layer, changes or {}, {})
        return type(layer).from_config({**layer.get_config(), **settings, "name": name(layer.name)})

    return randomized(keras.models.clone_model(model, clone_function=clone), seed=1)


WITH_BIASES = {layers.Conv2D: {"use_bias": True}}
ANOTHER_EPSILON = {layers.BatchNormalization: {"epsilon": 1e-3}}


def of_record(name, source, **changes):
    """A network for a record's input, with the source's weights."""
    shape = REFERENCE[name]["input"].shape[1:]
    config = replace(NETWORKS[name], **changes)
    return resnet(config, weights=source, input_shape=shape, classifier_activation=None)


def saved_record(path, name, project):
    return save(path / f"{name}.safetensors", state_dict(record_arrays(REFERENCE[name]), project))


def bits(model):
    return [np.array(variable).tobytes() for variable in model.variables]


@contextmanager
def refused(*words):
    """An error of ours that says all of these."""
    with pytest.raises(ArgumentError) as caught:
        yield
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


@contextmanager
def load_refused(model, *words):
    """And that leaves the model, and what is known of it, as they were."""
    before, known = bits(model), card(model)
    with refused(*words):
        yield
    assert bits(model) == before
    assert card(model) == known


@pytest.fixture
def rows(monkeypatch):
    """Adds tiny networks to those that `build` knows."""
    return lambda **configs: [monkeypatch.setitem(keras_resnet.NETWORKS, *item) for item in configs.items()]


# Equal outputs, scheme by scheme


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("basic_b", TORCH),
        ("bottleneck_3x3", TORCH),
        ("resnext", TORCH),
        ("squeeze_and_excitation", TIMM),
        ("squeeze_and_excitation", TORCH),
        ("resnet_d", TIMM_DEEP),
        ("resnet_rs", TIMM_DEEP),
        ("preactivation_bare", TIMM_PRE),
        ("basic_a", AKAMASTER),
        ("basic_b", KUANGLIU),
        ("resnext_cifar", KUANGLIU),
        ("wide", WIDE),
        ("preactivation", WIDE),
    ],
)
def test_a_file_under_a_projects_names_computes_what_torch_computed(name, project, tmp_path):
    model = of_record(name, saved_record(tmp_path, name, project))
    assert_equal(model(REFERENCE[name]["input"]), REFERENCE[name]["output"])


def caffe_twin(name):
    """The record's network with Caffe's pool."""
    config = replace(NETWORKS[name], stem="imagenet_caffe", stem_filters=4)
    model = resnet(config, input_shape=(27, 24, 3), classes=5, classifier_activation=None)
    return config, assign_record(model, REFERENCE[name])


@pytest.mark.parametrize("generation", caffe.GENERATIONS)
@pytest.mark.parametrize(
    ("name", "names"),
    [("bottleneck_1x1", LETTERED), ("bottleneck_1x1", NUMBERED), ("bottleneck_3x3", LETTERED)],
    ids=["bottleneck_1x1", "bottleneck_1x1_numbered", "bottleneck_3x3"],
)
def test_a_file_of_caffe_computes_what_the_same_weights_compute(name, names, generation, tmp_path):
    config, expected = caffe_twin(name)
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, names), generation)
    model = resnet(config, weights=tmp_path / "net.caffemodel", input_shape=(27, 24, 3), classifier_activation=None)
    images = REFERENCE[name]["input"]
    assert_equal(model(images), np.array(expected(images)))


@pytest.mark.parametrize("generation", caffe.GENERATIONS)
def test_a_file_of_caffe_with_basic_blocks_computes_what_the_same_weights_compute(generation, tmp_path):
    config = replace(BASIC, stem="imagenet_caffe")
    expected = network(config)
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, LETTERED), generation)
    model = resnet(config, weights=tmp_path / "net.caffemodel", **SMALL)
    assert_equal(model(IMAGES), np.array(expected(IMAGES)))


NAMES_OF_ONES_OWN = {
    "stem_conv": lambda: "first",
    "stem_norm": lambda: "first_norm",
    BLOCK + r"a(\d)_conv": lambda s, b, i: f"unit_{s}{b}{i}",
    BLOCK + r"a(\d)_norm": lambda s, b, i: f"unit_{s}{b}{i}_norm",
    "predictions": lambda: "classes",
}


@pytest.mark.parametrize("generation", caffe.GENERATIONS)
def test_a_plain_network_of_caffe_is_matched_by_its_order(generation, tmp_path):
    config = replace(BASIC, shortcut="none")
    expected = network(config)
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, NAMES_OF_ONES_OWN), generation)
    with pytest.warns(UserWarning, match="compare outputs.$"):
        model = resnet(config, weights=tmp_path / "net.caffemodel", channel_order="BGR", **SMALL)
    assert_equal(model(IMAGES), np.array(expected(IMAGES)))


def test_a_network_of_caffe_without_imagenets_names_is_not_turned_unless_asked(tmp_path):
    config = replace(BASIC, shortcut="none")
    expected = network(config)
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, NAMES_OF_ONES_OWN))
    with pytest.warns(UserWarning, match="if it is not, pass channel_order='BGR'"):
        model = resnet(config, weights=tmp_path / "net.caffemodel", **SMALL)
    assert_equal(model(IMAGES), np.array(expected(IMAGES[..., ::-1])))


@pytest.mark.parametrize("size", [7, 8, 13, 112])
def test_the_stem_of_caffe_pools_as_caffe_does(size):
    """Caffe's pool rounds its size up, and its last windows end with the image."""
    pooled = -(-(size - 3) // 2) + 1
    images = np.random.default_rng(0).normal(size=(1, size, size, 2)).clip(0).astype("float32")

    def window(y, x):
        return images[0, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]

    expected = np.stack([[window(y, x).max((0, 1)) for x in range(pooled)] for y in range(pooled)])
    x = keras.Input((size, size, 2))
    np.testing.assert_array_equal(keras.Model(x, max_pool(x, "stem", before=0))(images)[0], expected)


FOUR_STAGES = ((4,), (6, 6), (8,), (10,))
TINY_DENSENET = DenseNetConfig(stages=(1, 2), growth=4, stem="imagenet", bottleneck=4, compression=0.5)


@pytest.mark.parametrize(
    ("build", "config", "project"),
    [
        (resnet, replace(BASIC, stages=FOUR_STAGES), KUANGLIU),
        (resnet, replace(BOTTLENECK, order="pre", stem="deep_bare", shortcut="D"), TIMM_PRE),
        (resnet, replace(BASIC, order="pre", stages=FOUR_STAGES), TIMM_PRE),
        (resnet, replace(BASIC, shortcut="C"), TORCH),
        (densenet, TINY_DENSENET, Project(DENSENET)),
        (densenet, TINY_DENSENET, Project(DENSENET_OF_2017)),
    ],
    ids=["kuangliu", "resnetv2_d", "resnetv2_cifar", "option_c", "densenet", "densenet_of_2017"],
)
def test_a_network_comes_back_from_a_projects_names(build, config, project, tmp_path):
    expected = randomized(build(config, **SMALL))
    path = save(tmp_path / "net.safetensors", state_dict(model_arrays(expected), project))
    assert_equal(build(config, weights=path, **SMALL)(IMAGES), np.array(expected(IMAGES)))


def nested_network(config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(import_module("keras_resnet.networks.resnet"), "PART", 2)
        patch.setattr(import_module("keras_resnet.networks.resnet"), "LONGEST_CHAIN", 1)
        model = network(config)
    assert model.get_layer("stage2_block2_to_3").layers
    return model


NESTABLE = replace(BASIC, stages=((4, 4, 4), (6, 6, 6)))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_flat_network_takes_a_nested_ones_file(suffix, monkeypatch, tmp_path):
    expected, path = nested_network(NESTABLE, monkeypatch), tmp_path / f"net{suffix}"
    write_keras(expected, path)
    assert_equal(resnet(NESTABLE, weights=path, **SMALL)(IMAGES), np.array(expected(IMAGES)))


def test_a_nested_network_takes_a_flat_ones_weights(monkeypatch):
    expected = network(NESTABLE)
    model = load_weights(nested_network(NESTABLE, monkeypatch), expected)
    assert_equal(model(IMAGES), np.array(expected(IMAGES)))


@pytest.mark.parametrize("order", ["BGR", "RGB", None])
def test_channel_order_turns_the_first_kernel(order, tmp_path):
    path = saved_record(tmp_path, "basic_b", TORCH)
    model = load_weights(resnet(BASIC, **SMALL), path, channel_order=order)
    kernel = record_arrays(REFERENCE["basic_b"])["stem_conv"]["kernel"]
    expected = kernel[:, :, ::-1] if order == "BGR" else kernel
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, expected)


def test_channel_order_overrides_caffes(tmp_path):
    config, expected = caffe_twin("bottleneck_3x3")
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, LETTERED))
    model = resnet(config, input_shape=(27, 24, 3), classes=5)
    load_weights(model, tmp_path / "net.caffemodel", channel_order="RGB")
    kernel = np.array(expected.get_layer("stem_conv").kernel)
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, kernel[:, :, ::-1])


def test_a_network_of_caffe_that_was_trained_on_rgb_is_built_with_its_channel_order(tmp_path):
    config, expected = caffe_twin("bottleneck_3x3")
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, LETTERED))
    settings = dict(weights=tmp_path / "net.caffemodel", input_shape=(27, 24, 3), classifier_activation=None)
    images = REFERENCE["bottleneck_3x3"]["input"]
    model = resnet(config, channel_order="RGB", **settings)
    assert_equal(model(images), np.array(expected(images[..., ::-1])))


def test_a_channel_order_without_weights_is_refused():
    with refused("channel_order", "None without `weights`"):
        resnet(BASIC, channel_order="RGB")


def test_another_channel_order_is_refused():
    with refused("channel_order", "'BGR'", "'GBR'"):
        resnet(BASIC, weights="cifar10", channel_order="GBR")
    with refused("channel_order", "'BGR'", "'GBR'"):
        load_weights(resnet(BASIC, **SMALL), "imagenet", channel_order="GBR")


# keras.applications


APPLICATIONS_BLOCKS = (3, 4, 6, 3)
APPLICATIONS_LIKE = ResNetConfig(
    stages=tuple((4 * width,) * count for width, count in zip((2, 3, 4, 5), APPLICATIONS_BLOCKS, strict=True)),
    stem="imagenet",
    stem_filters=64,
    branch="bottleneck",
    stride_in="1x1",
)


@cache
def narrow_resnet(blocks, weights=None):
    """keras.applications' own ResNet, with its biases, its epsilon and its strides, but few channels."""

    def stages(x):
        for stage, (width, count) in enumerate(zip((2, 3, 4, 5), blocks, strict=False), start=2):
            x = stack_residual_blocks_v1(x, width, count, stride1=1 if stage == 2 else 2, name=f"conv{stage}")
        return x

    settings = dict(weights=None, weights_name=None, input_shape=(33, 40, 3), classes=1000)
    model = ResNet(stages, False, True, "resnet50", classifier_activation=None, **settings)
    return randomized(model, seed=0 if weights else 1)


@pytest.fixture
def downloads(monkeypatch):
    """What keras.applications.ResNet50 is asked for; it has few channels here."""
    asked = []

    def ResNet50(weights):  # noqa: N802
        asked.append(weights)
        return narrow_resnet(APPLICATIONS_BLOCKS, weights)

    monkeypatch.setattr(keras.applications, "ResNet50", ResNet50)
    return asked


@pytest.fixture
def no_download(monkeypatch):
    def fail(*args, **kwargs):
        pytest.fail(f"a download of {args} {kwargs}")

    for module in ("resnet", "densenet"):
        monkeypatch.setattr(import_module(f"keras.src.applications.{module}").file_utils, "get_file", fail)
    monkeypatch.setattr(keras.utils, "get_file", fail)


BGR_IMAGES = np.random.default_rng(2).normal(size=(1, 33, 40, 3)).astype("float32")
APPLICATIONS_SHAPE = {"input_shape": (33, 40, 3), "classifier_activation": None}


def test_imagenet_is_the_network_of_keras_applications(downloads):
    model = resnet(APPLICATIONS_LIKE, weights="imagenet", **APPLICATIONS_SHAPE)
    assert_equal(model(BGR_IMAGES[..., ::-1]), np.array(narrow_resnet(APPLICATIONS_BLOCKS, "imagenet")(BGR_IMAGES)))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_file_of_keras_applications_is_the_network_with_its_epsilon(suffix, tmp_path):
    theirs, path = narrow_resnet.__wrapped__((1, 2)), tmp_path / f"net{suffix}"
    for layer in theirs.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 1e-5)
    write_keras(theirs, path)
    config = replace(APPLICATIONS_LIKE, stages=((8,), (12, 12)))
    model = resnet(config, weights=path, **APPLICATIONS_SHAPE)
    assert_equal(model(BGR_IMAGES[..., ::-1]), np.array(theirs(BGR_IMAGES)))


def test_imagenet_is_downloaded_after_the_names_were_compared(downloads):
    resnet(APPLICATIONS_LIKE, weights="imagenet", **APPLICATIONS_SHAPE)
    assert downloads == [None, "imagenet"]


@pytest.mark.parametrize("changes", [{"stride_in": "3x3"}, {"shortcut": "C"}, {"order": "pre"}, {"inner": 1 / 2}])
def test_imagenet_is_not_downloaded_for_another_network(downloads, changes):
    with refused("keras.applications.ResNet50"):
        resnet(replace(APPLICATIONS_LIKE, **changes), weights="imagenet", **APPLICATIONS_SHAPE)
    assert downloads == [None]


def test_the_card_of_imagenets_weights_says_how_they_read_images(downloads):
    known = card(resnet(APPLICATIONS_LIKE, weights="imagenet", **APPLICATIONS_SHAPE))
    assert known.weights == "keras.applications.ResNet50"
    assert known.preprocessing == PREPROCESSINGS["caffe"][0].sized(33, 40, 0.875)
    assert known.class_names == "imagenet"


def test_a_densenet_of_keras_applications_computes_the_same():
    settings = dict(weights=None, input_shape=(33, 40, 3), classes=5, classifier_activation=None)
    theirs = randomized(DenseNet([1, 2, 1, 1], **settings))
    config = replace(keras_resnet.NETWORKS["densenet121"], stages=(1, 2, 1, 1))
    model = densenet(config, weights=theirs, **APPLICATIONS_SHAPE)
    assert_equal(model(BGR_IMAGES), np.array(theirs(BGR_IMAGES)))


V2_INSTEAD = "hf://timm/resnetv2_50"


def test_a_v2_network_of_keras_applications_is_refused():
    model = network(NETWORKS["preactivation_imagenet"])
    with load_refused(model, "weights", V2_INSTEAD):
        load_weights(model, keras.applications.ResNet50V2(weights=None, input_shape=(32, 32, 3), include_top=False))


def test_imagenet_weights_of_a_row_of_its_own_are_refused_with_the_networks_that_keras_has(no_download):
    with refused("weights", "ResNet50", "ResNet152", "DenseNet201", "'imagenet'"):
        keras_resnet.resnet(replace(keras_resnet.NETWORKS["resnet18"], drop_path=0.1), weights="imagenet")


def test_imagenet_weights_of_a_row_with_as_many_blocks_are_refused(no_download):
    with refused("weights", "keras.applications.ResNet50", "left over", "conv2_block1_3_conv"):
        keras_resnet.resnet(replace(keras_resnet.NETWORKS["resnet34"], drop_path=0.1), weights="imagenet")


# Other epsilons, and biases


@pytest.mark.parametrize("name", ["basic_b", "preactivation", "pyramid"])
def test_another_epsilon_is_folded_into_gamma(name):
    expected = variant(network(NETWORKS[name]), ANOTHER_EPSILON)
    model = resnet(NETWORKS[name], weights=expected, **SMALL)
    assert model.layers[-1].name == "predictions"
    assert {layer.epsilon for layer in model.layers if isinstance(layer, layers.BatchNormalization)} == {1e-5}
    assert_equal(model(IMAGES), np.array(expected(IMAGES)))


def test_the_epsilon_in_an_archive_of_keras_is_folded_into_gamma(tmp_path):
    expected = variant(network(BASIC), ANOTHER_EPSILON)
    expected.save(tmp_path / "net.keras")
    model = resnet(BASIC, weights=tmp_path / "net.keras", **SMALL)
    assert_equal(model(IMAGES), np.array(expected(IMAGES)))


def test_the_epsilon_of_a_caffe_file_is_folded_into_gamma(tmp_path):
    config = replace(BASIC, stem="imagenet_caffe")
    expected = variant(network(config), ANOTHER_EPSILON)
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, LETTERED))
    model = resnet(config, weights=tmp_path / "net.caffemodel", **SMALL)
    assert_equal(model(IMAGES), np.array(expected(IMAGES)))


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("basic_b", TORCH),
        ("squeeze_and_excitation", TIMM),
        ("resnet_d", TIMM_DEEP),
        ("wide", WIDE),
        ("preactivation", WIDE),
        ("preactivation_bare", TIMM_PRE),
    ],
)
def test_norms_take_over_a_files_biases(name, project, tmp_path):
    expected = variant(network(NETWORKS[name]), WITH_BIASES)
    path = save(tmp_path / "net.safetensors", state_dict(model_arrays(expected), project))
    assert_equal(resnet(NETWORKS[name], weights=path, **SMALL)(IMAGES), np.array(expected(IMAGES)))


@pytest.mark.parametrize(
    "config",
    [
        NETWORKS["pyramid"],
        replace(BASIC, order="norm_after_sum"),
        replace(BASIC, order="relu_only"),
        replace(BASIC, order="pre", shortcut="A"),
        replace(BASIC, order="pre", shortcut="D"),
        replace(BASIC, order="pre", branches=2),
    ],
    ids=["pyramid", "norm_after_sum", "relu_only", "option_a", "option_d", "two_branches"],
)
def test_norms_take_over_biases_through_sums_and_pools(config):
    expected = variant(network(config), WITH_BIASES)
    assert_equal(resnet(config, weights=expected, **SMALL)(IMAGES), np.array(expected(IMAGES)))


def test_biases_of_zero_change_nothing(tmp_path):
    tensors = state_dict(record_arrays(REFERENCE["basic_b"]), TORCH)
    biases = {f"layer{s}.0.conv1.bias": np.zeros(width, "float32") for s, width in ((1, 4), (2, 6), (3, 10))}
    model = of_record("basic_b", save(tmp_path / "net.safetensors", tensors | biases))
    for layer, variables in record_arrays(REFERENCE["basic_b"]).items():
        for variable, array in variables.items():
            np.testing.assert_array_equal(getattr(model.get_layer(layer), variable), array)


def test_a_bias_before_a_squeeze_and_excitation_scale_is_refused():
    config = replace(BASIC, order="pre", se_ratio=2)
    model = network(config)
    with load_refused(model, "weights", "stage1_block1_a_se_pool"):
        load_weights(model, variant(model, WITH_BIASES))


def test_a_bias_before_the_head_is_refused():
    config = replace(BASIC, order="pre", shortcut="none", stages=((4,),))
    model = resnet(config, include_top=False, input_shape=(16, 12, 3))
    headless = keras.Model(model.input, model.get_layer("stage1_block1_a2_conv").output)
    with load_refused(headless, "weights", "output"):
        load_weights(headless, variant(headless, WITH_BIASES))


# Other heads, other inputs


OF_CIFAR10 = replace(BASIC, shortcut="A")


@cache
def cifar10_arrays():
    return model_arrays(network(OF_CIFAR10, classes=10))


@pytest.fixture
def cifar10_file(tmp_path):
    """Of ten classes, which are CIFAR-10's by its names."""
    return save(tmp_path / "cifar10.safetensors", state_dict(cifar10_arrays(), AKAMASTER))


def of_cifar10(path, **changes):
    settings = {"input_shape": (16, 12, 3), "classifier_activation": None}
    return resnet(OF_CIFAR10, weights=path, **settings | changes)


def assert_loaded(model, arrays, without=()):
    for name, variables in model_arrays(model).items():
        if name not in without:
            for variable, array in variables.items():
                np.testing.assert_array_equal(array, arrays[name][variable])


def test_the_classes_are_the_files(cifar10_file):
    model = of_cifar10(cifar10_file)
    assert model.output_shape == (None, 10)
    assert_loaded(model, cifar10_arrays())


def test_other_classes_replace_the_head_and_keep_the_rest(cifar10_file):
    model = of_cifar10(cifar10_file, classes=7)
    assert model.output_shape == (None, 7)
    assert_loaded(model, cifar10_arrays(), without=["predictions"])


def test_a_replaced_head_has_no_class_names(cifar10_file):
    assert len(card(of_cifar10(cifar10_file)).class_names) == 10
    assert card(of_cifar10(cifar10_file, classes=7)).class_names is None


def test_a_replaced_head_keeps_the_preprocessing(cifar10_file):
    known = card(of_cifar10(cifar10_file, classes=7))
    assert known.preprocessing == PREPROCESSINGS["imagenet"][0].sized(16, 12)


def test_a_network_without_top_takes_a_classifiers_file(cifar10_file):
    model = of_cifar10(cifar10_file, include_top=False)
    assert_loaded(model, cifar10_arrays())
    assert card(model).class_names is None


def headless_file(path):
    arrays = {name: variables for name, variables in cifar10_arrays().items() if name != "predictions"}
    return save(path / "headless.safetensors", state_dict(arrays, AKAMASTER))


def test_a_file_without_a_classifier_is_refused_for_one(tmp_path):
    with refused("weights", "classifier", "headless.safetensors"):
        of_cifar10(headless_file(tmp_path))


def test_a_file_without_a_classifier_gives_one_its_backbone(tmp_path):
    model = of_cifar10(headless_file(tmp_path), classes=7)
    assert_loaded(model, cifar10_arrays(), without=["predictions"])


def test_one_channel_takes_the_sum_of_the_stems_kernels(cifar10_file):
    gray = IMAGES[..., :1]
    of_gray = of_cifar10(cifar10_file, input_shape=(16, 12, 1))
    assert_equal(of_gray(gray), np.array(of_cifar10(cifar10_file)(np.repeat(gray, 3, axis=-1))))


def test_six_channels_answer_an_image_twice_as_three_do_once(cifar10_file):
    of_six = of_cifar10(cifar10_file, input_shape=(16, 12, 6))
    assert_equal(of_six(np.concatenate([IMAGES, IMAGES], axis=-1)), np.array(of_cifar10(cifar10_file)(IMAGES)))


def test_four_channels_take_the_kernels_in_turn(cifar10_file):
    model = of_cifar10(cifar10_file, input_shape=(16, 12, 4))
    kernel = cifar10_arrays()["stem_conv"]["kernel"]
    np.testing.assert_allclose(model.get_layer("stem_conv").kernel, kernel[:, :, [0, 1, 2, 0]] * 0.75, rtol=1e-6)


def test_other_channels_of_a_caffe_file_take_its_kernels_as_rgb(tmp_path):
    config, expected = caffe_twin("bottleneck_3x3")
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, LETTERED))
    model = resnet(config, weights=tmp_path / "net.caffemodel", input_shape=(27, 24, 6))
    kernel = np.array(expected.get_layer("stem_conv").kernel)
    np.testing.assert_allclose(model.get_layer("stem_conv").kernel, np.concatenate([kernel] * 2, 2) / 2, rtol=1e-6)


# Rows that the weights contradict, or complete


@pytest.mark.parametrize(
    ("row", "name", "project", "given"),
    [
        ("bottleneck_3x3", "bottleneck_3x3", TORCH, {"stride_in": "1x1"}),
        ("bottleneck_3x3", "bottleneck_3x3", TORCH, {"stem": "imagenet_caffe"}),
        ("basic_b", "basic_b", TORCH, {"shortcut": "A"}),
        ("basic_b", "basic_a", AKAMASTER, {"shortcut": "B"}),
        ("resnet_d", "resnet_d", TIMM_DEEP, {"shortcut": "B"}),
        ("preactivation_bare", "preactivation_bare", TIMM_PRE, {"stem": "imagenet"}),
    ],
)
def test_a_given_field_that_the_weights_contradict_is_refused(row, name, project, given, rows, tmp_path):
    rows(tiny=NETWORKS[row])
    ((field, value),) = given.items()
    with refused(f"`{field}`", repr(getattr(NETWORKS[name], field)), f"{field}={value!r}"):
        keras_resnet.build("tiny", weights=saved_record(tmp_path, name, project), **given)


@pytest.mark.parametrize(
    ("name", "project", "changes"),
    [
        ("bottleneck_3x3", TORCH, {"stride_in": "1x1"}),
        ("bottleneck_3x3", TORCH, {"stem": "imagenet_caffe"}),
        ("basic_b", TORCH, {"shortcut": "C"}),
        ("basic_b", KUANGLIU, {"shortcut": "A"}),
        ("basic_a", AKAMASTER, {"shortcut": "B"}),
        ("basic_a", AKAMASTER, {"shortcut": "A_append"}),
        ("basic_a", AKAMASTER, {"shortcut": "none"}),
        ("resnet_d", TIMM_DEEP, {"shortcut": "B"}),
        ("preactivation_bare", TIMM_PRE, {"stem": "imagenet"}),
    ],
)
def test_a_model_that_the_weights_contradict_is_refused(name, project, changes, tmp_path):
    ((field, value),) = changes.items()
    model = network(replace(NETWORKS[name], **changes))
    with load_refused(model, f"`{field}`", repr(getattr(NETWORKS[name], field)), f"{field}={value!r}"):
        load_weights(model, saved_record(tmp_path, name, project))


def test_a_plain_row_never_becomes_residual(rows, tmp_path):
    rows(tiny=replace(BASIC, shortcut="none"))
    with refused("`shortcut`", "'A'", "shortcut='none'"):
        keras_resnet.build("tiny", weights=saved_record(tmp_path, "basic_a", AKAMASTER))


OURS_UNLIKE = [
    ("bottleneck_3x3", {"stride_in": "1x1"}),
    ("bottleneck_3x3", {"stem": "imagenet_caffe"}),
    ("basic_a", {"shortcut": "A_append"}),
]
SEEN_IN = {"stride_in": "stride", "stem": "stem_pool_pad", "shortcut": "stage2_block1_skip_pad"}


@pytest.mark.parametrize(("name", "changes"), OURS_UNLIKE)
def test_a_model_of_ours_with_another_row_is_refused(name, changes):
    model = network(NETWORKS[name])
    with load_refused(model, *(SEEN_IN[field] for field in changes)):
        load_weights(model, network(replace(NETWORKS[name], **changes)))


@pytest.mark.parametrize(("name", "changes"), OURS_UNLIKE)
def test_a_file_of_ours_with_another_row_is_refused(name, changes, tmp_path):
    network(replace(NETWORKS[name], **changes)).save(tmp_path / "net.keras")
    model = network(NETWORKS[name])
    with load_refused(model, *(SEEN_IN[field] for field in changes)):
        load_weights(model, tmp_path / "net.keras")


@pytest.mark.parametrize("pad", [1, 2])
def test_a_caffe_file_with_another_first_pool_is_refused(pad, tmp_path):
    config, expected = caffe_twin("bottleneck_1x1")
    written = caffe_layers(expected, LETTERED)
    pool = next(layer for layer in written if layer.type == "Pooling")
    pool.parameters["pooling_param"]["pad"] = [pad]
    caffe.write(tmp_path / "net.caffemodel", written)
    with refused("weights", "pool", f"padding of {pad}"):
        resnet(config, weights=tmp_path / "net.caffemodel", input_shape=(27, 24, 3))


@pytest.mark.parametrize(
    ("row", "name", "project", "implied"),
    [
        (NETWORKS["bottleneck_1x1"], "bottleneck_3x3", TORCH, {"stride_in": "3x3"}),
        (NETWORKS["basic_b"], "basic_a", AKAMASTER, {"shortcut": "A"}),
        (NETWORKS["basic_a"], "basic_b", KUANGLIU, {"shortcut": "B"}),
        (NETWORKS["preactivation_imagenet"], "preactivation_bare", TIMM_PRE, {"stem": "imagenet_bare"}),
        (BOTTLENECK, "resnet_d", TIMM_DEEP, {"stem": "deep", "shortcut": "D"}),
        (replace(BOTTLENECK, se_ratio=4), "resnet_rs", TIMM_DEEP, {"stem": "deep_strided", "shortcut": "D"}),
    ],
    ids=["stride_in", "option_a", "option_b", "stem", "deep", "deep_strided"],
)
def test_a_built_row_becomes_what_the_weights_imply(row, name, project, implied, rows, tmp_path):
    rows(tiny=row)
    images = REFERENCE[name]["input"]
    settings = dict(input_shape=images.shape[1:], classifier_activation=None)
    model = keras_resnet.build("tiny", weights=saved_record(tmp_path, name, project), **settings)
    assert implied.items() <= card(model).config.items()
    assert_equal(model(images), REFERENCE[name]["output"])


def test_a_caffe_file_implies_its_pool_and_its_strides(rows, tmp_path):
    rows(tiny=BOTTLENECK)
    _, expected = caffe_twin("bottleneck_1x1")
    caffe.write(tmp_path / "net.caffemodel", caffe_layers(expected, LETTERED))
    settings = dict(input_shape=(27, 24, 3), classifier_activation=None)
    model = keras_resnet.build("tiny", weights=tmp_path / "net.caffemodel", **settings)
    assert (card(model).config["stem"], card(model).config["stride_in"]) == ("imagenet_caffe", "1x1")
    images = REFERENCE["bottleneck_1x1"]["input"]
    assert_equal(model(images), np.array(expected(images)))


# Failed loads


def without(tensors, prefix):
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


def reshaped(tensors, **shapes):
    return tensors | {name: np.ones(shape, "float32") for name, shape in shapes.items()}


SPOILED = {  # what is done to a file under torchvision's names: what the error says
    "no kernel": (lambda t: without(t, "layer2.0.conv1"), ["missing", "stage2_block1_a1_conv", "layer2.0.conv1"]),
    "no norm": (lambda t: without(t, "layer2.0.bn2"), ["missing", "stage2_block1_a2_norm", "layer2.0.bn2"]),
    "half a norm": (lambda t: without(t, "layer2.0.bn2.running_var"), ["stage2_block1_a2_norm", "layer2.0.bn2"]),
    "a layer more": (lambda t: reshaped(t, **{"layer2.0.conv3.weight": (6, 6, 1, 1)}), ["left over", "layer2.0.conv3"]),
    "a parameter more": (lambda t: reshaped(t, scale=(6,)), ["left over"]),
    "a norm with one more": (
        lambda t: reshaped(t, **{"layer2.0.bn2.running_skew": (6,)}),
        ["stage2_block1_a2_norm", "layer2.0.bn2", "running_skew"],
    ),
    "a wider kernel": (
        lambda t: reshaped(t, **{"layer2.0.conv1.weight": (6, 4, 5, 5)}),
        ["shape", "stage2_block1_a1_conv", "(3, 3, 4, 6)", "layer2.0.conv1", "(5, 5, 4, 6)"],
    ),
    "a norm of more channels": (
        lambda t: (
            without(t, "layer2.0.bn2")
            | {
                f"layer2.0.bn2.{name}": np.ones(7, "float32")
                for name in ("weight", "bias", "running_mean", "running_var")
            }
        ),
        ["shape", "stage2_block1_a2_norm", "(6,)", "layer2.0.bn2", "(7,)"],
    ),
    "a convolution in a norm's place": (
        lambda t: reshaped(without(t, "layer2.0.bn2"), **{"layer2.0.bn2.weight": (6, 4, 3, 3)}),
        ["stage2_block1_a2_norm", "layer2.0.bn2"],
    ),
    "a variance of more channels": (
        lambda t: reshaped(t, **{"layer2.0.bn2.running_var": (7,)}),
        ["stage2_block1_a2_norm", "layer2.0.bn2"],
    ),
    "a variance of one channel": (
        lambda t: reshaped(t, **{"layer2.0.bn2.running_var": (1,)}),
        ["stage2_block1_a2_norm", "layer2.0.bn2"],
    ),
    "a mean with two dimensions": (
        lambda t: reshaped(t, **{"layer2.0.bn2.running_mean": (1, 6)}),
        ["stage2_block1_a2_norm", "layer2.0.bn2"],
    ),
    "a head's bias of more classes": (lambda t: reshaped(t, **{"fc.bias": (6,)}), ["predictions", "fc"]),
    "a convolution's bias of more channels": (
        lambda t: reshaped(t, **{"layer2.0.conv1.bias": (7,)}),
        ["stage2_block1_a1_conv", "layer2.0.conv1"],
    ),
    "a convolution's bias of one channel": (
        lambda t: reshaped(t, **{"layer2.0.conv1.bias": (1,)}),
        ["stage2_block1_a1_conv", "layer2.0.conv1"],
    ),
    "no channels in the stem": (
        lambda t: reshaped(t, **{"conv1.weight": (4, 0, 3, 3)}),
        ["stem_conv", "conv1"],
    ),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_spoiled_file_is_refused_as_a_whole(spoiled, tmp_path):
    spoil, words = SPOILED[spoiled]
    path = save(tmp_path / "net.safetensors", spoil(state_dict(record_arrays(REFERENCE["basic_b"]), TORCH)))
    model = network(BASIC)
    with load_refused(model, "`weights`", "net.safetensors", *words):
        load_weights(model, path)


@pytest.mark.parametrize("spoiled", SPOILED)
def test_nothing_is_built_of_a_spoiled_file(spoiled, tmp_path):
    spoil, _ = SPOILED[spoiled]
    path = save(tmp_path / "net.safetensors", spoil(state_dict(record_arrays(REFERENCE["basic_b"]), TORCH)))
    with refused("`weights`", "net.safetensors"):
        resnet(BASIC, weights=path, input_shape=(16, 12, 3))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_keras_file_of_another_order_is_refused(suffix, tmp_path):
    source, path = network(replace(BASIC, order="pre")), tmp_path / f"net{suffix}"
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    with load_refused(model := network(BASIC), "missing", "stem_norm", "left over", "head_norm"):
        load_weights(model, path)


UNLIKE = [
    ({}, {"order": "relu_only"}),
    ({}, {"order": "relu_before_sum"}),
    ({}, {"shortcut": "D"}),
    ({"shortcut": "A"}, {"shortcut": "constant_scaling"}),
    ({"shortcut": "A"}, {"shortcut": "none"}),
    ({"shortcut": "exclusive_gating"}, {"shortcut": "shortcut_only_gating"}),
    ({"branch": "bottleneck"}, {"branch": "bottleneck", "stride_in": "1x1"}),
    ({"stem": "deep"}, {"stem": "imagenet"}),
]


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize(("theirs", "ours"), UNLIKE, ids=str)
def test_a_file_of_ours_that_is_wired_otherwise_is_refused(theirs, ours, suffix, tmp_path):
    path, source = tmp_path / f"net{suffix}", network(replace(BASIC, **theirs))
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    model = network(replace(BASIC, **ours))
    with load_refused(model, "Expected"):
        load_weights(model, path)


@pytest.mark.parametrize(("shortcut", "suffix"), [("A", ".weights.h5"), ("B", ".keras"), ("D", None)])
@pytest.mark.parametrize("strides", [(32, 8), (8, 32)])
def test_strides_and_dilation_take_each_others_weights(shortcut, strides, suffix, tmp_path):
    row = replace(BOTTLENECK, stages=((8,), (8,), (12,), (16,)), shortcut=shortcut)
    theirs, ours = (network(replace(row, output_stride=stride)) for stride in strides)
    path = tmp_path / f"net{suffix}"
    if suffix:
        theirs.save(path) if suffix == ".keras" else theirs.save_weights(path)
    load_weights(ours, path if suffix else theirs)
    assert [np.array(weight).tobytes() for weight in ours.weights] == [np.array(w).tobytes() for w in theirs.weights]


@pytest.mark.parametrize("order", ["relu_only", "relu_before_sum"])
def test_torch_names_are_of_the_papers_order(order, tmp_path):
    path = saved_record(tmp_path, "basic_b", TORCH)
    with load_refused(model := network(replace(BASIC, order=order)), "`order`", "'post'", repr(order)):
        load_weights(model, path)


@pytest.mark.parametrize("shortcut", keras_resnet.SHORTCUTS)
def test_a_network_without_its_card_takes_its_own_file(shortcut, tmp_path):
    order = "pyramid" if shortcut == "pyramid" else "post"
    network(replace(BASIC, shortcut=shortcut, order=order)).save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert load_weights(loaded, tmp_path / "net.keras") is loaded


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [({"shortcut": "A"}, {"shortcut": "A_append"}), ({"stem": "imagenet"}, {"stem": "imagenet_caffe"})],
)
def test_paddings_are_compared_without_a_card(theirs, ours, tmp_path):
    keras.saving.save_model(network(replace(BASIC, **theirs)), tmp_path / "net.keras")
    with load_refused(network(replace(BASIC, **ours)), "wired like the model", "pad"):
        load_weights(network(replace(BASIC, **ours)), tmp_path / "net.keras")


def test_two_networks_in_one_are_refused():
    x = keras.Input((16, 12, 3))
    both = keras.Model(x, layers.Average()([network(BASIC, name=name)(x) for name in "pq"]))
    with refused("no two layers of a name"):
        load_weights(both, network(BASIC))
    with refused("no two layers of a name"):
        load_weights(network(BASIC), both)


def test_files_of_narrow_types_are_read(tmp_path):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("bfloat16")
        narrow = network(BASIC)
        narrow.save_weights(tmp_path / "net.weights.h5")
    finally:
        keras.config.set_dtype_policy(policy)
    wide = load_weights(network(BASIC), tmp_path / "net.weights.h5")
    for ours, theirs in zip(wide.weights, narrow.weights, strict=True):
        np.testing.assert_array_equal(ours, np.array(theirs).astype("float32"))


def test_a_file_of_our_names_in_torchs_layout_loads(tmp_path):
    expected = network(BASIC)
    tensors = {}
    for layer in expected.layers:
        for variable in layer.weights:
            array = np.array(variable)
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            tensors[f"{layer.name}.{TORCH_VARIABLES[variable.name]}"] = np.ascontiguousarray(array)
    model = load_weights(network(BASIC), save(tmp_path / "net.safetensors", tensors))
    np.testing.assert_array_equal(model(IMAGES), expected(IMAGES))


def test_a_normalization_in_front_is_left_alone(tmp_path):
    x = keras.Input((16, 12, 3))
    front = layers.Normalization()
    front.adapt(IMAGES)
    model = resnet(BASIC, input_tensor=front(x), classes=5)
    load_weights(model, saved_record(tmp_path, "basic_b", TORCH))
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, REFERENCE["basic_b"]["stem_conv/kernel"])


def test_what_is_no_tensor_of_ours_is_refused_by_structure():
    source = PretrainedWeights("a source", {"a": Affine(np.zeros((3, 3, 3, 4))), "gn": Other({"weight": (4,)})})
    with refused("gn has no place"):
        matched({"stem_conv": (Affine, (3, 3, 3, 4))}, source, head=False)


def test_a_model_with_other_channels_is_not_adapted(tmp_path):
    source = resnet(BASIC, input_shape=(16, 12, 4), classes=5)
    with load_refused(model := network(BASIC), "of another shape", "stem_conv"):
        load_weights(model, source)


def test_biases_are_taken_over_behind_a_preprocessing_and_in_mixed_precision(tmp_path):
    tensors = state_dict(record_arrays(REFERENCE["basic_b"]), TORCH)
    tensors |= {"conv1.bias": np.linspace(-1.001, 1.003, 4, dtype="float32")}
    path = save(tmp_path / "net.safetensors", tensors)
    expected = resnet(BASIC, weights=path, input_shape=(16, 12, 3)).get_layer("stem_norm").moving_mean
    scaled = layers.Rescaling(2.0, 1.0)(keras.Input((16, 12, 3)))
    behind = resnet(BASIC, weights=path, input_tensor=scaled)
    np.testing.assert_array_equal(behind.get_layer("stem_norm").moving_mean, expected)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        narrow = resnet(BASIC, weights=path, input_shape=(16, 12, 3))
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_array_equal(narrow.get_layer("stem_norm").moving_mean, expected)


def test_the_card_forgets_what_was_reached_with_other_weights(tmp_path):
    model = network(BASIC)
    attach(model, replace(card(model), metrics={"accuracy": 0.99}, data={"name": "digits"}))
    load_weights(model, saved_record(tmp_path, "basic_b", TORCH))
    assert (card(model).metrics, card(model).data) == ({}, {})


@pytest.mark.parametrize("model", ["x", None, keras.Sequential([layers.Dense(2)])])
def test_what_is_no_built_model_is_refused(model, tmp_path):
    with refused("`model`", "a built Keras model"):
        load_weights(model, saved_record(tmp_path, "basic_b", TORCH))


def test_weights_that_cannot_be_downloaded_are_a_connection_error(monkeypatch):
    real = keras.applications.ResNet50

    def offline(weights):
        if weights == "imagenet":
            raise OSError("URL fetch failure")
        return real(weights=None)

    monkeypatch.setattr(keras.applications, "ResNet50", offline)
    with pytest.raises(ConnectionError, match="URL fetch failure"):
        keras_resnet.ResNet50(weights="imagenet")


def test_an_error_shows_some_of_many_names(tmp_path):
    tensors = without(state_dict(record_arrays(REFERENCE["basic_b"]), TORCH), "layer2")
    model = network(BASIC)
    with load_refused(model, "stage2_block1", "and 1 more"):
        load_weights(model, save(tmp_path / "net.safetensors", tensors))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": ((4, 4), (6,), (12,))}, ["shape", "stage3_block1_a1_conv", "(3, 3, 6, 10)", "(3, 3, 6, 12)"]),
        ({"stages": ((4,), (6,), (10,))}, ["missing", "stage1_block2_a1_conv"]),
        ({"stages": ((4, 4, 4), (6,), (10,))}, ["left over", "stage1_block3_a1_conv"]),
    ],
    ids=["shapes", "missing", "left_over"],
)
def test_a_keras_file_of_another_network_is_refused_as_a_whole(changes, words, suffix, tmp_path):
    theirs, path = network(replace(BASIC, **changes)), tmp_path / f"net{suffix}"
    write_keras(theirs, path)
    model = network(BASIC)
    with load_refused(model, "`weights`", path.name, *words):
        load_weights(model, path)


def dropped(found, name):
    return [layer for layer in found if layer.name not in (name, f"scale_{name}")]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda found: dropped(found, "res3a_branch2a"), ["missing", "stage2_block1_a1_conv", "res3a_branch2a"]),
        (lambda found: dropped(found, "bn3a_branch2b"), ["missing", "stage2_block1_a2_norm", "bn3a_branch2b"]),
        (
            lambda found: [*found, caffe.inner_product("loss2", "in", "out", np.ones((4, 3)))],
            ["left over", "loss2"],
        ),
        (
            lambda found: [*dropped(found, "fc1000"), caffe.inner_product("fc1000", "in", "out", np.ones((4, 5)))],
            ["shape", "predictions", "fc1000", "(1, 1, 10, 5)", "(1, 1, 4, 5)"],
        ),
    ],
    ids=["no_kernel", "no_norm", "a_layer_more", "another_shape"],
)
def test_a_caffe_file_of_another_network_is_refused_as_a_whole(spoil, words, tmp_path):
    model = network(replace(BASIC, stem="imagenet_caffe"))
    caffe.write(tmp_path / "net.caffemodel", spoil(caffe_layers(model, LETTERED)))
    with load_refused(model, "`weights`", "net.caffemodel", *words):
        load_weights(model, tmp_path / "net.caffemodel")


# Files that are none


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, bytes(range(256)) * 9, b"PK\x05\x06" + b"\0" * 18],
    ids=["nothing", "zeros", "bytes", "empty_archive"],
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_anything_is_refused(suffix, content, tmp_path):
    (tmp_path / f"net{suffix}").write_bytes(content)
    with refused("`weights`", f"net{suffix}"):
        resnet(BASIC, weights=tmp_path / f"net{suffix}", **SMALL)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_directory_is_refused(suffix, tmp_path):
    (tmp_path / f"net{suffix}").mkdir()
    with refused("`weights`", f"net{suffix}"):
        resnet(BASIC, weights=tmp_path / f"net{suffix}", **SMALL)


@pytest.mark.parametrize("suffix", [*FORMATS, ".txt", ""])
def test_a_missing_file_is_refused(suffix, tmp_path):
    with refused("`weights`", f"net{suffix}", ".safetensors"):
        resnet(BASIC, weights=tmp_path / f"net{suffix}", **SMALL)


@pytest.mark.parametrize("source", [42, ["net.keras"], b"net.keras", object(), "", "net", "imagenet21k", "hf:/a/b"])
def test_what_is_no_source_is_refused(source):
    with refused("`weights`", "'imagenet'", "hf://owner/repo"):
        resnet(BASIC, weights=source, **SMALL)


@cache
def small_network():
    return network(replace(BASIC, stem="imagenet_caffe"))


WRITERS = {
    ".safetensors": lambda path: save(path, state_dict(model_arrays(small_network()), TORCH)),
    ".caffemodel": lambda path: caffe.write(path, caffe_layers(small_network(), LETTERED)),
    ".weights.h5": lambda path: small_network().save_weights(path),
    ".keras": lambda path: small_network().save(path),
}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_that_was_cut_off_is_refused(suffix, share, tmp_path):
    path = tmp_path / f"net{suffix}"
    WRITERS[suffix](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with refused("`weights`", path.name):
        resnet(replace(BASIC, stem="imagenet_caffe"), weights=path, **SMALL)


def test_a_keras_file_of_another_kind_of_network_is_refused(tmp_path):
    keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)]).save_weights(tmp_path / "net.weights.h5")
    model = network(BASIC)
    with load_refused(model, "`weights`", "net.weights.h5"):
        load_weights(model, tmp_path / "net.weights.h5")


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return path


def test_an_archive_without_weights_is_refused(tmp_path):
    with refused("`weights`", "net.keras"):
        resnet(BASIC, weights=archive(tmp_path / "net.keras", config__json="{}"), **SMALL)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"network": 1}', "not JSON"])
def test_an_archive_with_a_broken_card_is_refused(text, tmp_path):
    network(BASIC).save_weights(tmp_path / "net.weights.h5")
    members = {"model__weights__h5": (tmp_path / "net.weights.h5").read_bytes(), "keras_resnet__json": text}
    with refused("`weights`", "net.keras"):
        resnet(BASIC, weights=archive(tmp_path / "net.keras", **members), **SMALL)


@pytest.mark.parametrize(
    "content",
    ["text", [b"a", b"b"], np.ones((2, 2), "complex64"), np.ones(3, [("a", "f4")]), h5py.Empty("f4")],
    ids=["text", "list_of_text", "complex", "records", "empty"],
)
def test_a_keras_file_of_anything_but_numbers_is_refused(content, tmp_path):
    network(BASIC).save_weights(tmp_path / "net.weights.h5")
    with h5py.File(tmp_path / "net.weights.h5", "a") as file:
        group = next(iter(file["layers"].values()))["vars"]
        for index in list(group):
            del group[index]
        group["0"] = content
    model = network(BASIC)
    with load_refused(model, "`weights`", "net.weights.h5"):
        load_weights(model, tmp_path / "net.weights.h5")


# torch's own files


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True], ids=["archive", "pickle"])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".tar"])
def test_a_pickle_that_would_run_code_is_refused(suffix, old, tmp_path):
    torch = live("torch")
    hostile = {"state_dict": Hostile(tmp_path / "made")}
    torch.save(hostile, tmp_path / f"net{suffix}", _use_new_zipfile_serialization=not old)
    with refused("`weights`", f"net{suffix}"):
        resnet(BASIC, weights=tmp_path / f"net{suffix}", **SMALL)
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"net": state, "acc": 0.9},
    ],
    ids=["bare", "state_dict", "model", "net"],
)
def test_a_state_dict_is_found_in_torchs_file(wrap, tmp_path):
    torch = live("torch")
    tensors = state_dict(record_arrays(REFERENCE["basic_a"]), AKAMASTER)
    torch.save(wrap({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}), tmp_path / "net.th")
    model = of_record("basic_a", tmp_path / "net.th")
    assert_equal(model(REFERENCE["basic_a"]["input"]), REFERENCE["basic_a"]["output"])


@pytest.mark.slow
def test_torchs_half_precision_is_read(tmp_path):
    torch = live("torch")
    tensors = state_dict(record_arrays(REFERENCE["basic_b"]), TORCH)  # which half precision holds
    torch.save({name: torch.from_numpy(tensor).half() for name, tensor in tensors.items()}, tmp_path / "net.pt")
    model = of_record("basic_b", tmp_path / "net.pt")
    assert_equal(model(REFERENCE["basic_b"]["input"]), REFERENCE["basic_b"]["output"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        lambda torch: {},
        lambda torch: [torch.ones(2)],
        lambda torch: torch.ones(2),
        lambda torch: {0: torch.ones(2)},
        lambda torch: {"conv1.weight": torch.ones(2, 2).to_sparse()},
        lambda torch: {"conv1.weight": torch.ones(2, device="meta")},
        lambda torch: {"state_dict": {"model": {}}},
    ],
    ids=["empty", "list", "tensor", "numbered", "sparse", "meta", "nested_empty"],
)
def test_a_file_of_torch_without_a_state_dict_is_refused(content, tmp_path):
    torch = live("torch")
    torch.save(content(torch), tmp_path / "net.pth")
    with refused("`weights`", "net.pth"):
        resnet(BASIC, weights=tmp_path / "net.pth", **SMALL)


# Layers by their order and shapes


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_unknown_names_in_a_file_that_keeps_no_order_are_refused(suffix, tmp_path):
    theirs, path = variant(network(BASIC), name="my_{}".format), tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        save(path, {name: np.ones((3, 3), "float32") for name in ("my.weight", "your.weight")})
    else:
        theirs.save_weights(path)
    model = network(BASIC)
    with load_refused(model, "`weights`", "keeps no order", path.name):
        load_weights(model, path)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(BASIC, id="basic_b"),
        pytest.param(BOTTLENECK, id="bottleneck"),
        *(pytest.param(NETWORKS[name], id=name) for name in ("basic_a", "squeeze_and_excitation", "resnet_d")),
        *(pytest.param(NETWORKS[name], id=name) for name in ("preactivation", "preactivation_bare", "pyramid")),
    ],
)
def test_a_model_with_unknown_names_is_matched_by_its_order(config):
    theirs = variant(network(config), name="my_{}".format)
    model = network(config)
    with pytest.warns(UserWarning, match="no known scheme"):
        load_weights(model, theirs)
    assert_equal(model(IMAGES), np.array(theirs(IMAGES)))


def test_a_model_with_unknown_names_gives_its_backbone():
    theirs = variant(network(BASIC), name="my_{}".format)
    with pytest.warns(UserWarning, match="no known scheme"):
        model = resnet(BASIC, weights=theirs, include_top=False, input_shape=(16, 12, 3))
    features = keras.Model(theirs.input, theirs.get_layer("my_head_pool").input)
    assert_equal(model(IMAGES), np.array(features(IMAGES)))


def test_a_model_of_other_shapes_under_unknown_names_is_refused_with_counts():
    theirs = variant(network(replace(BASIC, stages=((4,), (6,), (10,)))), name="my_{}".format)
    model = network(BASIC)
    with load_refused(model, "`weights`", "12 convolutions", "10 convolutions"):
        load_weights(model, theirs)


def affine(*shape):
    return Affine(np.ones(shape, "float32"))


OURS = {
    "stem_conv": (Affine, (3, 3, 3, 4)),
    "stage1_block1_skip_conv": (Affine, (1, 1, 4, 8)),
    "stage1_block1_a1_conv": (Affine, (1, 1, 4, 2)),
    "stage1_block1_a2_conv": (Affine, (3, 3, 2, 2)),
    "stage1_block1_a3_conv": (Affine, (1, 1, 2, 8)),
}
IN_ORDER = ["stem_conv", "stage1_block1_a1_conv", "stage1_block1_a2_conv", "stage1_block1_a3_conv"]


@pytest.mark.parametrize("place", [1, 4], ids=["before", "behind"])
def test_a_shortcut_may_stand_before_or_behind_its_branch(place):
    names = [*IN_ORDER[:place], "stage1_block1_skip_conv", *IN_ORDER[place:]]
    pretrained = PretrainedWeights("here", {f"my_{name}": affine(*OURS[name][1]) for name in names})
    assert matched(OURS, pretrained, head=False) == {name: f"my_{name}" for name in OURS}


def test_a_shortcut_that_could_stand_before_or_behind_its_branch_is_refused():
    ours = {
        "stem_conv": (Affine, (3, 3, 3, 4)),
        "stage1_block1_skip_conv": (Affine, (1, 1, 4, 4)),
        "stage1_block1_a1_conv": (Affine, (1, 1, 4, 4)),
    }
    pretrained = PretrainedWeights(
        "here", {str(index): affine(*shape) for index, (_, shape) in enumerate(ours.values())}
    )
    with refused("`weights`", "before or behind", "'here'"):
        matched(ours, pretrained, head=False)


# Cards


def test_a_card_knows_what_a_projects_only_data_are(cifar10_file):
    known = card(of_cifar10(cifar10_file))
    assert known.weights == str(cifar10_file)
    assert known.preprocessing == PREPROCESSINGS["imagenet"][0].sized(16, 12)
    assert known.class_names[::9] == ("airplane", "truck")


def test_a_card_knows_how_torchvisions_imagenet_weights_read_images(tmp_path):
    source = network(BASIC, classes=1000)
    path = save(tmp_path / "net.safetensors", state_dict(model_arrays(source), TORCH))
    known = card(resnet(BASIC, weights=path, input_shape=(28, 21, 3)))
    assert (known.preprocessing.resize, known.preprocessing.crop) == ((32, 24), (28, 21))
    assert known.preprocessing.mean == pytest.approx((123.675, 116.28, 103.53))
    assert known.class_names == "imagenet"


def test_a_card_knows_nothing_of_weights_for_unknown_data(tmp_path):
    known = card(of_record("basic_b", saved_record(tmp_path, "basic_b", TORCH)))
    assert (known.preprocessing, known.class_names) == (None, None)
    assert known.weights.endswith("basic_b.safetensors")


def test_a_network_for_any_size_leaves_the_size_of_its_images(cifar10_file):
    known = card(of_cifar10(cifar10_file, input_shape=(None, None, 3)))
    assert (known.preprocessing.resize, known.preprocessing.crop) == (None, None)


def test_a_card_of_other_channels_has_as_many_means(cifar10_file):
    gray, six = (card(of_cifar10(cifar10_file, input_shape=(16, 12, channels))).preprocessing for channels in (1, 6))
    mean = PREPROCESSINGS["imagenet"][0].mean
    assert gray.mean == pytest.approx((sum(mean) / 3,))
    assert six.mean == mean * 2


def test_a_model_without_weights_has_its_row_on_its_card():
    known = card(resnet(BASIC, **SMALL))
    assert known.config["stages"] == [[4, 4], [6], [10]]
    assert (known.weights, known.preprocessing, known.class_names) == (None, None, None)


def test_loading_by_hand_updates_the_card(cifar10_file):
    model = resnet(OF_CIFAR10, input_shape=(16, 12, 3))
    row = card(model).config
    known = card(load_weights(model, cifar10_file))
    assert (known.config, known.weights) == (row, str(cifar10_file))
    assert len(known.class_names) == 10


@pytest.fixture
def saved_model(cifar10_file, tmp_path):
    model = of_cifar10(cifar10_file)
    model.save(tmp_path / "net.keras")
    return model, tmp_path / "net.keras"


def test_a_saved_model_has_its_card_in_its_archive(saved_model):
    model, path = saved_model
    with zipfile.ZipFile(path) as file:
        assert json.loads(file.read("keras_resnet.json"))["weights"].endswith("cifar10.safetensors")
    assert card(path) == card(model)


def test_a_model_saved_twice_has_one_card(saved_model):
    model, path = saved_model
    model.save(path, overwrite=True)
    with zipfile.ZipFile(path) as file:
        assert file.namelist().count("keras_resnet.json") == 1


def test_plain_keras_loads_a_model_with_a_card(saved_model, capfd):
    model, path = saved_model
    loaded = keras.models.load_model(path)
    assert_equal(loaded(IMAGES), np.array(model(IMAGES)))
    assert capfd.readouterr() == ("", "")


def test_a_file_of_ours_passes_on_what_it_knows(saved_model):
    model, path = saved_model
    known = card(of_cifar10(path))
    assert (known.weights, known.class_names) == (str(path), card(model).class_names)
    assert known.preprocessing == card(model).preprocessing


def test_a_file_of_ours_passes_its_preprocessing_on_to_another_size(saved_model):
    _, path = saved_model
    known = card(of_cifar10(path, input_shape=(20, 24, 3)))
    assert known.preprocessing == PREPROCESSINGS["imagenet"][0].sized(20, 24)


def test_a_model_of_ours_passes_on_what_it_knows(saved_model):
    model, _ = saved_model
    known = card(of_cifar10(model))
    assert known.class_names == card(model).class_names
    assert known.preprocessing == card(model).preprocessing


def test_a_model_of_others_has_no_card(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.save(tmp_path / "net.keras")
    assert card(model) is None
    assert card(tmp_path / "net.keras") is None


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_compiled_network_with_dropped_paths_is_read_from_its_file(suffix, tmp_path):
    config = replace(BASIC, dropout=0.3, drop_path=0.2, head_dropout=0.1)
    expected, path = network(config), tmp_path / f"net{suffix}"
    expected.compile(keras.optimizers.SGD(momentum=0.9), "mse", metrics=["mae"])
    expected.optimizer.build(expected.trainable_variables)
    write_keras(expected, path)
    assert_equal(resnet(config, weights=path, **SMALL)(IMAGES), np.array(expected(IMAGES)))


def test_a_network_with_dropped_paths_takes_a_model_with_them():
    config = replace(BASIC, dropout=0.3, drop_path=0.2)
    expected = network(config)
    assert_equal(resnet(config, weights=expected, **SMALL)(IMAGES), np.array(expected(IMAGES)))


# The Hugging Face hub


REPOSITORY_CONFIG = {
    "architecture": "resnet_tiny",
    "num_classes": 5,
    "label_names": ["ant", "bee", "cow", "dog", "elk"],
    "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 0.5], "crop_pct": 0.5, "interpolation": "bicubic"},
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts files of owner/repo where the hub's library keeps what it downloaded."""
    constants = import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def add(config=REPOSITORY_CONFIG, project=TORCH, revision="main"):
        commit, folder = f"{len(revision):040x}", tmp_path / "hub" / "models--owner--repo"
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / revision).write_text(commit)
        (snapshot / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        save(snapshot / "model.safetensors", state_dict(record_arrays(REFERENCE["basic_b"]), project))
        return snapshot

    return add


def test_a_repository_of_the_hub_is_loaded(hub):
    hub()
    model = of_record("basic_b", "hf://owner/repo")
    assert_equal(model(REFERENCE["basic_b"]["input"]), REFERENCE["basic_b"]["output"])


def test_the_card_has_what_a_repository_says(hub):
    hub()
    known = card(of_record("basic_b", "hf://owner/repo"))
    assert known.weights == "hf://owner/repo"
    assert known.preprocessing.mean == pytest.approx((25.5, 51, 76.5))
    assert known.preprocessing.std == pytest.approx((127.5, 63.75, 127.5))
    assert (known.preprocessing.crop, known.preprocessing.resize) == ((9, 8), (18, 16))
    assert known.preprocessing.interpolation == "bicubic"
    assert known.class_names == ("ant", "bee", "cow", "dog", "elk")


def test_a_revision_of_a_repository_is_loaded(hub):
    hub(revision="later")
    assert card(of_record("basic_b", "hf://owner/repo@later")).weights == "hf://owner/repo@later"
    with pytest.raises(ConnectionError, match="hf://owner/repo@earlier"):
        of_record("basic_b", "hf://owner/repo@earlier")


@pytest.mark.slow
def test_a_repository_without_safetensors_is_read_from_torchs_file(online):
    torch, file = live("torch"), BytesIO()
    tensors = state_dict(record_arrays(REFERENCE["basic_b"]), TORCH)
    torch.save({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, file)
    online.add("owner/repo", {"config.json": b"{}", "pytorch_model.bin": file.getvalue()})
    model = of_record("basic_b", "hf://owner/repo")
    assert_equal(model(REFERENCE["basic_b"]["input"]), REFERENCE["basic_b"]["output"])


def test_a_repository_that_is_not_there_is_refused(hub):
    hub()
    with pytest.raises(ConnectionError, match="hf://owner/other"):
        of_record("basic_b", "hf://owner/other")


def test_a_repository_that_was_partly_downloaded_is_refused(hub):
    (hub() / "model.safetensors").unlink()
    with pytest.raises(ConnectionError, match="hf://owner/repo"):
        of_record("basic_b", "hf://owner/repo")


@pytest.mark.parametrize(
    "config",
    [
        {"pretrained_cfg": {"mean": "gray", "std": [1]}},
        {"pretrained_cfg": {"mean": [1, 2], "std": [1]}},
        {"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "psychic"}},
        {"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": "most"}},
        {"pretrained_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": 0}},
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_passed_over_and_said(hub, config):
    hub(config)
    with pytest.warns(UserWarning, match="hf://owner/repo does not say how to read images"):
        model = of_record("basic_b", "hf://owner/repo")
    assert card(model).preprocessing is None


@pytest.mark.parametrize(
    "config", ["[]", '"text"', {"pretrained_cfg": None}, {"label_names": 3}, {"label_names": "ab"}]
)
def test_a_config_that_says_nothing_tells_nothing(hub, config):
    hub(config)
    model = of_record("basic_b", "hf://owner/repo")
    assert (card(model).preprocessing, card(model).class_names) == (None, None)


@pytest.mark.parametrize("config", ["", "not JSON"])
def test_a_config_that_is_no_json_is_refused(hub, config):
    hub(config)
    with refused("`weights`", "hf://owner/repo"):
        of_record("basic_b", "hf://owner/repo")


@pytest.mark.parametrize("architecture", ["resnetaa50", "resnetblur18", "seresnextaa101d_32x8d"])
def test_networks_with_filters_that_are_not_in_their_weights_are_refused(hub, architecture):
    hub({"architecture": architecture})
    with refused("`weights`", architecture, "hf://owner/repo"):
        of_record("basic_b", "hf://owner/repo")


@pytest.mark.parametrize("address", ["hf://", "hf://a", "hf://a/", "hf:///b", "hf://a/b/c", "hf://@main", "hf://a b/c"])
def test_a_malformed_address_is_refused(hub, address):
    with refused("`weights`", address):
        of_record("basic_b", address)


def stand_in(row):
    """A small network with layers of the same names."""
    if isinstance(row, keras_resnet.DenseNetConfig):
        return replace(row, stages=(1,) * len(row.stages), growth=4, stem_filters=4)
    stages = tuple((8 * 2**stage,) * 2 for stage in range(len(row.stages)))
    return replace(row, stages=stages, stem_filters=8, groups=1, se_ratio=min(row.se_ratio, 1))


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme.names], ids=lambda scheme: scheme.title)
def test_a_scheme_names_every_layer_of_its_networks(scheme):
    names = {name for pattern in scheme.networks for name in keras_resnet.names(pattern)}
    rows = {stand_in(keras_resnet.NETWORKS[name]) for name in names}
    assert rows
    for row in rows:
        if "resnetv2" in scheme.title and row.stem == "imagenet":
            row = replace(row, stem="imagenet_bare")  # as its weights imply
        build = keras_resnet.densenet if isinstance(row, keras_resnet.DenseNetConfig) else keras_resnet.resnet
        weighted = [layer.name for layer in undrawn(build, row).layers if layer.weights]
        assert not [name for name in weighted if not scheme.candidates(name)]


def test_a_source_is_read_once_and_its_scheme_recognized_once(tmp_path, monkeypatch):
    path = saved_record(tmp_path, "basic_b", TORCH)
    calls = []

    def counting(module, name):
        original = getattr(import_module(module), name)

        def counted(*arguments):
            calls.append(name)
            return original(*arguments)

        return counted

    monkeypatch.setitem(FORMATS, path.suffix, counting("keras_resnet.weights.readers", "read_safetensors"))
    recognized = counting("keras_resnet.weights.schemes", "recognized")
    monkeypatch.setattr(import_module("keras_resnet.weights.pretrained"), "recognized", recognized)
    of_record("basic_b", path)
    assert sorted(calls) == ["read_safetensors", "recognized"]
