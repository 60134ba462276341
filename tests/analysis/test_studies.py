"""What the studies find, against the same computed by hand and against the networks that it stands for."""

from itertools import product
from math import comb

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from helpers.small_networks import DATA, PIXELS, READING, ROWS, batch, fractal, gradient, network, under
from keras_resnet import analysis
from keras_resnet.analysis.gates import blocks, gates, opened
from keras_resnet.analysis.gradients import gradient_norms
from keras_resnet.analysis.measuring import subsets
from keras_resnet.graph.tracing import walk


def without(model, deleted, **changes):
    """A network that never had the block, with the other blocks' weights."""
    shorter = network(**changes)
    kept = [layer for layer in walk(model) if layer.weights and not layer.name.startswith(f"{deleted}_")]
    for layer, ours in zip(kept, [layer for layer in walk(shorter) if layer.weights], strict=True):
        ours.set_weights(layer.get_weights())
    return shorter


@pytest.mark.parametrize("changes", [{}, {"order": "pre"}, {"shortcut": "none"}], ids=["residual", "pre", "plain"])
def test_a_network_without_a_block_is_the_network_that_never_had_it(changes):
    model = network(stages=((4, 4), (8,)), **changes)
    left = opened(blocks(model))
    left[1] = 1, 0
    shorter = without(model, "stage1_block2", stages=((4,), (8,)), **changes)
    np.testing.assert_allclose(under(model, left), shorter(batch()[0]), rtol=1e-5)
    study = analysis.lesion(model, DATA, counts=[1], repeats=1, **READING)
    assert study.errors[1] == wrong(shorter)
    assert study.baseline == wrong(model)


def wrong(model):
    images, labels = batch()
    return np.mean(np.argmax(model(images), 1) != np.argmax(labels, 1))


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_deleted_block_that_changes_the_shape_keeps_its_shortcut(shortcut):
    model = network(shortcut=shortcut)
    left = opened(blocks(model))
    left[2] = 1, 0
    outputs = under(model, left)
    for variable in model.get_layer("stage2_block1_a2_norm").trainable_variables:
        variable.assign(0 * variable)
    np.testing.assert_allclose(outputs, model(batch()[0]), rtol=1e-6)


def test_a_plain_block_that_changes_the_shape_cannot_be_deleted(plain):
    study = analysis.lesion(plain, DATA, images=10, repeats=2, **READING)
    np.testing.assert_array_equal(np.isnan(study.errors), [False, False, True, False])
    assert study.counts == (1, 2, 3)
    assert [len(drawn) for drawn in study.several] == [2, 2, 1]  # of three blocks there is one set of three


def test_random_lesions_are_those_of_their_blocks(residual):
    study = analysis.lesion(residual, DATA, counts=[1, 4], repeats=4, **READING)
    np.testing.assert_array_equal(np.sort(study.several[0]), np.sort(study.errors))
    assert study.several[1] == [np.mean(np.argmax(under(residual, np.float32([[1, 0]] * 4)), 1) != DATA[0][1])]


