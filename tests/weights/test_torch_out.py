"""Weights of ours become torchvision's and timm's: the same logits there, and the same network back here."""

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

import keras_resnet
from helpers.hub_files import randomized
from helpers.live import live
from keras_resnet.checks import ArgumentError
from keras_resnet.cli import main

SIZE = 64
IMAGES = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
SHAPE = {"input_shape": (SIZE, SIZE, 3), "classifier_activation": None}
TIMMS = {  # ours, with what timm's implies
    "resnet18": ("resnet18", {}),
    "resnet50d": ("resnet50d", {}),
    "seresnext50_32x4d": ("seresnext50_32x4d", {}),
    "densenet121": ("densenet121", {}),
    "resnetrs50": ("resnetrs50", {}),
    "resnetv2_50": ("resnet50v2", {"stem": "imagenet_bare"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("theirs", TIMMS)
def test_timms_network_loads_every_tensor_and_gives_the_same_logits(theirs, tmp_path):
    torch, load = live("torch"), pytest.importorskip("safetensors.torch").load_file
    name, changes = TIMMS[theirs]
    model = randomized(keras_resnet.build(name, **SHAPE, **changes))
    network = live("timm").create_model(theirs, pretrained=False).eval()
    network.load_state_dict(load(keras_resnet.to_torch(model, tmp_path / "net.safetensors")), strict=True)
    with torch.no_grad():
        logits = network(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())).numpy()
    difference = np.abs(model(IMAGES).numpy() - logits).max() / np.abs(logits).max()
    print(f"{theirs}: {difference:.1e} of the largest logit")
    assert difference < 1e-4


def row_of(**changes):
    settings = {"stem": "imagenet", "stem_filters": 8, **changes}
    return keras_resnet.ResNetConfig(stages=((8, 8), (16, 16)), **settings)


def small(**changes):
    return randomized(keras_resnet.resnet(row_of(**changes), classes=5, **SHAPE))


@pytest.mark.parametrize("changes", [{}, {"branch": "bottleneck"}, {"stem": "deep", "shortcut": "D"}], ids=str)
def test_a_network_comes_back_from_its_file(changes, tmp_path):
    model = small(**changes)
    path = keras_resnet.to_torch(model, tmp_path / "net.safetensors")
    again = keras_resnet.resnet(row_of(**changes), weights=path, **SHAPE)
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), rtol=0, atol=1e-5)


def test_another_epsilon_goes_into_gamma(tmp_path):
    model = small()
    norm = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    norm.epsilon = 0.01
    expected = norm.gamma * np.sqrt((norm.moving_variance + 1e-5) / (norm.moving_variance + 0.01))
    tensors = load_file(keras_resnet.to_torch(model, tmp_path / "net.safetensors"))
    np.testing.assert_allclose(tensors["bn1.weight"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"branch": "bottleneck", "stride_in": "1x1"},
        {"stem": "imagenet_caffe"},
        {"shortcut": "A"},
        {"shortcut": "C"},
        {"shortcut": "none"},
    ],
    ids=str,
)
def test_what_torchs_network_computes_otherwise_is_refused(changes, tmp_path):
    (*_, field) = changes
    with pytest.raises(ArgumentError, match=field):
        keras_resnet.to_torch(small(**changes), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_that_torch_does_not_have_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="as timm has"):
        keras_resnet.to_torch(keras_resnet.build("fractalnet20"), tmp_path / "net.safetensors")


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_text("mine")
    with pytest.raises(ArgumentError, match="nothing exists yet"):
        keras_resnet.to_torch(small(), path)
    assert path.read_text() == "mine"


def test_the_command_writes_a_file_for_torch(tmp_path):
    model = small()
    model.save(tmp_path / "net.keras")
    result = CliRunner().invoke(
        main, ["convert", f"{tmp_path}/net.keras", "--to", "torch", f"{tmp_path}/net.safetensors"]
    )
    assert result.exit_code == 0, result.output
    kernel = load_file(tmp_path / "net.safetensors")["conv1.weight"]
    np.testing.assert_array_equal(kernel.transpose(2, 3, 1, 0), model.get_layer("stem_conv").kernel)


def test_the_command_wants_an_output_or_torch(tmp_path):
    assert "NAME and OUT, or --to torch FILE" in CliRunner().invoke(main, ["convert", "imagenet", "resnet50"]).output
