"""Maps of one image, against the same computed by hand."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_resnet
from helpers.small_networks import PIXELS, ROWS, SHAPE, batch, gradient, network, shuffled
from keras_resnet import ResNetConfig, analysis, resnet


@pytest.mark.parametrize("activation", ["softmax", None])
def test_grad_cam_at_the_last_stage_is_the_class_activation_map(activation):
    """Zhou et al. 2016: with a pool and one dense layer, the gradients are its weights, over the pixels."""
    model = network(activation)
    cam = analysis.grad_cam(model, PIXELS[0], 1, preprocessing="unit")
    assert (cam.layer, cam.class_index) == ("stage2_block2_out_relu", 1)
    maps = np.asarray(keras_resnet.features(model, (2,))(batch()[0][:1]))[0]
    kernel = np.asarray(model.get_layer("predictions").kernel)
    expected = np.maximum(maps @ kernel[:, 1], 0) / (maps.shape[0] * maps.shape[1])
    np.testing.assert_allclose(cam.map, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(cam.image, PIXELS[0])
    assert cam.heatmap.shape == (8, 8)
    assert cam.heatmap.max() == pytest.approx(1)


def test_grad_cam_at_any_layer_is_what_the_paper_says(residual):
    cam = analysis.grad_cam(residual, PIXELS[0], layer="stage1_block1_sum", preprocessing="unit")
    cut, head = residual.get_layer("stage1_block1_sum").output, residual.get_layer("predictions")
    x = keras.Model(residual.input, cut)(batch()[0][:1])
    tail = keras.Model(cut, head.input)
    likeliest = np.argmax(residual(batch()[0][:1]))
    weights = np.mean(gradient(lambda x: (tail(x) @ head.kernel + head.bias)[0, likeliest], x), (1, 2))
    np.testing.assert_allclose(cam.map, np.maximum(np.sum(weights * np.asarray(x), -1)[0], 0), rtol=1e-4, atol=1e-6)
    assert cam.class_index == likeliest


def test_grad_cam_sees_into_a_users_model():
    backbone = shuffled(resnet(ResNetConfig(stem_filters=4, **ROWS["resnet"]), include_top=False, input_shape=SHAPE))
    inputs = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(backbone(layers.Rescaling(1 / 255)(inputs)))
    users = keras.Model(inputs, layers.Softmax()(layers.Dense(3, name="theirs")(layers.Dropout(0.5)(x))))
    cam = analysis.grad_cam(users, PIXELS[0], 2, preprocessing="none")
    maps = np.asarray(backbone(batch()[0][:1]))[0]
    expected = np.maximum(maps @ np.asarray(users.get_layer("theirs").kernel)[:, 2], 0) / 16
    np.testing.assert_allclose(cam.map, expected, rtol=1e-4, atol=1e-7)


def test_feature_maps_are_the_stages_output(residual):
    maps = analysis.feature_maps(residual, PIXELS[3], 1, preprocessing="unit")
    expected = keras.Model(residual.input, residual.get_layer("stage1_block2_out_relu").output)(batch()[0][3:4])
    np.testing.assert_allclose(maps, expected[0], rtol=1e-5, atol=1e-5)


def test_the_overlay_is_the_image_where_the_network_sees_nothing():
    cam = analysis.Cam(PIXELS[0], np.zeros((8, 8), "float32"), np.zeros((4, 4), "float32"), 0, "layer")
    blue = np.round(0.5 * PIXELS[0] + 0.5 * np.array([0, 0, 127.5])).astype(int)
    np.testing.assert_allclose(analysis.overlay(cam), blue, atol=1)
