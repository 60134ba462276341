"""Loaded weights compute what their own network computes: live torch's and keras.applications' logits, real data's."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_resnet
from helpers.live import live

SHARED = Path(__file__).parents[3] / "shared/data/weights/akamaster"
CIFAR10 = "KERAS_RESNET_CIFAR10"  # the environment variable that names TFDS's folder
IMAGENET = "KERAS_RESNET_IMAGENET"  # and that of keras.applications' file for ResNet-50
CIFAR_SIZE, IMAGENET_SIZE = (33, 27), (97, 130)

LIBRARIES = [  # library, its name, ours, format
    ("torchvision", "resnet18", "resnet18", ".pth"),
    ("torchvision", "resnet34", "resnet34", ".safetensors"),
    ("torchvision", "resnet50", "resnet50", ".pth"),
    ("torchvision", "resnet101", "resnet101", ".safetensors"),
    ("torchvision", "resnext50_32x4d", "resnext50_32x4d", ".pth"),
    ("torchvision", "wide_resnet50_2", "wide_resnet50_2", ".pth"),
    ("torchvision", "densenet121", "densenet121", ".pth"),
    ("timm", "resnet18", "resnet18", ".safetensors"),
    ("timm", "seresnet50", "seresnet50", ".safetensors"),
    ("timm", "resnet50d", "resnet50d", ".safetensors"),
    ("timm", "resnet18d", "resnet18d", ".pth"),
    ("timm", "resnetrs50", "resnetrs50", ".safetensors"),
    ("timm", "resnetv2_50", "resnet50v2", ".safetensors"),
    ("timm", "resnetv2_18", "resnet18v2", ".pth"),
    ("timm", "resnetv2_50d", "resnet50v2", ".safetensors"),
    ("timm", "densenet121", "densenet121", ".safetensors"),
    ("timm", "seresnext50_32x4d", "seresnext50_32x4d", ".pth"),
]


def torch():
    return live("torch")


# Networks of projects that are no libraries, from the papers, under the names of those projects


class Network:
    """A function of (network, images), whose layers come to be when it first calls them, each under its full name."""

    def __init__(self, function: Callable, bias: bool = False):
        self.function, self.bias, self.layers = function, bias, {}
        self(torch().zeros(1, 3, 32, 32))

    def __call__(self, images):
        return self.function(self, images)

    def layer(self, kind, name, *settings, **more):
        if name not in self.layers:
            self.layers[name] = getattr(torch().nn, kind)(*settings, **more)
        return self.layers[name]

    def conv(self, x, name, filters, size=3, stride=1, bias=False):
        return self.layer("Conv2d", name, x.shape[1], filters, size, stride, size // 2, bias=bias or self.bias)(x)

    def norm(self, x, name):
        return self.layer("BatchNorm2d", name, x.shape[1])(x)

    def dense(self, x, name):
        return self.layer("Linear", name, x.shape[1], 10)(x)

    def modules(self):
        return self.layers.values()

    def eval(self):
        for layer in self.modules():
            layer.eval()

    def state_dict(self):
        states = {name: layer.state_dict() for name, layer in self.layers.items()}
        return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}


def stack(network, x, block, widths, count):
    """block(network, x, stage, index, filters, stride), stages counted from 1 and blocks from 0."""
    for stage, filters in enumerate(widths, start=1):
        for index in range(count):
            x = block(network, x, stage, index, filters, 2 if stage > 1 and index == 0 else 1)
    return x


def wide(network, x, widths, count):
    """Zagoruyko and Komodakis 2016, as xternalz/WideResNet-pytorch names it."""
    x = stack(network, network.conv(x, "conv1", 16), wide_block, widths, count)
    return network.dense(network.norm(x, "bn1").relu().mean((2, 3)), "fc")


def wide_block(network, x, stage, index, filters, stride):
    name = f"block{stage}.layer.{index}"
    read = network.norm(x, f"{name}.bn1").relu()
    y = network.conv(read, f"{name}.conv1", filters, 3, stride)
    y = network.conv(network.norm(y, f"{name}.bn2").relu(), f"{name}.conv2", filters)
    return y + (x if x.shape[1] == filters else network.conv(read, f"{name}.convShortcut", filters, 1, stride))


def preactivation(network, x):
    """He et al. 2016's 164 layers, as timm names its resnetv2: the classifier is a convolution."""
    x = stack(network, network.conv(x, "stem.conv", 16), preactivation_block, (64, 128, 256), 18)
    x = network.norm(x, "norm").relu().mean((2, 3), keepdim=True)
    return network.conv(x, "head.fc", 10, 1, bias=True).flatten(1)


