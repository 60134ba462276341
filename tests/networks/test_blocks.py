"""What the blocks of every family compute, and that stock Keras loads them."""

import re
from importlib import import_module
from itertools import chain, product

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from helpers.plain_keras import outputs_of_files
from helpers.undrawn import undrawn
from keras_resnet import (
    NETWORKS,
    ORDERS,
    SHORTCUTS,
    STEMS,
    DenseNetConfig,
    FractalNetConfig,
    ResNetConfig,
    build,
    densenet,
    fractalnet,
    portable,
    resnet,
)
from keras_resnet.graph.tracing import walk
from keras_resnet.networks.blocks import BRANCHES
from keras_resnet.networks.config import plan
from keras_resnet.networks.fractalnet import DrawColumns, Join

COMBINATIONS = list(product(ORDERS, SHORTCUTS, BRANCHES))
OFTEN = ("none", "A", "B", "D")  # the shortcuts with which the fast tests combine bottlenecks
RESIDUAL = [shortcut for shortcut in SHORTCUTS if shortcut != "none"]
ROWS = {name: row for name, row in NETWORKS.items() if isinstance(row, ResNetConfig)}


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def tiny(**changes):
    return ResNetConfig(**{"stages": ((8, 8), (16, 16)), "stem_filters": 8, **changes})


def network(size=8, **changes):
    return randomized(resnet(tiny(**changes), **interface(size)))


def skeleton(**changes):
    """The network without values."""
    return undrawn(resnet, tiny(**changes), **interface())


def interface(size=8):
    return dict(input_shape=(size, size, 3), classifier_activation=None)


def randomized(model):
    """The model with norms as after training: no gamma 1, no beta 0; what is zeroed on purpose stays so."""
    random = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance") and np.any(variable):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias") and "gate" not in variable.path:
            variable.assign(random.normal(0, 0.3, variable.shape))
    return model


def images(size=8, count=4):
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype("float32")


def values(model, *names, training=False, count=4):
    """What the layers of those names put out."""
    outputs = [model.get_layer(name).output for name in names]
    seen = keras.Model(model.input, outputs)(images(model.input_shape[1], count), training=training)
    return [np.asarray(value) for value in keras.tree.flatten(seen)]


def layer_names(model):
    return [layer.name for layer in walk(model)]


def copy_weights(source, target):
    named = {layer.name: layer for layer in walk(source)}
    for layer in walk(target):
        if layer.weights:
            layer.set_weights(named[layer.name].get_weights())


def input_of(model, name):
    """The name of the layer that the (first) input of that one comes from."""
    made = {id(layer.output): layer.name for layer in model.layers if not isinstance(layer.output, list)}
    return made[id(keras.tree.flatten(model.get_layer(name).input)[0])]


# Every order, shortcut and branch


