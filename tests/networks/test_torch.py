"""Strides, paddings, norms, pools and whole networks are torch's: `torch_reference.py` says what it computes."""

from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest

from helpers.live import live
from helpers.torch_networks import NETWORKS, REFERENCE, assert_equal, load, variables
from keras_resnet import SHORTCUTS, ResNetConfig, resnet
from keras_resnet.networks.config import Block
from keras_resnet.networks.layers import average_pool, conv, max_pool, max_pool_signed, norm, relu, squeeze_excite

STRIDED_TO_7 = Block("stage2_block1", filters=7, step=2, stride=2, dilation=1, drop_path=0.0)

PRIMITIVES = {
    "conv3x3_stride2": lambda x: conv(x, 6, 3, "unit", stride=2),
    "conv7x7_stride2": lambda x: conv(x, 3, 7, "unit", stride=2),
    "conv1x1_stride2": lambda x: conv(x, 6, 1, "unit", stride=2),
    "conv3x3_groups2": lambda x: conv(x, 6, 3, "unit", groups=2),
    "conv3x3_groups4_stride2": lambda x: conv(x, 8, 3, "unit", stride=2, groups=4),
    "conv3x3_dilation2": lambda x: conv(x, 6, 3, "unit", dilation=2),
    "max_pool": lambda x: max_pool(relu(x, "unit"), "unit"),
    "max_pool_signed": lambda x: max_pool_signed(x, "unit"),
    "average_pool": lambda x: average_pool(x, 2, "unit"),
    "option_a": lambda x: SHORTCUTS["A"].changed(x, x, STRIDED_TO_7, None)[0],
    "squeeze_excite": lambda x: squeeze_excite(x, 2, "unit"),
    "norm": lambda x: norm(x, "unit"),
}


def primitive(name, record):
    x = keras.Input(record["input"].shape[1:])
    return load(keras.Model(x, PRIMITIVES[name](x)), record)


def network(name, record):
    """The model from the images to the last layer of every stage and to the logits."""
    logits = {"classes": record["output"].shape[-1], "classifier_activation": None}
    model = load(resnet(NETWORKS[name], input_shape=record["input"].shape[1:], **logits), record)
    stages = {layer.name.split("_")[0]: layer.output for layer in model.layers if layer.name.startswith("stage")}
    return keras.Model(model.input, {**stages, "output": model.output})


def compare(name, record):
    if name in PRIMITIVES:
        assert_equal(primitive(name, record)(record["input"]), record["output"])
    else:
        outputs = network(name, record)(record["input"])
        assert {field for field in record.dtype.names if field.startswith("stage") and "/" not in field} < set(outputs)
        for field, output in outputs.items():
            assert_equal(output, record[field])


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitive_is_torchs(name):
    compare(name, REFERENCE[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_torchs_stage_by_stage(name):
    compare(name, REFERENCE[name])


def test_norm_in_training_is_torchs():
    record = REFERENCE["norm_training"]
    assert_equal(primitive("norm", record)(record["input"], training=True), record["output"])


def test_running_mean_is_torchs_and_running_variance_but_for_bessels_correction():
    record = REFERENCE["norm_training"]
    model = primitive("norm", record)
    model(record["input"], training=True)
    assert_equal(variables(model)["unit_norm/moving_mean"], record["moving_mean_after"])
    count = record["input"][..., 0].size
    kept = 0.9 * record["unit_norm/moving_variance"].astype("float32")
    biased = (record["moving_variance_after"] - kept) * (count - 1) / count
    assert_equal(variables(model)["unit_norm/moving_variance"], kept + biased)


def test_every_record_is_compared():
    assert {*PRIMITIVES, *NETWORKS, "norm_training"} == set(REFERENCE)


@cache
def computed(seed):
    live("torch")
    from helpers import torch_reference

    return torch_reference.reference(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PRIMITIVES, *NETWORKS])
def test_live_torch_with_another_seed_is_equal(name):
    compare(name, computed(seed=1)[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCE)
def test_live_torch_computes_the_committed_records(name):
    record = computed(seed=2015)[name]
    assert REFERENCE[name].dtype == record.dtype
    for field in record.dtype.names:
        assert_equal(REFERENCE[name][field], record[field])


def features_of(config):
    """The model from images to the last stage, with random weights that depend on their names only."""
    model = resnet(config, input_shape=(65, 50, 3), include_top=False)
    for name, variable in sorted(variables(model).items()):
        random = np.random.default_rng(list(name.encode()))
        if name.endswith("kernel"):
            variable.assign(random.normal(0, np.sqrt(2 / np.prod(variable.shape[:3])), variable.shape))
        else:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize(
    "changes",
    [{"branch": "basic"}, {"branch": "bottleneck", "stride_in": "1x1"}, {"branch": "bottleneck", "stride_in": "3x3"}],
    ids=lambda changes: "_".join(changes.values()),
)
def test_dilated_network_subsampled_is_the_strided_network(changes, shortcut, output_stride):
    stages = ((8,), (12, 12), (12, 12), (16, 16))
    strided = ResNetConfig(stages=stages, stem="imagenet", stem_filters=8, shortcut=shortcut, **changes)
    dilated = replace(strided, output_stride=output_stride)
    images = np.random.default_rng(0).normal(size=(1, 65, 50, 3)).astype("float32")
    coarse, step = features_of(strided)(images), 32 // output_stride
    assert coarse.shape[1:3] == (3, 2)  # 65 and 50 pixels, a 32nd of them
    assert_equal(features_of(dilated)(images)[:, ::step, ::step], coarse)