def preactivation_block(network, x, stage, index, filters, stride):
    name = f"stages.{stage - 1}.blocks.{index}"
    read = network.norm(x, f"{name}.norm1").relu()
    y = network.conv(read, f"{name}.conv1", filters // 4, 1)
    y = network.conv(network.norm(y, f"{name}.norm2").relu(), f"{name}.conv2", filters // 4, 3, stride)
    y = network.conv(network.norm(y, f"{name}.norm3").relu(), f"{name}.conv3", filters, 1)
    return y + (x if x.shape[1] == filters else network.conv(read, f"{name}.downsample.conv", filters, 1, stride))


def residual(network, x, shortcut, count, widths=(16, 32, 64), skip_first=False, head="linear"):
    """He et al. 2015, section 4.2: what the shortcut adds, and whether its layers stand before the branch's, vary."""
    block = partial(residual_block, shortcut=shortcut, skip_first=skip_first)
    x = network.norm(network.conv(x, "conv1", widths[0]), "bn1").relu()
    return network.dense(stack(network, x, block, widths, count).mean((2, 3)), head)


def residual_block(network, x, stage, index, filters, stride, shortcut, skip_first):
    paths = [branch, shortcut][:: -1 if skip_first else 1]
    return sum(path(network, x, f"layer{stage}.{index}", filters, stride) for path in paths).relu()


def branch(network, x, name, filters, stride):
    y = network.norm(network.conv(x, f"{name}.conv1", filters, 3, stride), f"{name}.bn1").relu()
    return network.norm(network.conv(y, f"{name}.conv2", filters), f"{name}.bn2")


def no_shortcut(network, x, name, filters, stride):
    return 0


def option_a(network, x, name, filters, stride):
    """akamaster/pytorch_resnet_cifar10: every second pixel, zero channels split evenly."""
    missing = (filters - x.shape[1]) // 2
    return torch().nn.functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing, missing))


def option_b(network, x, name, filters, stride, called="shortcut"):
    if x.shape[1] == filters:
        return x
    return network.norm(network.conv(x, f"{name}.{called}.0", filters, 1, stride), f"{name}.{called}.1")


PROJECTS = {
    "wide_resnet28_10": partial(wide, widths=(160, 320, 640), count=4),  # xternalz/WideResNet-pytorch
    "resnet164v2": preactivation,  # timm
    "resnet18": partial(residual, shortcut=option_b, count=2, widths=(64, 128, 256, 512)),  # kuangliu/pytorch-cifar
}
UNNAMED = {  # ours, its shortcut, and theirs
    "plain": ("plain20", "none", partial(residual, shortcut=no_shortcut, count=3)),
    "shortcuts_behind_branches": ("resnet20", "B", partial(residual, shortcut=option_b, count=3)),
    "shortcuts_before_branches": ("resnet20", "B", partial(residual, shortcut=option_b, count=3, skip_first=True)),
}
BIASED = {
    "resnet20": partial(residual, shortcut=partial(option_b, called="downsample"), count=3, head="fc"),
    "wide_resnet16_4": partial(wide, widths=(64, 128, 256), count=2),
}


# What both sides compute


def from_library(library, name):
    if library == "timm":
        return live("timm").create_model(name, pretrained=False)
    return getattr(live("torchvision.models"), name)()


def images_of(size):
    """Two random images, each with a colour of its own."""
    random = np.random.default_rng(0)
    return (random.normal(size=(2, *size, 3)) + random.normal(size=(2, 1, 1, 3))).astype("float32")


def tensor(images):
    return torch().from_numpy(images.transpose(0, 3, 1, 2).copy())


