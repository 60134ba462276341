"""Large kernels are drawn by us: from He's distribution, by the seed, and only where they are not loaded."""

from math import prod, sqrt
from statistics import NormalDist

import keras
import numpy as np
import pytest

from keras_resnet import ResNetConfig, resnet
from keras_resnet.networks import he_normal
from keras_resnet.networks.layers import conv

WIDE = ResNetConfig(stages=((256,),), stem_filters=8, groups=2, branch="bottleneck", inner=2.0)


def convolution(channels, filters, **settings):
    """The layer, with 3x3 kernels."""
    x = conv(keras.Input((8, 8, channels)), filters, 3, "only", **settings)
    return x._keras_history.operation


def kernels(model):
    return {layer.name: np.array(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")}


@pytest.fixture(scope="module")
def large():
    keras.utils.set_random_seed(0)
    return convolution(256, 256)


def test_large_kernels_have_hes_distribution(large):
    """Kolmogorov and Smirnov's test, at one in a thousand."""
    values, stddev = np.sort(np.ravel(large.kernel)), sqrt(2 / (3 * 3 * 256)) / he_normal.STDDEV_WITHIN_2
    normal = NormalDist(0, stddev)
    below, share = normal.cdf(-2 * stddev), normal.cdf(2 * stddev) - normal.cdf(-2 * stddev)
    expected = (np.array([normal.cdf(value) for value in values[::10]]) - below) / share
    assert np.abs(expected - np.arange(values.size)[::10] / values.size).max() < 1.95 / sqrt(values.size)
    assert np.abs(values).max() <= 2 * stddev
    assert values.std() == pytest.approx(sqrt(2 / (3 * 3 * 256)), rel=0.005)


def test_grouped_kernels_are_drawn_by_the_channels_of_a_group():
    kernel = np.array(convolution(512, 512, groups=4).kernel)
    assert kernel.std() == pytest.approx(sqrt(2 / (3 * 3 * 128)), rel=0.005)


def test_values_are_quantiles_of_the_uniform_ones():
    values, seed = np.empty(1000, np.float32), (3, 0)
    he_normal.fill(values, 1.0, seed)
    uniform = np.random.Generator(np.random.SFC64(seed)).random(1000, np.float32).astype("float64")
    expected = [NormalDist().inv_cdf(0.5 + (u - 0.5) * he_normal.WITHIN_2) for u in uniform]
    np.testing.assert_allclose(values, expected, atol=2e-6)


def test_no_piece_repeats_another():
    pieces = he_normal.truncated_normal(4 * he_normal.PIECE, 1.0, seed=0).reshape(4, -1)
    correlation = np.corrcoef(pieces) - np.eye(4)
    assert np.abs(correlation).max() < 0.03


def test_large_kernels_follow_the_seed(large):
    keras.utils.set_random_seed(0)
    same, next_one = convolution(256, 256), convolution(256, 256)
    np.testing.assert_array_equal(same.kernel, large.kernel)
    assert not np.any(np.array(next_one.kernel) == np.array(large.kernel))


@pytest.mark.parametrize("filters", [16, 64])
def test_small_kernels_are_kerass_own_to_the_bit(filters):
    layer = convolution(64, filters)
    assert prod(layer.kernel.shape) < he_normal.LARGE
    np.testing.assert_array_equal(layer.kernel, layer.kernel_initializer(layer.kernel.shape))


def test_files_name_kerass_initializer(large):
    settings = keras.saving.serialize_keras_object(keras.initializers.HeNormal())
    assert large.get_config()["kernel_initializer"] == settings


def test_half_precision_gets_the_same_values(large):
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    try:
        keras.config.set_dtype_policy("bfloat16")
        half = convolution(256, 256)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(np.array(half.kernel, "float32"), large.kernel, rtol=2**-8)


@pytest.mark.parametrize("classes", [10, 7])
def test_weights_that_are_loaded_are_not_drawn(classes, monkeypatch):
    source = resnet(WIDE)
    with monkeypatch.context() as patch:
        patch.setattr(he_normal, "kernel", lambda *_, **__: pytest.fail("a kernel was drawn"))
        model = resnet(WIDE, weights=source, classes=classes)
    ours, theirs = kernels(model), kernels(source)
    assert all((ours[name] == theirs[name]).all() for name in ours if name != "predictions")
    assert ours["predictions"].all()  # a new classifier is drawn
