"""Rematerialized networks are the same networks: in what they give, learn, draw, count and save."""

from importlib import import_module

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet
from keras_resnet.experiment import Run
from keras_resnet.training import RECIPES, check_fit
from keras_resnet.training.train import compiled

IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
LABELS = np.arange(4)
SMALL = dict(stages=((8, 8), (16,)), stem_filters=8)
NETWORKS = {  # name -> what makes it small, and draws
    "resnet20": dict(SMALL, drop_path=0.4, dropout=0.2),
    "resnet110v2": SMALL,
    "plain20": SMALL,
    "resnext29_32x4d": dict(stages=((32,),), stem_filters=8, groups=4, se_ratio=4),
    "densenetbc100_k12": dict(stages=(2, 2), growth=4, dropout=0.2),
    "fractalnet20": dict(stages=(4, 8), columns=2, drop_path=0.15, dropout=0.2),
}


def pair(name, **changes):
    """The network as it is and with `remat`, of the same weights and seeds."""
    networks = []
    for remat in (False, True):
        keras.utils.set_random_seed(1)
        networks.append(keras_resnet.build(name, input_shape=(16, 16, 3), remat=remat, **(NETWORKS[name] | changes)))
    return networks


def step(model):
    """(outputs, gradients, then what norms and dropouts keep) of a training step."""

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            outputs = model(IMAGES, training=True)
            loss = tf.reduce_sum(keras.losses.sparse_categorical_crossentropy(LABELS, outputs))
        return outputs, tape.gradient(loss, model.trainable_variables)

    return *gradients(), [v.numpy() for v in model.non_trainable_variables]