def randomize(network, images):
    """Draws every kernel, bias, scale and shift, and the statistics of every norm about those of what it then reads."""
    torch().manual_seed(2015)
    hooks = []
    for module in network.modules():
        if hasattr(module, "running_var"):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
            hooks.append(module.register_forward_pre_hook(draw_statistics))
        elif hasattr(module, "weight"):
            torch().nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                module.bias.normal_(0, 0.2)
    network(tensor(images))
    for hook in hooks:
        hook.remove()


def draw_statistics(norm, inputs):
    """Values stay small however deep the network is; means at half of the true ones keep rounding errors small, too."""
    variances, means = torch().var_mean(inputs[0], (0, 2, 3))
    scale = (variances + (means / 2) ** 2).mean()
    norm.running_mean.normal_(0, 0.2).mul_(scale.sqrt()).add_(means / 2)
    norm.running_var.uniform_(0.5, 1.5).mul_(scale)


def random_logits(network, images):
    """What the network, randomized, makes of the images."""
    network.eval()
    with torch().no_grad():
        randomize(network, images)
        logits = network(tensor(images)).numpy()
    assert not is_degenerate(logits)
    return logits


def is_degenerate(logits):
    """Whether classes, or images, hardly differ: the tolerance is a hundredth of the latter's difference, or less."""
    largest = np.abs(logits).max()
    return logits.std(1).min() < 0.1 * largest or (logits[0] - logits[1]).std() < 0.01 * largest


def assert_equal(actual, expected):
    """To 1e-4 of the largest logit."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def build(name, path, size, **changes):
    return keras_resnet.build(name, weights=path, input_shape=(*size, 3), classifier_activation=None, **changes)


@pytest.fixture
def save(tmp_path):
    """Writes what torch or safetensors write; pytest would keep the files."""

    def save(content, suffix=".pth"):
        path = tmp_path / f"weights{suffix}"
        save_file = pytest.importorskip("safetensors.torch").save_file if suffix == ".safetensors" else torch().save
        save_file(content, path)
        return path

    yield save
    for path in tmp_path.iterdir():
        path.unlink()


def unnamed(state):
    """`body.0.weight`, ... in the order of the layers."""
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    keys = {key: key.rpartition(".") for key in state}
    return {f"body.{layers.index(keys[key][0])}.{keys[key][2]}": value for key, value in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("library", "theirs", "ours", "suffix"), LIBRARIES)
def test_weights_of_a_library_give_its_logits(save, library, theirs, ours, suffix):
    network, images = from_library(library, theirs), images_of(IMAGENET_SIZE)
    logits = random_logits(network, images)
    assert_equal(build(ours, save(network.state_dict(), suffix), IMAGENET_SIZE)(images), logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_weights_of_a_project_give_its_logits(save, name):
    network, images = Network(PROJECTS[name]), images_of(CIFAR_SIZE)
    logits = random_logits(network, images)
    assert_equal(build(name, save(network.state_dict()), CIFAR_SIZE)(images), logits)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20, 56])
def test_weights_of_akamasters_form_give_its_logits(save, depth):
    network, images = Network(partial(residual, shortcut=option_a, count=(depth - 2) // 6)), images_of(CIFAR_SIZE)
    logits = random_logits(network, images)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    assert_equal(build(f"resnet{depth}", save({"state_dict": state}, ".th"), CIFAR_SIZE)(images), logits)


@pytest.mark.slow
def test_kuanglius_weights_imply_the_cifar_stem_and_ten_classes(save):
    model = build("resnet18", save(Network(PROJECTS["resnet18"]).state_dict()), CIFAR_SIZE)
    assert keras_resnet.card(model).config["stem"] == "cifar"
    assert model.output.shape == (None, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "shortcut", "function"), UNNAMED.values(), ids=UNNAMED)
def test_weights_in_unknown_names_go_by_structure_with_a_warning_and_give_their_logits(save, ours, shortcut, function):
    network, images = Network(function), images_of(CIFAR_SIZE)
    logits = random_logits(network, images)
    with pytest.warns(UserWarning, match="no known scheme"):
        model = build(ours, save(unnamed(network.state_dict())), CIFAR_SIZE, shortcut=shortcut)
    assert_equal(model(images), logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", BIASED)
def test_weights_with_a_bias_in_every_convolution_give_their_logits(save, name):
    network, images = Network(BIASED[name], bias=True), images_of(CIFAR_SIZE)
    logits = random_logits(network, images)
    assert_equal(build(name, save(network.state_dict()), CIFAR_SIZE)(images), logits)


# Real weights and real images


@pytest.fixture(scope="module")
def cifar10():
    """The 10,000 test images and their labels, in the official order."""
    folder = Path(os.environ.get(CIFAR10, "~/tensorflow_datasets")).expanduser()
    if not (folder / "cifar10").is_dir():
        pytest.skip(f"no CIFAR-10 in {folder}: {CIFAR10} names the folder of TFDS that has it")
    import tensorflow_datasets as tfds

    test = tfds.load("cifar10", split="test", data_dir=folder, download=False, batch_size=-1)
    order = np.argsort(test["id"].numpy())
    return test["image"].numpy()[order], test["label"].numpy()[order]


@pytest.fixture(scope="module")
def akamaster():
    """Images of 0 to 255 -> logits."""
    torch()
    path = SHARED / "resnet20-12fca82f.th"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the repository")
    model = keras_resnet.ResNet20(weights=path, classifier_activation=None)
    read = keras_resnet.card(model).preprocessing
    return lambda images: model.predict(read(images.astype("float32")), batch_size=500, verbose=0)


@pytest.mark.slow
def test_akamasters_published_weights_give_the_recorded_logits(akamaster, cifar10):
    images, _ = cifar10
    expected = np.load(SHARED / "resnet20_logits_test_00000_to_00999.npy")
    np.testing.assert_allclose(akamaster(images[:1000]), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_akamasters_published_weights_have_the_published_accuracy(akamaster, cifar10):
    images, labels = cifar10
    assert np.mean(akamaster(images).argmax(1) == labels) == 0.9173


@pytest.fixture(scope="module")
def photographs():
    """Ten pieces, 224x224, of scikit-learn's two photographs."""
    both = pytest.importorskip("sklearn.datasets").load_sample_images().images
    corners = [(0, 0), (0, 416), (203, 0), (203, 416), (101, 208)]
    return np.float32([photo[top : top + 224, left : left + 224] for photo in both for top, left in corners])


