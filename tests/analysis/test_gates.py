"""Gates on a network's paths: open they change nothing, and paths add up to the network."""

from importlib import import_module
from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.small_networks import DATA, READING, ROWS, batch, dense, gradient, network, under
from keras_resnet import analysis
from keras_resnet.analysis.gates import blocks, gated, gates, logits, opened


def nested(monkeypatch):
    """As the networks that are too deep for Keras are."""
    module = import_module("keras_resnet.networks.resnet")
    monkeypatch.setattr(module, "PART", 2)
    monkeypatch.setattr(module, "LONGEST_CHAIN", 0)
    return network(stages=((4,) * 3, (8,) * 3))


@pytest.mark.parametrize("name", [*ROWS, "dense"])
def test_a_network_with_all_gates_open_is_the_network(name):
    model = dense() if name == "dense" else network(**ROWS[name])
    outputs = under(model, opened(blocks(model)))
    np.testing.assert_array_equal(outputs, model(batch()[0], training=False))


def test_gates_are_gone_behind(residual):
    before = np.asarray(residual(batch()[0]))
    assert not np.array_equal(under(residual, np.zeros((4, 2), "float32")), before)
    np.testing.assert_array_equal(residual(batch()[0]), before)


def test_a_gate_for_the_gradient_does_not_change_what_is_computed(residual):
    outputs = under(residual, opened(blocks(residual)), np.zeros((4, 2), "float32"))
    np.testing.assert_array_equal(outputs, residual(batch()[0]))


def loss(outputs):
    return tf.nn.softmax_cross_entropy_with_logits(batch()[1], outputs)


@pytest.mark.parametrize("name", ["resnet", "two branches, gated shortcuts", "dense"])
def test_the_gradients_of_all_paths_add_up_to_the_gradient(name):
    model = dense() if name == "dense" else network(**ROWS[name])
    parts, images = blocks(model), batch()[0]

    def along(backward):
        def outputs(x):
            with gated(parts, gates(opened(parts), backward)), logits(model):
                return loss(model(x, training=False))

        return gradient(outputs, images)

    choices = product(([1, 0], [0, 1]), repeat=len(parts))
    total = sum(along(np.float32(choice)) for choice in choices)
    expected = gradient(lambda x: loss(keras.ops.log(model(x))), images)
    np.testing.assert_allclose(total, expected, atol=1e-4 * np.abs(expected).max())


def test_nested_networks_are_inspected_as_flat_ones(monkeypatch):
    flat = network(stages=((4,) * 3, (8,) * 3))
    deep = nested(monkeypatch)
    assert any(isinstance(layer, keras.Model) for layer in deep.layers)
    deep.set_weights(flat.get_weights())
    for find in (analysis.layer_responses, analysis.block_gradients):
        ours, theirs = (find(model, DATA, images=20, **READING) for model in (deep, flat))
        assert ours.names == theirs.names
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5)
    left = opened(blocks(flat))
    left[[1, 4]] = 1, 0
    np.testing.assert_allclose(under(deep, left), under(flat, left), rtol=1e-5)
    assert analysis.drawing(deep) == analysis.drawing(flat)
