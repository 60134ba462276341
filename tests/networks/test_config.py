"""What rows and builders refuse, by message and before anything is built, and that rows survive JSON."""

import json
import re
from dataclasses import asdict, replace
from functools import partial

import keras
import numpy as np
import pytest

from keras_resnet import (
    NETWORKS,
    DenseNetConfig,
    FractalNetConfig,
    Recipe,
    ResNet18,
    ResNet50,
    ResNetConfig,
    build,
    densenet,
    fractalnet,
    resnet,
)

ROWS = NETWORKS.items()
BUILDERS = {
    "build": partial(build, "resnet50"),
    "resnet": partial(resnet, NETWORKS["resnet50"]),
    "ResNet50": ResNet50,
    "densenet": partial(densenet, NETWORKS["densenet121"]),
}


@pytest.fixture
def nothing_is_built(monkeypatch):
    """Makes any new Keras layer, an input among them, fail the test."""
    monkeypatch.setattr(keras.layers.Layer, "__init__", lambda *_, **__: pytest.fail("a layer was built"))


def refuses(call, argument, expected, received, **arguments):
    """Whether the call raises our ValueError of that argument, what was expected and what was received."""
    with pytest.raises(ValueError, match="Invalid value for argument") as caught:
        call(**arguments)
    message = str(caught.value)
    assert message.startswith(f"Invalid value for argument `{argument}`. Expected ")
    assert message.endswith(f" Received: {argument}={received!r}")
    assert expected in message.removeprefix(f"Invalid value for argument `{argument}`. Expected ")


# Rows


INTEGER, RATE, STAGES = "an integer, at least", "a rate in [0, 1)", "stages of blocks' output channels"
RESNET_ERRORS = [
    ("stages", (), STAGES),
    ("stages", 16, STAGES),
    ("stages", "16", STAGES),
    ("stages", (16, 32), STAGES),
    ("stages", ((16,), ()), STAGES),
    ("stages", ((16, 0),), STAGES),
    ("stages", ((16.5,),), STAGES),
    ("stages", ((True,),), STAGES),
    ("stem", "imagenet2", "one of 'cifar', 'imagenet', 'imagenet_bare', 'imagenet_caffe'"),
    ("stem", None, "one of 'cifar'"),
    ("stem_filters", 0, f"{INTEGER} 1"),
    ("stem_filters", 16.0, f"{INTEGER} 1"),
    ("order", "preact", "one of 'post', 'norm_after_sum', 'relu_before_sum', 'relu_only', 'pre', 'pyramid'"),
    ("branch", "wide", "one of 'basic', 'bottleneck'"),
    ("shortcut", "a", "one of 'none', 'A', 'A_append', 'B', 'C', 'D', 'pyramid'"),
    ("shortcut", ["A"], "one of 'none', 'A'"),
    ("inner", 0, "a number above 0"),
    ("inner", "1/2", "a number above 0"),
    ("inner", float("nan"), "a number above 0"),
    ("groups", 0, f"{INTEGER} 1"),
    ("groups", True, f"{INTEGER} 1"),
    ("stride_in", 3, "one of '1x1', '3x3'"),
    ("branches", 0, f"{INTEGER} 1 and at most 26"),
    ("branches", 27, f"{INTEGER} 1 and at most 26"),
    ("se_ratio", -1, f"{INTEGER} 0"),
    ("se_ratio", 0.25, f"{INTEGER} 0"),
    ("dropout", 1, RATE),
    ("dropout", -0.1, RATE),
    ("dropout", None, RATE),
    ("drop_path", 1.0, RATE),
    ("drop_path", "0.2", RATE),
    ("drop_path_per", "image", "one of 'sample', 'batch'"),
    ("head_dropout", 2, RATE),
    ("zero_init", 1, "True or False"),
    ("zero_init", "yes", "True or False"),
    ("output_stride", 4, "one of 8, 16, 32"),
    ("output_stride", 64, "one of 8, 16, 32"),
    ("gate_bias", "-6", "a number"),
    ("image_size", 7, "None or an integer, at least 8"),
    ("image_size", (224, 224), "None or an integer, at least 8"),
]
DENSENET_ERRORS = [
    ("stages", (), "the layers of every dense block"),
    ("stages", ((6,), (12,)), "the layers of every dense block"),
    ("stages", (6, 0), "the layers of every dense block"),
    ("growth", 0, f"{INTEGER} 1"),
    ("stem", "deep", "one of 'cifar', 'imagenet'"),
    ("stem_filters", 2.5, f"{INTEGER} 1"),
    ("bottleneck", -1, f"{INTEGER} 0"),
    ("bottleneck", True, f"{INTEGER} 0"),
    ("compression", 0, "a share in (0, 1]"),
    ("compression", 1.5, "a share in (0, 1]"),
    ("dropout", 1, RATE),
    ("head_dropout", -1, RATE),
]
FRACTALNET_ERRORS = [
    ("stages", (), "the channels of every block"),
    ("stages", (64, -1), "the channels of every block"),
    ("columns", 0, f"{INTEGER} 1"),
    ("columns", 3.0, f"{INTEGER} 1"),
    ("global_share", 1.1, "a share in [0, 1]"),
    ("global_share", -0.1, "a share in [0, 1]"),
    ("drop_path", 1, RATE),
    ("dropout", 1, RATE),
    ("head_dropout", None, RATE),
]