@pytest.mark.slow
def test_a_resnet50_of_keras_applications_for_imagenet_gives_its_probabilities(photographs):
    path = os.environ.get(IMAGENET, "")
    if not Path(path).is_file():
        pytest.skip(f"{IMAGENET} does not name keras.applications' file for ResNet-50")
    theirs, ours = keras.applications.ResNet50(weights=path), keras_resnet.ResNet50(weights=path)
    expected = theirs.predict(keras.applications.resnet.preprocess_input(photographs.copy()), verbose=0)
    assert len(set(expected.argmax(1))) > 2
    actual = ours.predict(keras_resnet.card(ours).preprocessing(photographs), verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def randomize_keras(model):
    """As `randomize`, with statistics around 0 and 1."""
    random = np.random.default_rng(2015)
    for variable in model.weights:
        shape = variable.shape
        if variable.name == "kernel":
            variable.assign(random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape))
        else:
            centered = variable.name in ("bias", "beta", "moving_mean")
            variable.assign(random.normal(0, 0.2, shape) if centered else random.uniform(0.5, 1.5, shape))


@pytest.mark.slow
def test_a_densenet121_of_keras_applications_gives_its_logits(photographs):
    interface = dict(classifier_activation=None, input_shape=(*IMAGENET_SIZE, 3))
    theirs = keras.applications.DenseNet121(weights=None, **interface)
    randomize_keras(theirs)
    ours = keras_resnet.DenseNet121(weights=theirs, **interface)
    images = photographs[4::5, : IMAGENET_SIZE[0], : IMAGENET_SIZE[1]]
    expected = theirs(keras.applications.densenet.preprocess_input(images.copy())).numpy()
    assert not is_degenerate(expected)
    assert_equal(ours(keras_resnet.card(ours).preprocessing(images)), expected)


def test_a_resnet_v2_of_keras_applications_is_refused_with_a_pointer_to_timms():
    theirs = keras.applications.ResNet50V2(weights=None)
    with pytest.raises(ValueError, match="hf://timm/resnetv2_50"):
        keras_resnet.ResNet50V2(weights=theirs)
