"""The fused norm computes and learns what Keras' does, by TensorFlow's kernel where there is one."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_resnet
from keras_resnet.graph.tracing import recorded
from keras_resnet.kernels.batch_norm import fused
from keras_resnet.networks.layers import BATCH_NORM

KERNEL = "FusedBatchNormV3"


def images(*shape):
    return np.random.default_rng(0).normal(1, 2, shape).astype("float32")


def pair(shape, **settings):
    """Ours and Keras', with the same weights."""
    ours, theirs = (layers.BatchNormalization(**BATCH_NORM | settings) for _ in range(2))
    fused(ours)
    for layer in (ours, theirs):
        layer.build(shape)
    theirs.set_weights([images(*weight.shape) ** 2 for weight in ours.weights])
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def step(layer, x):
    """What it returns, what its inputs' and weights' gradients are, and its moving statistics after it."""
    x = tf.cast(x, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32") ** 3)
    gradients = tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])
    return [y, *gradients, *layer.non_trainable_weights]


def expect_equal(ours, theirs, tolerance):
    for one, other in zip(ours, theirs, strict=True):
        one, other = (np.array(tf.cast(value, "float32")) for value in (one, other))
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


def kernels(layer, shape, **call):
    """How often the fused kernel stands in the layer's graph."""
    function = tf.function(lambda x: layer(x, **call), autograph=False)
    operations = function.get_concrete_function(tf.TensorSpec(shape, layer.compute_dtype)).graph.get_operations()
    return [op.type for op in operations].count(KERNEL)


@pytest.mark.parametrize("shape", [(4, 8, 8, 16), (3, 5, 7, 1), (8, 1, 1, 6), (1, 1, 1, 3)], ids=str)
def test_a_training_step_is_keras(shape):
    ours, theirs = pair(shape)
    expect_equal(step(ours, images(*shape)), step(theirs, images(*shape)), 1e-4)
    assert kernels(ours, shape, training=True) == 1


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_a_training_step_in_half_precision_is_keras(dtype):
    ours, theirs = pair((8, 8, 8, 16), dtype=dtype)
    results = [step(layer, images(8, 8, 8, 16)) for layer in (ours, theirs)]
    expect_equal(*results, 2e-2)
    assert [value.dtype for value in results[0]] == [value.dtype for value in results[1]]
    expect_equal(results[0][-2:], results[1][-2:], 1e-5)  # the statistics are in single precision
    assert kernels(ours, (8, 8, 8, 16), training=True) == 1


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_it_keeps_keras_when_there_is_no_kernel(dtype):
    """Half precision has its kernels for pictures alone."""
    ours, theirs = pair((8, 6), dtype=dtype)
    expect_equal(step(ours, images(8, 6)), step(theirs, images(8, 6)), 1e-6)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"axis": 1}, (4, 5, 6, 7)),
        ({}, (16, 6)),
        ({}, (4, 3, 3, 3, 6)),
        ({"scale": False}, (4, 5, 6, 7)),
        ({"center": False}, (4, 5, 6, 7)),
        ({"renorm": True}, (4, 5, 6, 7)),
        ({"synchronized": True}, (4, 5, 6, 7)),
        ({"dtype": "float64"}, (4, 5, 6, 7)),
        ({"dtype": "bfloat16"}, (4, 5, 6, 7)),
    ],
    ids=str,
)
def test_what_the_kernel_does_not_do_is_left_to_keras(settings, shape):
    ours, theirs = pair(shape, **settings)
    assert kernels(ours, shape, training=True) == 0
    if not settings.get("renorm"):
        expect_equal(step(ours, images(*shape)), step(theirs, images(*shape)), 1e-6)


def test_a_masked_batch_is_left_to_keras():
    ours, theirs = pair((4, 5, 6, 7))
    x, mask = images(4, 5, 6, 7), images(4, 5, 6) > 1
    expect_equal(*([layer(x, training=True, mask=mask)] for layer in (ours, theirs)), 1e-6)


@pytest.mark.parametrize("training", [False, None])
def test_inference_and_frozen_norms_use_the_moving_statistics(training):
    ours, theirs = pair((4, 5, 6, 7))
    x = images(4, 5, 6, 7)
    np.testing.assert_array_equal(ours(x, training=training), theirs(x, training=training))
    ours.trainable = theirs.trainable = False
    np.testing.assert_array_equal(ours(x, training=True), theirs(x, training=True))
    assert kernels(ours, x.shape, training=True) == 0


def test_a_training_step_under_xla_is_keras():
    ours, theirs = pair((4, 5, 6, 7))
    x = tf.constant(images(4, 5, 6, 7))
    compiled = tf.function(lambda: step(ours, x)[:-2], jit_compile=True, autograph=False)
    results = [*compiled(), *ours.non_trainable_weights]
    expect_equal(results, step(theirs, x), 1e-4)


def test_it_can_be_pickled():
    norm, _ = pair((4, 5, 6, 7))
    copy = pickle.loads(pickle.dumps(norm))
    assert copy.get_config() == norm.get_config()
    expect_equal([copy(images(4, 5, 6, 7))], [norm(images(4, 5, 6, 7))], 1e-6)


def test_any_number_of_images():
    ours, theirs = pair((None, None, None, 6))
    for count in (3, 4):
        expect_equal(step(ours, images(count, 5, 5, 6)), step(theirs, images(count, 5, 5, 6)), 1e-4)
    assert kernels(ours, (None, None, None, 6), training=True) == 1


def trained_kernels(model):
    """How many of the fused kernels a training step of the model runs."""
    return kernels(model, model.input_shape, training=True)


def test_networks_train_by_it():
    model = keras_resnet.ResNet20()
    assert {type(layer) for layer in model.layers if layer.name.endswith("_norm")} == {layers.BatchNormalization}
    assert trained_kernels(model) == 19


def test_watching_a_norm_leaves_its_kernel():
    model = keras_resnet.ResNet20()
    with recorded(model.layers[1:]):
        model(images(1, 32, 32, 3))
    assert trained_kernels(model) == 19


def test_a_file_that_this_package_loads_has_its_kernels(tmp_path):
    keras_resnet.ResNet20().save(tmp_path / "model.keras")
    assert trained_kernels(keras_resnet.load_model(tmp_path / "model.keras")) == 19
    assert trained_kernels(keras.models.load_model(tmp_path / "model.keras")) == 0


def test_a_portable_network_has_none():
    assert trained_kernels(keras_resnet.portable(keras_resnet.ResNet20())) == 0