@pytest.mark.parametrize(("field", "value", "expected"), RESNET_ERRORS)
def test_a_residual_row_names_the_field_that_is_wrong(field, value, expected):
    refuses(ResNetConfig, field, expected, value, **{"stages": ((16,), (32,)), field: value})


@pytest.mark.parametrize(("field", "value", "expected"), DENSENET_ERRORS)
def test_a_densenet_row_names_the_field_that_is_wrong(field, value, expected):
    refuses(DenseNetConfig, field, expected, value, **{"stages": (2, 2), field: value})


@pytest.mark.parametrize(("field", "value", "expected"), FRACTALNET_ERRORS)
def test_a_fractalnet_row_names_the_field_that_is_wrong(field, value, expected):
    refuses(FractalNetConfig, field, expected, value, **{"stages": (4, 8), field: value})


@pytest.mark.parametrize(
    ("config", "errors"),
    [(ResNetConfig, RESNET_ERRORS), (DenseNetConfig, DENSENET_ERRORS), (FractalNetConfig, FRACTALNET_ERRORS)],
)
def test_every_field_has_an_error(config, errors):
    assert {field for field, *_ in errors} == set(config.__dataclass_fields__)


def test_groups_must_divide_the_width_of_every_bottleneck():
    row = partial(ResNetConfig, branch="bottleneck")
    refuses(row, "groups", "a divisor of the bottleneck's width 4", 3, stages=((16,), (24,)), groups=3)
    refuses(row, "groups", "a divisor of the bottleneck's width 20", 8, stages=((32,), (40,)), inner=1 / 2, groups=8)


def test_groups_need_a_bottleneck():
    refuses(ResNetConfig, "groups", "1 where `branch='basic'`", 4, stages=((16,),), groups=4)


@pytest.mark.parametrize("shortcut", ["A", "A_append", "pyramid", "constant_scaling", "exclusive_gating", "dropout"])
@pytest.mark.parametrize("stages", [((8,),), ((32, 16),), ((32,), (16,))])
def test_a_shortcut_that_pads_cannot_narrow(shortcut, stages):
    expected = "one of none, B, C, D, conv where a block narrows"
    refuses(ResNetConfig, "shortcut", expected, shortcut, stages=stages, shortcut=shortcut)


@pytest.mark.parametrize("shortcut", ["none", "B", "C", "D", "conv"])
def test_a_shortcut_that_projects_narrows(shortcut):
    row = ResNetConfig(stages=((32, 16), (8,)), shortcut=shortcut)
    assert resnet(row, include_top=False).output.shape[-1] == 8


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"shortcut": "none"}, "False for a plain network"), ({"order": "relu_before_sum"}, "False where a relu ends")],
)
def test_zero_init_must_not_stop_learning(changes, expected):
    refuses(ResNetConfig, "zero_init", expected, True, stages=((16,),), zero_init=True, **changes)


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_rows_survive_json(name, row):
    assert type(row)(**json.loads(json.dumps(asdict(row)))) == row


def test_a_row_with_changes_is_the_row_of_another_network():
    assert replace(NETWORKS["resnet50"], inner=1 / 2, groups=32) == NETWORKS["resnext50_32x4d"]


def test_rows_are_checked_when_they_are_changed():
    refuses(partial(replace, NETWORKS["resnext50_32x4d"]), "groups", "a divisor", 3, groups=3)


def test_no_two_networks_are_the_same_row():
    assert len(set(NETWORKS.values())) == len(NETWORKS)


# Names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet51", "'resnet50'"), ("resnext50_32x8d", "'resnext50_32x4d'"), ("wideresnet28_10", "'wide_resnet28_10'")],
)
def test_an_unknown_network_is_answered_with_the_nearest(name, nearest, nothing_is_built):
    refuses(partial(build, name), "network", nearest, name)


def test_a_name_near_no_network_is_answered_with_some(nothing_is_built):
    refuses(partial(build, "???"), "network", "'densenet", "???")


def test_a_network_is_asked_for_by_position():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'network'"):
        build(name="resnet20")


