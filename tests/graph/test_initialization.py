"""Networks that are built to be counted or to be loaded draw no weights."""

from threading import Thread

import keras
import numpy as np
import pytest
from keras import layers

import keras_resnet
from keras_resnet.graph.initialization import without_weights, zero_kernels

GROUPED_WITH_DROPOUT = dict(stages=((32,), (32,)), groups=4, drop_path=0.1, se_ratio=4)


@pytest.fixture
def draws(monkeypatch):
    """The shapes that He's initializer is asked for, and that it refuses to draw."""
    shapes = []

    def refuse(initializer, shape, dtype=None):
        shapes.append(shape)
        return keras.ops.zeros(shape, dtype)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", refuse)
    return shapes


def test_a_network_without_weights_costs_what_the_network_costs():
    expected = keras_resnet.complexity(keras_resnet.build("resnext29_32x4d", **GROUPED_WITH_DROPOUT))
    with without_weights():
        model = keras_resnet.build("resnext29_32x4d", **GROUPED_WITH_DROPOUT)
        assert keras_resnet.complexity(model) == expected
    assert keras_resnet.complexity(model) == expected


def test_without_weights_nothing_is_drawn_then_or_later(draws):
    with without_weights():
        keras_resnet.ResNet20()
    layers.ReLU()(keras.Input((3,)))  # the end of a scope of Keras', where it initializes what it has listed
    assert draws == []


def test_without_weights_is_over_where_it_ends():
    with pytest.raises(KeyError), without_weights():
        raise KeyError
    dense = layers.Dense(1)
    dense.build((None, 2))
    assert np.all(dense.get_weights()[0] != 0)


def test_zero_kernels_draws_nothing_and_keeps_what_is_constant(draws):
    with zero_kernels():
        model = keras_resnet.ResNet20()
    assert draws == []
    values = {v.path: v.numpy() for v in model.weights}
    assert not values["stem_conv/kernel"].any()
    assert values["stem_norm/gamma"].all()


def test_zero_kernels_leaves_the_file_and_the_seeds_as_they_are():
    def network():
        keras.utils.set_random_seed(0)
        return keras_resnet.build("resnext29_32x4d", **GROUPED_WITH_DROPOUT)

    def configs(model):
        return [layer.get_config() for layer in model.layers[1:]]

    def seeds(model):
        return [v.numpy().tolist() for v in model.non_trainable_variables if "seed" in v.path]

    with zero_kernels():
        zeros = network()
    assert configs(zeros) == configs(network())
    assert seeds(zeros) == seeds(network()) != []


def test_a_network_of_zero_kernels_takes_weights():
    drawn = keras_resnet.ResNet20()
    with zero_kernels():
        loaded = keras_resnet.ResNet20()
    loaded.set_weights(drawn.get_weights())
    images = np.ones((1, 32, 32, 3), "float32")
    np.testing.assert_array_equal(loaded(images), drawn(images))


def test_zero_kernels_are_for_one_thread():
    dense = layers.Dense(1)
    with zero_kernels():
        other = Thread(target=dense.build, args=((None, 2),))
        other.start()
        other.join()
    assert np.all(dense.get_weights()[0] != 0)


def test_zero_kernels_end_with_an_error():
    with pytest.raises(KeyError), zero_kernels():
        raise KeyError
    dense = layers.Dense(1)
    dense.build((None, 2))
    assert np.all(dense.get_weights()[0] != 0)