def test_draws_are_seeded_and_without_repetition():
    among = list(range(10))
    first, again, other = (subsets(among, 5, 3, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert all(len(set(drawn)) == 5 for drawn in first)
    assert len(subsets(among, 2, 45, 0)) == len(set(subsets(among, 2, 45, 0))) == 45


def test_responses_are_the_deviations_of_the_norms_outputs(residual):
    responses = analysis.layer_responses(residual, DATA, **READING)
    convolutions = ["stem", *(f"stage{s}_block{b}_a{c}" for s, b, c in product((1, 2), (1, 2), (1, 2)))]
    assert responses.names == tuple(f"{name}_conv" for name in convolutions)
    seen = keras.Model(residual.input, [residual.get_layer(f"{name}_norm").output for name in convolutions])
    np.testing.assert_allclose(responses.stds, [np.std(y) for y in seen(batch()[0])], rtol=1e-5)


def test_responses_of_convolutions_without_a_norm_are_their_own():
    model = network(**ROWS["bottleneck in groups, pre-activation"])
    responses = analysis.layer_responses(model, DATA, **READING)
    assert responses.names == ("stem_conv", *(f"stage{at}_a2_conv" for at in ("1_block1", "2_block1", "2_block2")))
    seen = keras.Model(model.input, [model.get_layer(name).output for name in ("stem_conv", "stage2_block2_a2_norm")])
    np.testing.assert_allclose(responses.stds[[0, -1]], [np.std(y) for y in seen(batch()[0])], rtol=1e-5)


def loss(outputs):
    return tf.nn.softmax_cross_entropy_with_logits(batch()[1], outputs)


def mean_norm(x):
    return np.mean(np.linalg.norm(np.reshape(x, (len(x), -1)), axis=1))


@pytest.mark.parametrize("activation", ["softmax", None])
def test_gradients_are_those_of_the_network_cut_at_a_block(activation):
    model = network(activation)
    gradients = analysis.block_gradients(model, DATA, **READING)
    cut = model.get_layer("stage1_block2_out_relu").output
    head = model.get_layer("predictions")
    tail = keras.Model(cut, head.input)
    x = keras.Model(model.input, cut)(batch()[0])
    expected = mean_norm(gradient(lambda x: loss(tail(x) @ head.kernel + head.bias), x))
    assert gradients.names[2] == "stage2_block1"
    np.testing.assert_allclose(gradients.norms[2], expected, rtol=1e-5)


def test_without_shortcuts_the_gradient_is_the_branches(residual):
    gradients = analysis.block_gradients(residual, DATA, **READING)
    last = {name: residual.get_layer(f"stage2_block2_{name}") for name in ("a1_conv", "a2_norm", "out_relu")}
    branch = keras.Model(last["a1_conv"].input, last["a2_norm"].output)
    head = residual.get_layer("predictions")
    x = keras.Model(residual.input, last["a1_conv"].input)(batch()[0])

    def alone(x):
        y = tf.nn.relu(tf.stop_gradient(x) + branch(x))
        return loss(tf.reduce_mean(y, (1, 2)) @ head.kernel + head.bias)

    np.testing.assert_allclose(gradients.branches_alone[-1], mean_norm(gradient(alone, x)), rtol=1e-5)


def test_a_plain_network_has_no_shortcuts_to_do_without(plain):
    gradients = analysis.block_gradients(plain, DATA, images=10, **READING)
    np.testing.assert_array_equal(gradients.norms, gradients.branches_alone)


def test_path_gradients_are_the_means_over_all_paths_where_there_are_few(residual):
    study = analysis.path_gradients(residual, DATA, repeats=6, **READING)
    np.testing.assert_array_equal(study.lengths, range(5))
    np.testing.assert_allclose(study.shares, [comb(4, length) / 16 for length in range(5)])
    assert study.contributions.sum() == pytest.approx(1)
    norms = gradient_norms(residual, blocks(residual))
    ones = np.eye(4, dtype="float32")
    forward = opened(blocks(residual))
    paths = [norms(*batch(), gates(forward, np.stack([1 - one, one], -1)))[0] for one in ones]
    np.testing.assert_allclose(study.norms[1], np.mean(paths), rtol=1e-5)
    longest = norms(*batch(), gates(forward, np.float32([[0, 1]] * 4)))[0]
    np.testing.assert_allclose(study.norms[4], np.mean(longest), rtol=1e-5)


def test_samples_are_spread_over_the_split(residual):
    ((images, labels),) = analysis.sample(residual, DATA, images=5, preprocessing="none")
    np.testing.assert_array_equal(images, PIXELS[5::10].astype("float32"))
    np.testing.assert_array_equal(np.argmax(labels, 1), DATA[0][1][5::10])
    np.testing.assert_array_equal(analysis.example(DATA, 7, "train"), PIXELS[7])


@pytest.mark.parametrize("find", [analysis.lesion, analysis.block_gradients, analysis.path_gradients])
def test_what_has_no_blocks_is_refused(find):
    with pytest.raises(ValueError, match=r"`model`. Expected a network of blocks"):
        find(fractal(), DATA, **READING)


def test_a_fractal_network_has_responses_features_and_a_drawing():
    model = fractal()
    assert len(analysis.layer_responses(model, DATA, images=10, **READING).names) == 6
    assert analysis.feature_maps(model, PIXELS[0], 1, preprocessing="unit").shape == (8, 8, 4)
    assert [box.name for box in analysis.drawing(model)][:2] == ["stage1", "stage2_in"]


REFUSED = {
    "images": lambda m: analysis.layer_responses(m, DATA, images=0, **READING),
    "batch_size": lambda m: analysis.layer_responses(m, DATA, preprocessing="unit", batch_size=1.5),
    "split": lambda m: analysis.layer_responses(m, DATA, split="dev", **READING),
    "data": lambda m: analysis.block_gradients(m, "digits", **READING),
    "preprocessing": lambda m: analysis.block_gradients(m, DATA),
    "counts": lambda m: analysis.lesion(m, DATA, counts=[5], **READING),
    "repeats": lambda m: analysis.lesion(m, DATA, repeats=0, **READING),
    "seed": lambda m: analysis.path_gradients(m, DATA, seed=-1, **READING),
    "target": lambda m: analysis.grad_cam(m, PIXELS[0], 3, preprocessing="unit"),
    "layer": lambda m: analysis.grad_cam(m, PIXELS[0], layer="predictions", preprocessing="unit"),
    "image": lambda m: analysis.grad_cam(m, PIXELS, preprocessing="unit"),
    "stages": lambda m: analysis.feature_maps(m, PIXELS[0], 3, preprocessing="unit"),
    "number": lambda m: analysis.example(DATA, 50),
    "model": lambda m: analysis.drawing(keras.Sequential([keras.Input((3,)), layers.Dense(2, name="theirs")])),
}


@pytest.mark.parametrize("argument", REFUSED)
def test_wrong_arguments_are_named(argument, residual):
    with pytest.raises(ValueError, match=f"Invalid value for argument `{argument}`"):
        REFUSED[argument](residual)


def test_a_plain_network_has_no_paths_to_choose_from(plain):
    with pytest.raises(ValueError, match=r"`model`. Expected a network with shortcuts"):
        analysis.path_gradients(plain, DATA, **READING)