def assert_same(actual, expected):
    for ours, theirs in zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(np.asarray(ours, "float32"), np.asarray(theirs, "float32"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_gives_the_same_gradients_and_moves_statistics_and_draws_once(name):
    plain, remat = pair(name)
    before = [v.numpy() for v in remat.non_trainable_variables]
    outputs, gradients, state = step(remat)
    assert_same((outputs, gradients, state), step(plain))
    assert any(np.any(old != new) for old, new in zip(before, state, strict=True))
    assert [v.path for v in remat.weights] == [v.path for v in plain.weights]


def test_a_norms_statistics_move_by_one_tenth_of_a_batch():
    model = pair("resnet110v2")[1]
    read = keras.Model(model.input, model.get_layer("stem_conv").output)(IMAGES)
    step(model)
    norm = model.get_layer("stage1_block1_a0_norm")
    np.testing.assert_allclose(norm.moving_mean, 0.1 * np.mean(read, (0, 1, 2)), atol=1e-5)


def test_blocks_are_computed_again_going_back():
    def convolutions(model):
        @tf.function
        def gradients():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(IMAGES, training=True))
            return tape.gradient(loss, model.trainable_variables)

        return [op.type for op in gradients.get_concrete_function().graph.get_operations()].count("Conv2D")

    inside = 3 * 2  # the stem's is not
    plain, remat = map(convolutions, pair("resnet110v2", shortcut="A"))
    assert (plain, remat) == (1 + inside, 1 + 2 * inside)


def test_nested_blocks_are_computed_again_too(monkeypatch):
    monkeypatch.setattr(import_module("keras_resnet.networks.resnet"), "PART", 2)
    monkeypatch.setattr(import_module("keras_resnet.networks.resnet"), "LONGEST_CHAIN", 1)
    plain, remat = pair("resnet110v2", stages=((8, 8, 8),))
    assert remat.get_layer("stage1_block2_to_3").rematerialized
    assert_same(step(remat), step(plain))


def test_frozen_blocks_stay_as_they_are():
    plain, remat = pair("resnet20", drop_path=0.0)
    for model in (plain, remat):
        keras_resnet.freeze(model, "stage1")
    before = remat.get_layer("stage1_block1_a1_norm").moving_mean.numpy()
    assert_same(step(remat), step(plain))
    np.testing.assert_array_equal(remat.get_layer("stage1_block1_a1_norm").moving_mean, before)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_the_same(policy):
    default = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        plain, remat = pair("resnet20")
    finally:
        keras.config.set_dtype_policy(default)
    assert_same(step(remat), step(plain))


@pytest.mark.parametrize("eager", [True, False])
def test_fit_learns_the_same(eager):
    weights = []
    for model in pair("resnet20"):
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eager)
        model.fit(IMAGES, LABELS, epochs=2, batch_size=2, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    assert_same(*weights)


def test_the_file_is_that_of_the_network_as_it_is(tmp_path):
    plain, remat = pair("resnet20")
    remat.save(tmp_path / "net.keras")
    assert type(remat).__module__.startswith("keras.")
    assert [layer.get_config() for layer in remat.layers[1:]] == [layer.get_config() for layer in plain.layers[1:]]
    loaded = keras_resnet.load_model(tmp_path / "net.keras")
    assert not hasattr(loaded, "rematerialized")
    np.testing.assert_array_equal(loaded(IMAGES), plain(IMAGES))
    assert keras_resnet.rematerialize(loaded).rematerialized


def test_everything_else_sees_the_network_as_it_is():
    plain, remat = pair("resnet20")
    assert keras_resnet.complexity(remat, (32, 32, 3)) == keras_resnet.complexity(plain, (32, 32, 3))
    assert [layer.name for layer in remat.layers[1:]] == [layer.name for layer in plain.layers[1:]]
    for copied in (keras_resnet.portable, keras_resnet.fold_batch_norm):
        assert_same(copied(remat)(IMAGES), copied(plain)(IMAGES))
        assert not hasattr(copied(remat), "rematerialized")


def test_features_of_blocks_that_are_computed_again():
    pyramids = [keras_resnet.features(model, (1, 2)) for model in pair("resnet110v2")]
    keras_resnet.rematerialize(pyramids[1])
    for ours, theirs in zip(*(pyramid(IMAGES, training=True) for pyramid in pyramids), strict=True):
        assert_same(ours, theirs)


def test_a_backbone_inside_another_model_is_rematerialized():
    model = keras.Sequential([keras_resnet.ResNet20(include_top=False, pooling="avg"), keras.layers.Dense(3)])
    assert keras_resnet.rematerialize(model).layers[0].rematerialized


def test_training_is_rematerialized_where_the_network_is():
    fitted = [compiled(model, RECIPES["digits"], 10)[0] for model in pair("resnet20")]
    assert [getattr(model, "rematerialized", False) for model in fitted] == [False, True]
    assert Run(network="resnet110", data="cifar10", remat=True).command.endswith("resnet110 --data cifar10 --remat")


def test_training_on_several_devices_is_refused():
    source = keras_resnet.load_data("digits")
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = keras_resnet.build("resnet20", input_shape=source.shape, remat=True, **SMALL)
        around = keras.Sequential([model, keras.layers.Softmax()])
    for refused in (model, around):
        with pytest.raises(ValueError, match=r"`remat`. Expected False under a strategy"):
            check_fit(refused, source, RECIPES["digits"])


def test_a_networks_one_output_keeps_its_name():
    plain, _ = pair("resnet20")
    model = keras_resnet.rematerialize(keras.Model(plain.inputs[0], {"scores": plain.outputs[0]}))
    assert model(IMAGES, training=True).keys() == model(IMAGES).keys() == {"scores"}
    listed = keras_resnet.rematerialize(keras.Model(plain.inputs[0], plain.outputs))
    assert listed(IMAGES, training=True).shape == listed(IMAGES).shape == (4, *plain.output_shape[1:])


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"`model`. Expected a network with blocks"):
        keras_resnet.rematerialize(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    with pytest.raises(ValueError, match=r"`remat`. Expected True or False"):
        keras_resnet.ResNet20(remat="full")
