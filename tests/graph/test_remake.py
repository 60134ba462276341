"""Models are made again with other layers, and the same weights, names and card."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_resnet
from keras_resnet.graph.remake import copied, portable, remade

IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")


def network(**changes):
    return keras_resnet.build("resnet20", input_shape=(16, 16, 3), stages=((8,), (16,)), stem_filters=8, **changes)


def nested():
    inside = keras.Input((16, 16, 4))
    block = keras.Model(inside, layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inside)))
    chain = keras.Sequential([keras.Input((16, 16, 4)), layers.Dense(4), layers.Dense(2)])
    x = keras.Input((16, 16, 3))
    return keras.Model(x, chain(block(block(layers.Conv2D(4, 1)(x)))))


def sequential():
    return keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.ReLU(), layers.Flatten()])


@pytest.mark.parametrize("build", [network, nested, sequential])
def test_it_is_the_same_again(build):
    model = build()
    again = remade(model)
    assert [(v.name, v.shape) for v in again.weights] == [(v.name, v.shape) for v in model.weights]
    assert not {id(v) for v in again.weights} & {id(v) for v in model.weights}
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_it_has_the_card_and_leaves_the_model_as_it_is():
    model = network()
    before = model.get_config()
    assert keras_resnet.card(remade(model)) == keras_resnet.card(model)
    assert model.get_config() == before


def test_layers_are_replaced_however_deep():
    def linear(layer):
        return copied(layer, activation="linear") if isinstance(layer, layers.Dense) else copied(layer)

    def dense(model):
        return [layer.activation.__name__ for layer in model.layers[-1].layers if isinstance(layer, layers.Dense)]

    x = keras.Input((3,))
    model = keras.Model(x, keras.Sequential([keras.Input((3,)), layers.Dense(3, "relu"), layers.Dense(2, "relu")])(x))
    assert (dense(model), dense(remade(model, linear))) == (["relu"] * 2, ["linear"] * 2)


def test_weights_of_a_copy_may_be_others():
    model = sequential()
    zeroed = remade(model, weights=lambda layer: [0 * weight for weight in layer.get_weights()])
    assert not np.any(zeroed(IMAGES))
    assert np.any(model(IMAGES))


@pytest.mark.parametrize("changes", [{}, {"stem": "imagenet_bare", "order": "pre"}], ids=["layers", "an operation"])
def test_a_network_of_half_precision_is_made_again_in_single(changes):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network(**changes)
    finally:
        keras.config.set_dtype_policy("float32")
    whole = remade(model, lambda layer: copied(layer, dtype="float32"))
    assert {layer.compute_dtype for layer in whole.layers} == {"float32"}
    np.testing.assert_allclose(whole(IMAGES), model(IMAGES), atol=0.05)


def test_a_portable_network_is_built_without_drawing(monkeypatch):
    model = network(drop_path=0.1)
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", None)
    np.testing.assert_array_equal(portable(model)(IMAGES), model(IMAGES))
