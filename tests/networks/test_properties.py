"""Any row at any size builds, runs and counts right, or is refused with our own error."""

from itertools import chain
from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_resnet import (
    ORDERS,
    SHORTCUTS,
    STEMS,
    DenseNetConfig,
    FractalNetConfig,
    ResNetConfig,
    complexity,
    densenet,
    fractalnet,
    resnet,
)
from keras_resnet.graph.tracing import walk
from keras_resnet.networks.blocks import BRANCHES


def among(*values):
    return st.sampled_from(values)


def lists(elements, most):
    return st.lists(elements, min_size=1, max_size=most)


@st.composite
def stages(draw):
    """Stages of blocks' widths, three times in four never narrowing: what the shortcuts that pad need."""
    widths = draw(lists(lists(among(1, 3, 4, 5, 8, 12), 2), 4))
    rising = iter(sorted(chain(*widths)))
    return [[next(rising) for _ in stage] for stage in widths] if draw(st.integers(0, 3)) else widths


RATES = among(0, 0.0, 0.3)
COUNTS = st.integers(1, 5)
RESNETS = st.fixed_dictionaries(
    {"stages": stages(), "stem_filters": among(1, 1, 2, 5)},
    optional=dict(
        stem=among(*STEMS),
        order=among(*ORDERS),
        branch=among(*BRANCHES),
        shortcut=among(*SHORTCUTS),
        inner=among(0.01, 0.25, 0.5, 1, 1.5),
        groups=among(1, 1, 1, 2, 4),
        stride_in=among("1x1", "3x3"),
        branches=among(1, 2, 3),
        se_ratio=among(0, 1, 4, 100),
        zero_init=st.booleans(),
        output_stride=among(8, 16, 32),
        gate_bias=among(-6.0, 0, 2.5),
        image_size=among(None, 64),
        **dict.fromkeys(("dropout", "drop_path", "head_dropout"), RATES),
    ),
)
DENSENETS = st.fixed_dictionaries(
    {"stages": lists(st.integers(1, 3), 4)},
    optional=dict(
        stem=among("cifar", "imagenet"),
        bottleneck=among(0, 1, 4),
        compression=among(0.01, 0.5, 1, 1.0),
        **dict.fromkeys(("growth", "stem_filters"), COUNTS),
        **dict.fromkeys(("dropout", "head_dropout"), RATES),
    ),
)
FRACTALNETS = st.fixed_dictionaries(
    {"stages": lists(COUNTS, 4)},
    optional=dict(
        columns=st.integers(1, 3),
        global_share=among(0, 0.5, 1),
        **dict.fromkeys(("drop_path", "dropout", "head_dropout"), RATES),
    ),
)
SHAPES = st.tuples(st.integers(8, 33), st.integers(8, 33), COUNTS)


def brute_force(model):
    """Multiply-adds of every kernel, from the shapes that Keras inferred when it built the graph."""
    kernels = ((layer.kernel.shape, layer.output.shape) for layer in walk(model) if hasattr(layer, "kernel"))
    return sum(prod(kernel[:-1]) * prod(output[1:]) for kernel, output in kernels)


def check(network, shape, free):
    """Whether the network builds for images of that shape, and for any where `free`; fails where it is wrong."""
    try:
        fixed = network(input_shape=shape)
    except ValueError as error:
        if not str(error).startswith("Invalid value for argument"):
            raise
        return False
    model = network(input_shape=(None, None, shape[2])) if free else fixed
    images = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    for training in (False, True):
        probabilities = np.asarray(model(images, training=training))
        assert probabilities.shape == (2, 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    counted = complexity(model, input_shape=shape)
    assert counted.params == model.count_params()
    assert counted.macs == brute_force(fixed)
    return True


@pytest.mark.parametrize(
    ("config", "builder", "rows", "examples"),
    [
        (ResNetConfig, resnet, RESNETS, 20),
        (DenseNetConfig, densenet, DENSENETS, 10),
        (FractalNetConfig, fractalnet, FRACTALNETS, 10),
    ],
)
def test_any_row_builds_runs_and_counts_right_or_is_refused(config, builder, rows, examples):
    built = []

    @settings(deadline=None, max_examples=examples, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(fields=rows, shape=SHAPES, free=st.booleans())
    def every_row(fields, shape, free):
        built.append(check(lambda **image: builder(config(**fields), classes=3, **image), shape, free))

    every_row()
    assert sum(built) >= examples / 2
