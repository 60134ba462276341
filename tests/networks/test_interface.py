"""What users of keras.applications expect of a builder, and of stage outputs."""

from importlib import import_module

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_resnet
from helpers.undrawn import undrawn
from keras_resnet import NETWORKS, DenseNetConfig, FractalNetConfig, ResNetConfig, features

TINY = ResNetConfig(stages=((8, 8), (16,), (24,), (32,)), stem="imagenet", stem_filters=8)


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_names_by_pattern():
    assert keras_resnet.names("resnext50_*") == ["resnext50_32x4d"]
    assert keras_resnet.names() == list(NETWORKS)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("resnet20", (32, 32, 3), 10), ("resnet18", (224, 224, 3), 1000), ("resnetrs50", (160, 160, 3), 1000)],
)
def test_defaults_are_the_papers(name, shape, classes):
    model = undrawn(keras_resnet.build, name)
    assert (model.name, model.input_shape[1:], model.output_shape[1:]) == (name, shape, (classes,))


def test_softmax_by_default_and_logits_on_request():
    x = images(2, 32, 32, 3)
    assert keras_resnet.ResNet20()(x).numpy().sum(-1) == pytest.approx(1, abs=1e-5)
    assert keras_resnet.ResNet20(classifier_activation=None).layers[-1].activation is keras.activations.linear


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (None, None, None, 512)), ("avg", (None, 512)), ("max", (None, 512))]
)
def test_without_the_top(pooling, shape):
    model = undrawn(keras_resnet.ResNet18, include_top=False, pooling=pooling)
    assert model.input_shape == (None, None, None, 3)
    assert model.output_shape == shape


def test_input_tensor_may_be_in_the_middle_of_a_graph():
    raw = keras.Input((40, 48, 1))
    rgb = keras.layers.Concatenate()([raw, raw, raw])
    model = keras_resnet.ResNet20(input_tensor=rgb, classes=3)
    assert model.inputs == [raw]
    assert model(images(2, 40, 48, 1)).shape == (2, 3)


def test_positional_arguments_as_in_keras_applications():
    model = keras_resnet.ResNet20(False, None, None, (64, 64, 3), "max", 7, "softmax", "mine", shortcut="B")
    assert (model.name, model.output_shape) == ("mine", (None, 64))
    assert model.get_layer("stage2_block1_skip_conv")


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (None, None), (None, 40)])
@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet18v2", "resnet18d", "seresnet20"])
def test_residual_networks_take_any_size_from_8_pixels(name, size):
    model = keras_resnet.build(name, input_shape=(*size, 5), classes=4)
    height, width = (side or 8 for side in size)
    assert np.isfinite(model(images(1, height, width, 5))).all()


@pytest.mark.parametrize(
    ("config", "build", "smallest"),
    [
        (DenseNetConfig(stages=(1, 1, 1, 1), growth=4, stem="imagenet"), keras_resnet.densenet, 29),
        (DenseNetConfig(stages=(1, 1, 1), growth=4), keras_resnet.densenet, 4),
        (FractalNetConfig(stages=(4, 4, 4, 4, 4), columns=2), keras_resnet.fractalnet, 16),
    ],
)
def test_smallest_images_leave_one_pixel(config, build, smallest):
    model = build(config, input_shape=(smallest, smallest, 3))
    assert model.get_layer("head_pool").input.shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
        build(config, input_shape=(smallest, smallest - 1, 3))


def test_backbone_takes_the_weights_of_a_classifier(tmp_path):
    saved = keras_resnet.ResNet20(classes=4)
    saved.save_weights(tmp_path / "net.weights.h5")
    backbone = keras_resnet.ResNet20(include_top=False, weights=tmp_path / "net.weights.h5")
    np.testing.assert_array_equal(backbone.get_layer("stem_conv").kernel, saved.get_layer("stem_conv").kernel)


def test_logits_stay_in_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = keras_resnet.ResNet20()
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("stage1_block1_a1_conv").compute_dtype == "bfloat16"
    assert model.get_layer("predictions").compute_dtype == "float32"


@pytest.mark.parametrize("name", ["resnet18", "resnet18v2", "resnet50d", "resnetrs50", "densenet121"])
def test_features_of_imagenet_networks(name):
    model = undrawn(keras_resnet.build, name, include_top=False)
    pyramid = features(model)
    assert pyramid.strides == (4, 8, 16, 32)
    assert [output.shape[-1] for output in pyramid.outputs] == list(pyramid.channels)


@pytest.mark.parametrize(("name", "strides"), [("resnet20", (1, 2, 4)), ("fractalnet20", (1, 2, 4, 8, 16))])
def test_features_of_cifar_networks(name, strides):
    assert features(undrawn(keras_resnet.build, name), range(1, len(strides) + 1)).strides == strides


@pytest.mark.parametrize("output_stride", [8, 16])
def test_features_of_dilated_networks(output_stride):
    model = undrawn(keras_resnet.ResNet50, include_top=False, output_stride=output_stride)
    assert features(model).strides == tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))


def test_last_feature_is_what_the_head_reads():
    model = keras_resnet.resnet(TINY, input_shape=(64, 64, 3))
    backbone = keras_resnet.resnet(TINY, input_shape=(64, 64, 3), include_top=False)
    backbone.set_weights(model.get_weights()[:-2])
    x = images(1, 64, 64, 3)
    np.testing.assert_array_equal(features(model, [4])(x), backbone(x))
    np.testing.assert_array_equal(features(backbone, [4])(x), backbone(x))