@pytest.mark.parametrize("builder", [resnet, densenet, fractalnet])
def test_a_familys_builder_takes_rows_of_its_family(builder, nothing_is_built):
    other = NETWORKS["densenet121" if builder is resnet else "resnet20"]
    refuses(partial(builder, other), "config", "a row, a keras_resnet.", other)


@pytest.mark.parametrize("builder", ["build", "ResNet50"])
def test_an_unknown_field_is_answered_with_the_nearest(builder, nothing_is_built):
    message = "Unknown argument `short_cut` of a resnet; did you mean `shortcut`? Received: short_cut='A'"
    with pytest.raises(ValueError, match=re.escape(message)):
        BUILDERS[builder](short_cut="A")


@pytest.mark.parametrize(
    ("argument", "ours"),
    [("num_classes", "classes"), ("pretrained", "weights"), ("in_chans", "input_shape"), ("clases", "classes")],
)
def test_the_words_of_torch_are_answered_with_ours(argument, ours, nothing_is_built):
    with pytest.raises(ValueError, match=f"Unknown argument `{argument}` of a resnet; did you mean `{ours}`"):
        ResNet18(**{argument: 3})


def test_a_field_of_another_family_is_unknown(nothing_is_built):
    with pytest.raises(ValueError, match="Unknown argument `groups` of a densenet"):
        build("densenet121", groups=2)


# Numbers


TINY = dict(stages=((8,), (16,)), stem_filters=8)
NUMPY = {  # by the builders, and what Python would have given
    "stem_filters": (np.int64(16), 16),
    "stages": ([[np.int32(8)], (np.int64(16),)], ((8,), (16,))),
    "drop_path": (np.float32(0.25), 0.25),
    "zero_init": (np.bool_(True), True),
    "se_ratio": (np.array(4), 4),
    "inner": (np.float16(0.5), 0.5),
}


@pytest.mark.parametrize("field", NUMPY)
def test_numpys_numbers_are_stored_as_pythons(field):
    given, python = NUMPY[field]
    row = ResNetConfig(**{**TINY, field: given})
    assert row == ResNetConfig(**{**TINY, field: python})
    assert type(getattr(row, field)) is type(python)
    json.dumps(asdict(row))


def test_a_network_is_built_by_numpys_numbers():
    labels, size = np.array([0, 4, 2]), np.int64(16)
    model = build("resnet20", **TINY, classes=labels.max() + 1, input_shape=(size, size, np.uint8(3)), remat=np.False_)
    assert model.output_shape == (None, 5)
    json.dumps(asdict(model.card))


ABSURD = [
    (ResNetConfig, "stages", dict(stages=((16,),) * 40)),
    (ResNetConfig, "stages", dict(stages=((16,) * 10**6,))),
    (ResNetConfig, "stages", dict(stages=((2**40,),))),
    (ResNetConfig, "stem_filters", dict(stages=((16,),), stem_filters=2**40)),
    (ResNetConfig, "inner", dict(stages=((16,),), branch="bottleneck", inner=1e5)),
    (ResNetConfig, "inner", dict(stages=((2**16,),), branch="bottleneck", inner=4)),
    (ResNetConfig, "groups", dict(stages=((16,),), branch="bottleneck", groups=10**30)),
    (ResNetConfig, "image_size", dict(stages=((16,),), image_size=10**30)),
    (DenseNetConfig, "stages", dict(stages=(10**9,))),
    (DenseNetConfig, "growth", dict(stages=(2,), growth=2**40)),
    (DenseNetConfig, "bottleneck", dict(stages=(2,), growth=2**15, bottleneck=2**15)),
    (FractalNetConfig, "columns", dict(stages=(8,), columns=10**30)),
    (FractalNetConfig, "stages", dict(stages=(8,) * 40)),
    (partial(build, "resnet20"), "classes", dict(classes=10**30)),
    (partial(build, "resnet20"), "input_shape", dict(input_shape=(10**9, 10**9, 3))),
    (partial(build, "resnet20"), "input_shape", dict(input_shape=(32, 32, 2**40))),
    (partial(Recipe, about=""), "epochs", dict(epochs=10**30)),
    (partial(Recipe, epochs=1), "steps_per_epoch", dict(steps_per_epoch=10**30)),
]


@pytest.mark.parametrize(("make", "argument", "given"), ABSURD)
def test_absurd_values_are_refused_by_name_before_anything_is_built(make, argument, given, nothing_is_built):
    with pytest.raises(ValueError, match=f"Invalid value for argument `{argument}`"):
        make(**given)


# Arguments of the builders


