"""Folded networks compute what the networks compute, with as few norms as can be."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_resnet
from keras_resnet import fold_batch_norm
from keras_resnet.graph.tracing import walk


def trained(model, most=1.5):
    """Its norms have seen something: no statistic and no gamma is what it started as."""
    rng, positive = np.random.default_rng(0), (most / 3, most)
    spans = {"gamma": positive, "beta": (-0.3, 0.3), "moving_mean": (-0.3, 0.3), "moving_variance": positive}
    for layer in walk(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(*spans[v.name], v.shape) for v in layer.weights])
    return model


def norms(model):
    return [layer.name for layer in walk(model) if isinstance(layer, layers.BatchNormalization)]


def expect_equal(model, tolerance=1e-5):
    """Returns the folded one."""
    folded = fold_batch_norm(model)
    images = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    expected, actual = (keras.ops.convert_to_numpy(network(images, training=False)) for network in (model, folded))
    assert expected.std() > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    return folded


def tiny(name, **changes):
    settings = {"classes": 4, "classifier_activation": None, "input_shape": (16, 16, 3)} | changes
    keras.utils.set_random_seed(0)
    return trained(keras_resnet.build(name, **settings))


STAGES = ((16, 16), (32, 32))
PRE_NORMS = [f"stage{stage}_block{block}_a0_norm" for stage in (1, 2) for block in (1, 2)]


NORMS_LEFT = {  # what is left of small networks
    "resnet20": ({"stages": STAGES, "shortcut": "B"}, []),
    "plain20": ({"stages": STAGES}, []),
    "resnext29_32x4d": ({"stages": STAGES, "groups": 4, "inner": 0.5}, []),
    "seresnet20": ({"stages": STAGES}, []),
    "resnet18d": ({"stages": STAGES, "input_shape": (32, 32, 3)}, []),
    "fractalnet20": ({}, []),
    "resnet110v2": ({"stages": STAGES}, [*PRE_NORMS, "head_norm"]),
    # the first norm of a bottleneck's 1x1 convolution alone goes into it
    "pyramidnet110_a48": ({"stages": STAGES, "branch": "bottleneck", "stem_filters": 16}, ["head_norm"]),
    "densenetbc100_k12": ({"stages": (2, 2)}, None),
}


@pytest.mark.parametrize(("name", "changes", "left"), [(name, *row) for name, row in NORMS_LEFT.items()])
def test_networks_keep_their_outputs(name, changes, left):
    folded = expect_equal(tiny(name, **changes))
    if left is not None:
        assert norms(folded) == left


def test_a_norm_before_a_bordered_convolution_stays():
    folded = expect_equal(tiny("pyramidnet110_a48", stages=STAGES, stem_filters=16))
    assert norms(folded) == [*PRE_NORMS, "head_norm"]


def of(layers_of):
    inputs = keras.Input((8, 8, 4))
    return trained(keras.Model(inputs, layers_of(inputs)))


def norm(x):
    return layers.BatchNormalization()(x)


def conv(x, size=1, **settings):
    return layers.Conv2D(6, size, padding="same", **settings)(x)


class TestWhatStays:
    def test_a_convolution_that_something_else_reads_too(self):
        assert norms(expect_equal(of(lambda x: layers.Add()([norm(y := conv(x, 3)), y]))))

    def test_a_convolution_that_is_an_output_too(self):
        model = of(lambda x: [norm(y := conv(x, 3)), y])
        assert norms(fold_batch_norm(model))

    def test_a_norm_behind_an_activation(self):
        assert norms(expect_equal(of(lambda x: norm(conv(x, 3, activation="relu")))))

    def test_a_convolution_of_the_users_own(self):
        class Standardized(layers.Conv2D):
            def call(self, inputs):
                return keras.ops.conv(inputs, self.kernel - keras.ops.mean(self.kernel), padding="valid")

        assert norms(expect_equal(of(lambda x: norm(Standardized(4, 1)(x))))) != []

    def test_a_convolution_called_twice(self):
        shared = layers.Conv2D(4, 3, padding="same")
        assert len(norms(expect_equal(of(lambda x: norm(shared(norm(shared(x)))))))) == 2

    def test_a_norm_called_twice(self):
        shared = layers.BatchNormalization()
        assert norms(expect_equal(of(lambda x: shared(conv(shared(conv(x)))))))

    def test_a_norm_over_another_axis(self):
        assert norms(expect_equal(of(lambda x: layers.BatchNormalization(axis=1)(conv(x)))))

    def test_a_norm_that_always_uses_its_batch(self):
        assert norms(fold_batch_norm(of(lambda x: layers.BatchNormalization()(conv(x), training=True))))


class TestWhatGoes:
    def test_a_norm_that_pointwise_layers_alone_read(self):
        model = of(lambda x: layers.Concatenate()([conv(y := norm(x)), layers.Dense(3)(y), conv(y, strides=1)]))
        assert not norms(expect_equal(model))

    def test_norms_on_both_sides_of_a_convolution(self):
        assert not norms(expect_equal(of(lambda x: norm(conv(norm(x))))))

    def test_two_norms_behind_each_other(self):
        assert not norms(expect_equal(of(lambda x: norm(norm(conv(x, 3))))))

    def test_norms_without_scale_or_center(self):
        bare = layers.BatchNormalization(scale=False, center=False)
        assert not norms(expect_equal(of(lambda x: bare(conv(x, 3, use_bias=False)))))

    def test_models_inside(self):
        inside = keras.Input((8, 8, 4))
        block = keras.Model(inside, norm(layers.Conv2D(4, 3, padding="same")(inside)))
        assert not norms(expect_equal(of(lambda x: block(block(x)))))

    def test_a_sequential_model(self):
        chain = [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
        assert not norms(expect_equal(trained(keras.Sequential(chain))))

    def test_a_sequential_model_inside(self):
        chain = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3), layers.BatchNormalization()])
        assert not norms(expect_equal(of(lambda x: chain(x))))


def test_it_has_the_card_and_leaves_the_model_as_it_is():
    model = tiny("resnet20", stages=STAGES)
    before = model.get_weights()
    assert keras_resnet.card(fold_batch_norm(model)) == keras_resnet.card(model)
    assert all(map(np.array_equal, model.get_weights(), before))


def test_a_folded_model_can_be_saved_and_loaded(tmp_path):
    folded = fold_batch_norm(tiny("resnext29_32x4d", stages=STAGES, groups=4, inner=0.5))
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    assert all(map(np.array_equal, loaded.get_weights(), folded.get_weights()))


def test_in_mixed_precision_the_folded_weights_are_whole():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny("resnet20", stages=STAGES)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in fold_batch_norm(model).weights} == {"float32"}


@pytest.mark.parametrize("model", [None, keras.Sequential(), layers.Dense(3)])
def test_what_has_no_graph_is_refused(model):
    with pytest.raises(ValueError, match=r"`model`. Expected a functional or built sequential"):
        fold_batch_norm(model)


@pytest.mark.slow
def test_networks_that_are_nested():
    model = tiny("plain1202", stages=((8,) * 130,), stem_filters=8)
    assert any(isinstance(layer, keras.Model) for layer in model.layers)
    assert not norms(expect_equal(trained(model, most=0.3)))