def gradients(model):
    """Variable's path -> gradient of the squared error to a random target."""
    x = images(count=8)
    target = np.random.default_rng(1).normal(size=(len(x), *model.output_shape[1:]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((model(x, training=True) - target) ** 2)
    variables = model.trainable_variables
    computed = tape.gradient(loss, [variable.value for variable in variables])
    pairs = zip(variables, computed, strict=True)
    return {variable.path: np.asarray(gradient) for variable, gradient in pairs}


def normalized_again(model):
    """The norms that only norms read: these cancel their gammas."""
    norms = {layer.name: layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)}

    def readers(norm):
        inputs = {layer: keras.tree.flatten(layer.input) for layer in model.layers}
        return [layer for layer in model.layers if any(tensor is norm.output for tensor in inputs[layer])]

    return [name for name, norm in norms.items() if all(reader.name in norms for reader in readers(norm))]


@pytest.mark.parametrize(
    ("order", "shortcut", "branch"),
    [
        pytest.param(*row, marks=[pytest.mark.slow] * (row[2] == "bottleneck" and row[1] not in OFTEN))
        for row in COMBINATIONS
    ],
)
def test_every_kernel_and_gamma_of_every_combination_learns(order, shortcut, branch, float64):
    stages = ((8,), (16,))  # a block whose shortcut is the identity, and one that changes the shape
    config = tiny(stages=stages, order=order, shortcut=shortcut, branch=branch, inner=1 / 2, gate_bias=0.0)
    model = resnet(config, **interface())
    cancelled = normalized_again(model)
    assert np.all(np.isfinite(model(images())))
    for path, gradient in gradients(model).items():
        assert np.all(np.isfinite(gradient)), path
        layer, kind = path.split("/")[-2:]
        assert kind == "beta" or layer in cancelled or np.abs(gradient).max() > 1e-6, path


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_everything_but_moving_averages_is_trainable(shortcut):
    frozen = skeleton(shortcut=shortcut, se_ratio=4).non_trainable_weights
    assert {variable.name for variable in frozen} == {"moving_mean", "moving_variance"}


# Stock files


def small_networks():
    """Name -> network of every combination, every stem, every option and every family."""
    for order, shortcut, branch in COMBINATIONS:
        stages = ((8,), (16,))
        yield f"{order}-{shortcut}-{branch}", network(stages=stages, order=order, shortcut=shortcut, branch=branch)
    for stem in STEMS:
        yield stem, network(stages=((8,),), stem=stem)
    grouped = dict(branch="bottleneck", inner=1, groups=4)
    yield "grouped", network(**grouped)
    yield "dilated", network(**grouped, stages=((8,), (8,), (16,)), stem="imagenet", output_stride=8)
    yield "all_options", network(branches=3, se_ratio=4, dropout=0.3, drop_path=0.2, head_dropout=0.1, zero_init=True)
    dense = DenseNetConfig(stages=(2, 2), growth=4, bottleneck=4, compression=0.5, dropout=0.2)
    yield "densenet", randomized(densenet(dense, **interface()))
    fractal = FractalNetConfig(stages=(4, 8), drop_path=0.15, dropout=0.4)
    yield "fractalnet", randomized(fractalnet(fractal, **interface()))


def nested_network(monkeypatch, **changes):
    """A network built as those are that are too deep for a flat graph: here, of more than two blocks."""
    with monkeypatch.context() as patch:
        patch.setattr(RESNET, "PART", 2)
        patch.setattr(RESNET, "LONGEST_CHAIN", 1)
        return network(**DEEP, **changes)


RESNET = import_module("keras_resnet.networks.resnet")  # the package's attribute of that name is the function
DEEP = dict(stages=((8,) * 4, (16,) * 4))


def scale(logits):
    """The largest of them, 1 at least: softmax would hide what differs."""
    return max(1, np.abs(logits).max())


@pytest.mark.slow
def test_keras_loads_portable_models_without_this_package(tmp_path, monkeypatch):
    expected = {}
    for name, model in chain(small_networks(), [("nested", nested_network(monkeypatch))]):
        expected[name] = np.asarray(model(images()))
        portable(model).save(tmp_path / f"{name}.keras")
    found = outputs_of_files(tmp_path, images())
    assert found.keys() == expected.keys()
    assert [name for name in found if np.abs(found[name] - expected[name]).max() > 1e-5 * scale(expected[name])] == []


def test_portable_models_hold_stock_layers_only():
    fractal = fractalnet(FractalNetConfig(stages=(4, 8), drop_path=0.15))
    for model in (fractal, network(branch="bottleneck", inner=1, groups=4)):
        assert {type(layer).__module__.split(".")[0] for layer in walk(portable(model))} == {"keras"}


def test_a_nested_network_computes_what_the_flat_one_does(monkeypatch):
    flat, nested = network(**DEEP), nested_network(monkeypatch)
    copy_weights(flat, nested)
    parts = [layer.name for layer in nested.layers if isinstance(layer, keras.Model)]
    assert parts == ["stage1_block2_to_3", "stage2_block2_to_3"]
    np.testing.assert_allclose(nested(images()), flat(images()), atol=1e-6)


# Shortcuts


@pytest.mark.parametrize(
    "shortcut",
    ["A", "A_append", "pyramid", "constant_scaling", "shortcut_scaling", "dropout", "double", "square"],
)
def test_a_padded_shortcut_adds_no_parameters(shortcut):
    assert skeleton(shortcut=shortcut).count_params() == skeleton(shortcut="none").count_params()


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_only_the_blocks_that_change_shape_project(name):
    projections = [
        layer for layer in layer_names(undrawn(build, name, include_top=False)) if layer.endswith("skip_conv")
    ]
    assert projections == [f"stage{stage}_block1_skip_conv" for stage in (2, 3, 4)]


@pytest.mark.parametrize(("shortcut", "kept"), [("A", slice(3, 11)), ("A_append", slice(0, 8))])
def test_option_a_surrounds_every_second_pixel_with_zero_channels(shortcut, kept):
    model = network(shortcut=shortcut, stages=((8,), (15,)))
    before, after = values(model, "stage1_block1_out_relu", "stage2_block1_skip_pad")
    expected = np.zeros((*after.shape[:3], 15))
    expected[..., kept] = before[:, ::2, ::2]
    np.testing.assert_array_equal(after, expected)


def test_the_pyramid_shortcut_averages_2x2_pixels_and_appends_zero_channels():
    model = network(shortcut="pyramid")
    before, after = values(model, "stage1_block2_out_relu", "stage2_block1_skip_pad")
    averaged = before.reshape(4, 4, 2, 4, 2, 8).mean(axis=(2, 4))
    np.testing.assert_allclose(after, np.concatenate([averaged, np.zeros_like(averaged)], axis=-1), atol=1e-6)


def test_shortcut_d_averages_2x2_pixels_before_it_projects():
    model = network(shortcut="D")
    before, after = values(model, "stage1_block2_out_relu", "stage2_block1_skip_conv")
    kernel = np.asarray(model.get_layer("stage2_block1_skip_conv").kernel)[0, 0]
    np.testing.assert_allclose(after, before.reshape(4, 4, 2, 4, 2, 8).mean(axis=(2, 4)) @ kernel, atol=1e-5)


@pytest.mark.parametrize("shortcut", RESIDUAL)
def test_the_shortcut_is_the_first_input_of_every_sum(shortcut):
    model = skeleton(shortcut=shortcut, branches=2)
    sums = [layer.name for layer in model.layers if isinstance(layer, layers.Add)]
    assert len(sums) == 4
    for name in sums:
        block, first = name.removesuffix("_sum"), input_of(model, name)
        assert first.startswith(f"{block}_skip") or not first.startswith(block)


# He et al. 2016, section 3.1: the study of shortcuts


SCALED = [("stage1_block1_out_relu", "stage1_block2"), ("stage2_block1_skip_pad", "stage2_block1")]


@pytest.mark.parametrize(("source", "block"), SCALED)
@pytest.mark.parametrize(("shortcut", "of_branch"), [("constant_scaling", 0.5), ("shortcut_scaling", 1)])
def test_constant_scaling_halves_the_shortcut(shortcut, of_branch, source, block):
    model = network(shortcut=shortcut)
    x, branch, total = values(model, source, f"{block}_a2_norm", f"{block}_sum")
    np.testing.assert_allclose(total, 0.5 * x + of_branch * branch, atol=1e-5)


@pytest.mark.parametrize(("source", "block"), SCALED)
@pytest.mark.parametrize("shortcut", ["exclusive_gating", "shortcut_only_gating"])
def test_a_gate_g_weighs_the_shortcut_with_1_minus_g(shortcut, source, block):
    model = network(shortcut=shortcut, gate_bias=0.3)
    x, branch, gate, total = values(model, source, f"{block}_a2_norm", f"{block}_gate_conv", f"{block}_sum")
    of_branch = gate if shortcut == "exclusive_gating" else 1
    assert np.all((gate > 0) & (gate < 1))
    np.testing.assert_allclose(total, (1 - gate) * x + of_branch * branch, atol=1e-5)


def test_the_gate_is_a_sigmoid_of_a_convolution_that_starts_at_the_bias():
    model = network(shortcut="exclusive_gating", gate_bias=-3.0)
    x, gate = values(model, "stage1_block1_out_relu", "stage1_block2_gate_conv")
    kernel = np.asarray(model.get_layer("stage1_block2_gate_conv").kernel)[0, 0]
    np.testing.assert_allclose(gate, 1 / (1 + np.exp(3.0 - x @ kernel)), atol=1e-5)


def test_exclusive_gating_with_a_very_negative_bias_leaves_the_shortcut_alone():
    model = network(shortcut="exclusive_gating", gate_bias=-50.0)
    x, total = values(model, "stage1_block1_out_relu", "stage1_block2_sum")
    np.testing.assert_allclose(total, x, atol=1e-6)


def test_shortcut_only_gating_with_a_very_negative_bias_is_the_original_unit():
    gated, original = network(shortcut="shortcut_only_gating", gate_bias=-50.0), network(shortcut="A")
    copy_weights(gated, original)
    np.testing.assert_allclose(gated(images()), original(images()), atol=1e-6)


def test_a_dropout_shortcut_drops_half_in_training():
    model = network(shortcut="dropout")
    x, dropped = values(model, "stage1_block1_out_relu", "stage1_block2_skip_dropout", training=True)
    positive = x > 0
    kept = dropped[positive] != 0
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_allclose(dropped[positive][kept], 2 * x[positive][kept], rtol=1e-5)


def test_a_dropout_shortcut_drops_nothing_at_inference():
    dropped, original = network(shortcut="dropout"), network(shortcut="A")
    copy_weights(dropped, original)
    np.testing.assert_array_equal(dropped(images()), original(images()))


@pytest.mark.parametrize(("source", "block"), SCALED)
@pytest.mark.parametrize(("shortcut", "function"), [("double", lambda x: 2 * x), ("square", np.square)])
def test_shortcuts_that_are_no_identity(shortcut, function, source, block):
    x, branch, total = values(network(shortcut=shortcut), source, f"{block}_a2_norm", f"{block}_sum")
    np.testing.assert_allclose(total, function(x) + branch, atol=1e-4)


def test_a_single_layer_is_a_branch():
    model = network(branch="single", shortcut="A")
    x, branch, total, out = values(
        model, "stage1_block1_out_relu", "stage1_block2_a1_norm", "stage1_block2_sum", "stage1_block2_out_relu"
    )
    np.testing.assert_allclose(total, x + branch, atol=1e-5)
    np.testing.assert_array_equal(out, np.maximum(total, 0))
    assert not [name for name in layer_names(model) if "_a2" in name]


# Zero initialization


BLOCKS_OF_ONE_SHAPE = [
    ("stem_conv", "stage1_block1_sum"),
    ("stage1_block1_sum", "stage1_block2_sum"),
    ("stage2_block1_sum", "stage2_block2_sum"),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [{}, {"branches": 3}, {"se_ratio": 4}, {"drop_path": 0.5}], ids=str)
@pytest.mark.parametrize("branch", BRANCHES)
def test_a_zeroed_preactivation_block_is_exactly_the_identity(branch, options, training):
    model = network(order="pre", branch=branch, zero_init=True, **options)
    seen = values(model, *chain(*BLOCKS_OF_ONE_SHAPE), training=training)
    for before, after in zip(seen[::2], seen[1::2], strict=True):
        np.testing.assert_array_equal(after, before)


ZEROED = {
    "post": "norm/gamma",
    "norm_after_sum": "conv/kernel",
    "relu_only": "norm/gamma",
    "pre": "conv/kernel",
    "pyramid": "norm/gamma",
}


def zeros(model):
    """The kernels and gammas that are zero, from the block's name on."""
    named = {"/".join(variable.path.split("/")[-2:]): variable for variable in model.trainable_variables}
    scales = {path: variable for path, variable in named.items() if path.endswith(("kernel", "gamma"))}
    return [path for path, variable in scales.items() if not np.any(variable)]


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize(("order", "last"), ZEROED.items())
def test_zero_init_zeroes_what_scales_the_branch_last(order, last, branch):
    model = network(order=order, branch=branch, zero_init=True)
    depth = {"single": 1, "basic": 2, "bottleneck": 3}[branch]
    assert zeros(model) == [f"stage{stage}_block{block}_a{depth}_{last}" for stage in (1, 2) for block in (1, 2)]


def test_nothing_starts_at_zero_without_zero_init():
    assert [zeros(network(order=order)) for order in ORDERS] == [[]] * len(ORDERS)


@pytest.mark.parametrize("order", ZEROED)
def test_what_zero_init_zeroes_still_learns(order, float64):
    model = resnet(tiny(order=order, zero_init=True), **interface())
    found = {"/".join(path.split("/")[-2:]): gradient for path, gradient in gradients(model).items()}
    assert all(np.abs(found[path]).max() > 1e-6 for path in zeros(model))


# Dropout, drop path and squeeze-and-excitation


@pytest.mark.parametrize(
    ("option", "added"),
    [
        ({"dropout": 0.3}, r"stage\d_block\d_a1_dropout"),
        ({"head_dropout": 0.3}, r"head_dropout"),
        ({"drop_path": 0.3}, r"stage\d_block\d_a_drop_path"),
        ({"se_ratio": 4}, r"stage\d_block\d_a_se_(pool|squeeze|excite|scale)"),
    ],
    ids=str,
)
def test_what_is_not_asked_for_is_not_in_the_summary(option, added):
    without, whole = (set(layer_names(skeleton(**changes))[1:]) for changes in ({}, option))
    assert whole > without
    assert [name for name in whole - without if not re.fullmatch(added, name)] == []


def test_drop_path_keeps_whole_samples_or_drops_them():
    layer = network(drop_path=0.4).get_layer("stage2_block2_a_drop_path")
    x = np.random.default_rng(0).uniform(1, 2, (64, 3, 3, 16)).astype("float32")
    shares = np.asarray(layer(x, training=True)) / x
    kept = shares[:, 0, 0, 0] > 0
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_allclose(shares, np.where(kept, 1 / 0.6, 0)[:, None, None, None] * np.ones_like(x), rtol=1e-5)


def test_drop_path_per_batch_keeps_all_samples_or_drops_them():
    layer = network(drop_path=0.4, drop_path_per="batch").get_layer("stage2_block2_a_drop_path")
    drawn = np.array([layer(np.ones((8, 2, 2, 4), "float32"), training=True) for _ in range(40)])
    np.testing.assert_allclose(np.unique(drawn), [0, 1 / 0.6], rtol=1e-6)
    assert all(len(np.unique(batch)) == 1 for batch in drawn)


def test_drop_path_preserves_the_mean():
    layer = network(drop_path=0.4).get_layer("stage2_block2_a_drop_path")
    mean = np.asarray(layer(np.ones((40_000, 1, 1, 1), "float32"), training=True)).mean()
    deviation = np.sqrt(0.4 / 0.6 / 40_000)  # of that mean
    assert abs(mean - 1) < 5 * deviation


def test_drop_path_does_nothing_at_inference():
    dropped, original = network(drop_path=0.9), network()
    copy_weights(original, dropped)
    np.testing.assert_array_equal(dropped(images()), original(images()))


def test_drop_path_of_the_network_is_that_of_the_plan():
    config = tiny(drop_path=0.4, branches=2)
    rates = {layer.name: layer.rate for layer in resnet(config).layers if layer.name.endswith("drop_path")}
    assert rates == {
        f"{block.name}_{letter}_drop_path": block.drop_path for block in plan(config) for letter in config.letters
    }


@pytest.mark.parametrize("branch", BRANCHES)
def test_dropout_sits_before_the_later_convolutions(branch):
    model = skeleton(branch=branch, dropout=0.3)
    read = {}
    for name in layer_names(model):
        if re.fullmatch(r"stage\d_block\d_a\d_conv", name):
            reader = input_of(model, name)
            read[name] = input_of(model, reader) if reader.endswith("_pad") else reader
    first = {name: reader for name, reader in read.items() if "_a1_" in name}
    assert not any(reader.endswith("dropout") for reader in first.values())
    for name in read.keys() - first.keys():
        block, index = re.match(r"(.*_a)(\d)_conv", name).groups()
        assert read[name] == f"{block}{int(index) - 1}_dropout"


def test_squeeze_and_excitation_scales_channels_by_what_it_sees():
    model = network(se_ratio=4)
    names = ("a2_norm", "a_se_squeeze", "a_se_excite", "a_se_scale")
    x, squeezed, gate, scaled = values(model, *(f"stage2_block1_{name}" for name in names))
    squeeze, excite = (model.get_layer(f"stage2_block1_a_se_{name}").get_weights() for name in ("squeeze", "excite"))
    expected = np.maximum(x.mean(axis=(1, 2), keepdims=True) @ squeeze[0] + squeeze[1], 0)
    assert squeezed.shape == (4, 1, 1, 4)
    np.testing.assert_allclose(squeezed, expected, atol=1e-5)
    np.testing.assert_allclose(gate, 1 / (1 + np.exp(-(expected @ excite[0] + excite[1]))), atol=1e-5)
    np.testing.assert_allclose(scaled, x * gate, atol=1e-5)


# Multi-residual blocks


def test_every_branch_of_a_multi_residual_block_has_its_own_preactivation():
    model = skeleton(order="pre", branches=3)
    for block, letter in product(("stage1_block2", "stage2_block1"), "abc"):
        convolution = f"{block}_{letter}1_conv"
        reader = input_of(model, convolution)
        reader = input_of(model, reader) if reader.endswith("_pad") else reader
        assert (reader, input_of(model, reader)) == (f"{block}_{letter}0_relu", f"{block}_{letter}0_norm")


def test_a_multi_residual_block_sums_all_its_branches():
    model = network(order="pre", branches=3)
    names = ("stage1_block1_sum", *(f"stage1_block2_{letter}2_conv" for letter in "abc"), "stage1_block2_sum")
    *paths, total = values(model, *names)
    np.testing.assert_allclose(total, sum(paths), atol=1e-5)


def test_the_projection_of_a_multi_residual_block_reads_the_first_preactivation():
    assert input_of(skeleton(order="pre", branches=3), "stage2_block1_skip_conv") == "stage2_block1_a0_relu"


# Layer names


def blocks(row):
    return sum(map(len, row.stages)) * row.branches if isinstance(row, ResNetConfig) else sum(row.stages)


QUICK = [*(name for name, row in ROWS.items() if blocks(row) <= 16), "densenet40_k12", "fractalnet20"]
SCHEME = "|".join(
    [
        r"input_layer(_\d+)?",
        r"stem\d?_(pad|conv|norm|relu|pool_pad|pool)",
        r"stage\d_block\d+_[a-z]\d_(pad|conv|norm|relu|dropout)",
        r"stage\d_block\d+_[a-z]_(drop_path|scale|gated|se_(pool|squeeze|excite|scale))",
        r"stage\d_block\d+_skip_(pool|pad|conv|norm|relu|scale|gated|dropout|square)",
        r"stage\d_block\d+_(gate_(conv|rest)|sum|out_(norm|relu))",
        r"stage\d_block\d+_to_\d+_in",  # nested
        r"stage\d_block\d+_concat|stage\d_in_(norm|relu|conv|dropout|pool)",  # DenseNet
        r"stage\d_column\d_\d_(conv|norm|relu|dropout)|stage\d_join\d|draw_columns",  # FractalNet
        r"head_(norm|relu|pool|dropout)|predictions",
    ]
)
OPTIONS = dict(branches=2, se_ratio=4, dropout=0.3, drop_path=0.2, head_dropout=0.1)


def check_names(model):
    for name in layer_names(model):
        assert re.fullmatch(SCHEME, name), name
        assert len(name) <= 32


@pytest.mark.parametrize("name", QUICK)
def test_layer_names_of_networks_follow_the_scheme(name):
    check_names(undrawn(build, name))


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_layer_names_of_shortcuts_follow_the_scheme(shortcut):
    check_names(skeleton(shortcut=shortcut, order="relu_before_sum", **OPTIONS))


def test_layer_names_of_nested_networks_follow_the_scheme(monkeypatch):
    check_names(nested_network(monkeypatch, **OPTIONS))


@pytest.mark.parametrize("name", ["resnet50", "seresnet20"])
def test_networks_have_the_layers_that_others_address_by_name(name):
    asked = {"stem_conv", "stage2_block1_a1_conv", "stage2_block1_skip_conv", "head_pool", "predictions"}
    assert asked <= set(layer_names(undrawn(build, name)))


# FractalNet


PATHS = np.array([1, 10, 100], "float32")  # what the three inputs of a join hold: any mean tells which were kept
MEANS = {1: {0}, 10: {1}, 100: {2}, 5.5: {0, 1}, 50.5: {0, 2}, 55: {1, 2}, 37: {0, 1, 2}}


def inputs_kept(join, columns, training=True):
    """Sample by sample, the inputs that the join averages."""
    inputs = [np.full((len(columns), 1, 1, 1), value) for value in PATHS]
    joined = np.asarray(join(inputs, keras.ops.convert_to_tensor(columns, "int32"), training=training))
    return [MEANS[round(float(value), 3)] for value in joined.ravel()]


LOCAL = np.full(500, -1)


def test_a_join_is_the_mean_at_inference():
    columns = DrawColumns(3, 1.0)(LOCAL, training=False)
    assert np.all(np.asarray(columns) == -1)
    assert inputs_kept(Join(0.9), LOCAL, training=False) == [{0, 1, 2}] * len(LOCAL)


@pytest.mark.parametrize("rate", [0.5, 0.99])
def test_a_join_keeps_at_least_one_input_of_every_sample(rate):
    assert {frozenset(inputs) for inputs in inputs_kept(Join(rate, seed=0), LOCAL)} >= {
        frozenset({i}) for i in range(3)
    }


def test_a_join_drops_each_input_at_its_rate():
    inputs = inputs_kept(Join(0.2, seed=0), np.full(5000, -1))
    for path in range(3):
        assert abs(np.mean([path in some for some in inputs]) - (0.8 + 0.2**3 / 3)) < 0.03


def test_global_drop_path_keeps_the_same_column_through_all_joins():
    columns = np.asarray(DrawColumns(3, 1.0, seed=0)(LOCAL, training=True))
    assert set(columns) == {0, 1, 2}
    for seed in range(3):
        assert inputs_kept(Join(0.15, seed=seed), columns) == [{column} for column in columns]


def test_columns_are_drawn_for_the_share_of_samples_that_asks():
    columns = np.asarray(DrawColumns(3, 0.5, seed=0)(np.zeros(5000), training=True))
    assert abs(np.mean(columns >= 0) - 0.5) < 0.04
    assert set(columns) == {-1, 0, 1, 2}


def test_global_drop_path_leaves_one_column_of_the_network():
    """Column 3 alone is one convolution a block: figure 1."""
    model = fractalnet(FractalNetConfig(stages=(4,), drop_path=0.5, global_share=1.0), input_shape=(8, 8, 3))
    last = [layer.name for layer in model.layers if isinstance(layer, Join)][-1]
    column, single, joined = values(model, "draw_columns", "stage1_column3_1_relu", last, training=True, count=32)
    assert 0 < np.sum(column == 2) < 32
    same = np.all(np.isclose(single, joined, atol=1e-6), axis=(1, 2, 3))
    np.testing.assert_array_equal(same, column == 2)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_a_fractal_of_c_columns_has_2_to_the_c_minus_1_convolutions(columns):
    names = layer_names(fractalnet(FractalNetConfig(stages=(4,), columns=columns)))
    assert sum(name.endswith("_conv") for name in names) == 2**columns - 1
    assert sum("_column1_" in name and name.endswith("_conv") for name in names) == 2 ** (columns - 1)


def test_portable_turns_joins_into_averages():
    model = fractalnet(FractalNetConfig(stages=(4, 8), drop_path=0.15))
    joins = [layer.name for layer in model.layers if isinstance(layer, Join)]
    averages = [layer.name for layer in portable(model).layers if isinstance(layer, layers.Average)]
    assert len(joins) == 2 * 2  # in every block one within the longest path, and one at the end
    assert sorted(averages) == sorted(joins)


# The plan


def depth(name):
    return int(re.search(r"\d+", name)[0])


COUNTED = [name for name in ROWS if not re.fullmatch(r"wide_resnet.*_\d+|resnetrs.*", name)]


@pytest.mark.parametrize("name", COUNTED)
def test_a_network_is_as_deep_as_its_name_says(name):
    """He et al. 2015, table 1 and section 4.2: a stem, two or three convolutions a block, a classifier."""
    convolutions = {"basic": 2, "bottleneck": 3}[ROWS[name].branch]
    assert convolutions * len(list(plan(ROWS[name]))) + 2 == depth(name)


@pytest.mark.parametrize("name", ROWS)
def test_only_the_first_block_of_a_later_stage_halves_the_image(name):
    halving = [block.name for block in plan(ROWS[name]) if block.stride == 2]
    assert halving == [f"stage{stage}_block1" for stage in range(2, len(ROWS[name].stages) + 1)]


def test_a_plan_names_and_widens_its_blocks_in_order():
    found = [(block.name, block.filters) for block in plan(tiny(stages=((8, 9), (10, 11))))]
    assert found == [("stage1_block1", 8), ("stage1_block2", 9), ("stage2_block1", 10), ("stage2_block2", 11)]


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [  # (stride, dilation up to the convolution that strides, dilation behind it) as torchvision's dilated ResNets
        (32, [(1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1)]),
        (16, [(1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 2)]),
        (8, [(1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 2), (1, 2, 4), (1, 4, 4)]),
    ],
)
def test_output_stride_trades_strides_for_dilation(output_stride, expected):
    found = plan(tiny(stages=((8,) * 2,) * 4, stem="imagenet", output_stride=output_stride))
    assert [(block.stride, block.dilation, block.dilation_after) for block in found] == expected


@pytest.mark.parametrize(
    "changes",
    [
        dict(shortcut="A"),
        dict(shortcut="exclusive_gating"),
        dict(branch="bottleneck", stride_in="1x1"),
        dict(branch="bottleneck", stride_in="3x3"),
    ],
    ids=str,
)
def test_dilation_computes_what_strides_did_at_the_pixels_that_both_have(changes):
    changes = dict(stages=((8,), (8, 8), (16, 16), (16, 16)), stem="imagenet", **changes)
    strided, dilated = (network(45, **changes, output_stride=output_stride) for output_stride in (32, 8))
    copy_weights(strided, dilated)
    coarse, fine = (values(model, "stage4_block2_out_relu")[0] for model in (strided, dilated))
    np.testing.assert_allclose(fine[:, ::4, ::4], coarse, atol=1e-4)


def test_drop_path_rises_linearly_to_the_last_block():
    """Huang et al. 2016, equation 4."""
    rates = [block.drop_path for block in plan(tiny(drop_path=0.4))]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])