SHAPE = "(height, width, channels)"
ARGUMENT_ERRORS = [
    ("classes", 0, "an integer, at least 1"),
    ("classes", 10.0, "an integer, at least 1"),
    ("classes", True, "an integer, at least 1"),
    ("include_top", 1, "True or False"),
    ("include_top", "no", "True or False"),
    ("pooling", "mean", "one of None, 'avg', 'max'"),
    ("pooling", False, "one of None, 'avg', 'max'"),
    ("classifier_activation", "softmaxx", "a Keras activation, or None for logits"),
    ("classifier_activation", 3, "a Keras activation, or None for logits"),
    ("input_shape", 224, SHAPE),
    ("input_shape", "224", SHAPE),
    ("input_shape", (224, 224), SHAPE),
    ("input_shape", (None, 224, 224, 3), SHAPE),
    ("input_shape", (224.0, 224, 3), SHAPE),
    ("input_shape", (224, 224, None), SHAPE),
    ("input_shape", (224, 224, 0), SHAPE),
    ("input_shape", (3, 224, 224), SHAPE),
    ("input_tensor", "images", "a Keras tensor"),
    ("weights", "imagenet21k", "'cifar10', hf://owner/repo, a Keras model, or a file"),
    ("weights", "missing.weights.h5", "'cifar10', hf://owner/repo, a Keras model, or a file"),
    ("weights", "missing.keras", "'cifar10', hf://owner/repo, a Keras model, or a file"),
    ("weights", 1, "'cifar10', hf://owner/repo, a Keras model, or a file"),
]


@pytest.mark.parametrize(("argument", "value", "expected"), ARGUMENT_ERRORS)
@pytest.mark.parametrize("builder", BUILDERS)
def test_a_builder_names_the_argument_that_is_wrong(builder, argument, value, expected, nothing_is_built):
    refuses(BUILDERS[builder], argument, expected, value, **{argument: value})


def test_a_folder_is_no_weights_file(tmp_path, nothing_is_built):
    folder = tmp_path / "a.keras"
    folder.mkdir()
    refuses(ResNet50, "weights", "that exists", folder, weights=folder)


@pytest.mark.parametrize(
    ("build_row", "row", "smallest"),
    [
        (resnet, NETWORKS["resnet20"], 8),
        (resnet, NETWORKS["resnet50"], 8),
        (densenet, DenseNetConfig(stages=(2, 2, 2)), 4),
        (densenet, DenseNetConfig(stages=(2, 2, 2, 2), stem="imagenet"), 29),
        (fractalnet, FractalNetConfig(stages=(4, 4, 4, 4, 4)), 16),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_images_too_small_are_refused(build_row, row, smallest, side, nothing_is_built):
    shape = [None, None, 3]
    shape[side] = smallest - 1
    refuses(partial(build_row, row), "input_shape", f"at least {smallest} pixels", shape, input_shape=shape)


@pytest.mark.parametrize(
    ("build_row", "row", "smallest"),
    [
        (resnet, ResNetConfig(stages=((8,),) * 4, stem="imagenet"), 8),
        (densenet, DenseNetConfig(stages=(1, 1, 1)), 4),
        (densenet, DenseNetConfig(stages=(1, 1, 1, 1), stem="imagenet"), 29),
        (fractalnet, FractalNetConfig(stages=(4, 4, 4, 4, 4), columns=1), 16),
    ],
)
def test_the_smallest_images_leave_a_pixel_to_the_last_stage(build_row, row, smallest):
    assert build_row(row, include_top=False, input_shape=(smallest, smallest, 3)).output.shape[1:3] == (1, 1)


def test_an_input_tensor_too_small_is_refused(request):
    small = keras.Input((7, 32, 3))
    request.getfixturevalue("nothing_is_built")
    refuses(ResNet50, "input_tensor", "at least 8 pixels", (7, 32, 3), input_tensor=small)


def test_an_input_shape_other_than_the_input_tensors_is_refused(request):
    images = keras.Input((32, 32, 3))
    request.getfixturevalue("nothing_is_built")
    other = (64, 64, 3)
    expected = "None, or the shape (32, 32, 3) of `input_tensor`"
    refuses(ResNet50, "input_shape", expected, other, input_tensor=images, input_shape=other)


# Weights


def small(classes=10, **arguments):
    return resnet(ResNetConfig(stages=((8,),), stem_filters=8), classes=classes, **arguments)


@pytest.fixture(params=["a.weights.h5", "a.keras"])
def saved(request, tmp_path):
    """(the path of saved weights, the network of 10 classes that they are of)"""
    model, path = small(), tmp_path / request.param
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    return path, model


def test_another_number_of_classes_gets_a_new_classifier(saved):
    path, model = saved
    loaded = small(classes=7, weights=path)
    assert loaded.output_shape == (None, 7)
    assert all((a == b).all() for a, b in zip(loaded.get_weights()[:-2], model.get_weights()[:-2], strict=True))


@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["str", "Path"])
def test_weights_of_the_same_network_are_loaded(saved, as_path):
    path, model = saved
    loaded = small(weights=as_path(path))
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