def test_a_pre_activation_feature_is_behind_norm_and_relu():
    model = keras_resnet.build("resnet18v2")
    read = [tensor.name for tensor in features(model).outputs]
    assert features(model).get_layer("stage2_block1_a0_relu").output.name == read[0]
    assert model.get_layer("head_relu").output.name == read[-1]
    assert min(np.min(output) for output in features(model)(images(1, 224, 224, 3))) == 0


def test_features_of_a_loaded_model(tmp_path):
    model = keras_resnet.resnet(TINY, input_shape=(64, 64, 3))
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    x = images(1, 64, 64, 3)
    for ours, theirs in zip(features(model)(x), features(loaded)(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_features_of_a_backbone_under_a_head_of_ones_own():
    backbone = keras_resnet.ResNet18(include_top=False)
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, keras.layers.Dense(3)(pooled))
    assert features(model).strides == (4, 8, 16, 32)
    assert features(model).outputs[-1] is backbone.output


def test_features_and_complexity_of_a_nested_network(monkeypatch):
    flat = ResNetConfig(stages=((8, 8, 8), (16, 16, 16)), stem_filters=8, order="pre")
    expected = keras_resnet.complexity(keras_resnet.resnet(flat), (48, 48, 3)).macs
    monkeypatch.setattr(import_module("keras_resnet.networks.resnet"), "PART", 2)
    monkeypatch.setattr(import_module("keras_resnet.networks.resnet"), "LONGEST_CHAIN", 1)
    nested = keras_resnet.resnet(flat)
    assert nested.get_layer("stage2_block2_to_3").layers
    assert features(nested, (1, 2)).strides == (1, 2)
    assert keras_resnet.complexity(nested, (48, 48, 3)).macs == expected


def operations(model):
    """Of a forward pass in training, as TensorFlow traces it."""
    call = tf.function(lambda x: model(x, training=True))
    return len(call.get_concrete_function(tf.TensorSpec((1, 64, 64, 3))).graph.get_operations())


@pytest.mark.slow
def test_a_training_step_has_less_to_trace_than_that_of_keras_applications():
    ours = keras_resnet.ResNet50(input_shape=(64, 64, 3))
    theirs = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3))
    assert len(ours.trainable_variables) < len(theirs.trainable_variables)
    assert operations(ours) < operations(theirs)


def test_channels_first_is_refused():
    try:
        keras.config.set_image_data_format("channels_first")
        with pytest.raises(ValueError, match=r"`image_data_format`.*'channels_last'.*Received.*'channels_first'"):
            keras_resnet.ResNet20()
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("changes", [{"order": "pre"}, {"stages": ((16,), (32,), (64,))}, {"stem_filters": 8}])
def test_weights_of_another_network_are_refused(changes, tmp_path):
    keras_resnet.ResNet20().save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(
        ValueError, match=r"`weights`. Expected weights of this network; (missing|of another shape|left over)"
    ):
        keras_resnet.ResNet20(weights=tmp_path / "net.weights.h5", **changes)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_file_that_is_not_of_weights_is_refused(suffix, tmp_path):
    (tmp_path / f"net{suffix}").write_text("no weights")
    with pytest.raises(ValueError, match=r"`weights`. Expected what Keras wrote"):
        keras_resnet.ResNet20(weights=tmp_path / f"net{suffix}")


def test_weights_without_a_classifier_are_refused_for_a_classifier(tmp_path):
    keras_resnet.ResNet20(include_top=False).save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ValueError, match=r"`weights`. Expected a source with a classifier"):
        keras_resnet.ResNet20(weights=tmp_path / "net.weights.h5")


def test_a_sequential_model_is_portable():
    model = keras.Sequential([keras_resnet.ResNet20(include_top=False, pooling="avg"), keras.layers.Dense(3)])
    x = images(2, 32, 32, 3)
    expected = model(x)
    np.testing.assert_allclose(keras_resnet.portable(model)(x), expected, atol=1e-6)


def test_features_of_a_missing_stage_are_refused():
    with pytest.raises(ValueError, match="a list of stages among"):
        features(undrawn(keras_resnet.ResNet20), 3)
    with pytest.raises(ValueError, match=r"stages among \(1, 2, 3\)"):
        features(undrawn(keras_resnet.ResNet20))
    with pytest.raises(ValueError, match="stages among"):
        features(undrawn(keras.applications.VGG16, weights=None))


def test_a_row_is_built_as_a_name_is():
    named, of_row = keras_resnet.build("resnet20", shortcut="B"), keras_resnet.build(NETWORKS["resnet20"], shortcut="B")
    assert [layer.name for layer in of_row.layers[1:]] == [layer.name for layer in named.layers[1:]]
    assert (named.name, of_row.name) == ("resnet20", "resnet")


def test_a_network_may_have_a_name_of_its_own():
    assert keras_resnet.build("resnet20", name="mine").name == "mine"


def test_weights_do_not_change_a_row_of_your_own():
    project = keras_resnet.ResNet20()  # option A
    assert keras_resnet.build("resnet20", weights=project).card.config["shortcut"] == "A"
    with pytest.raises(ValueError, match="weights"):
        keras_resnet.build(NETWORKS["resnet20"], shortcut="B", weights=project)
