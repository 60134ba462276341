"""Counting works on any Keras model."""

import keras
import pytest
from keras import layers

import keras_resnet
from keras_resnet import complexity
from keras_resnet.graph.tracing import walk


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (layers.Conv2D(8, 3, padding="same"), (10, 12, 4), 3 * 3 * 4 * 8 * 10 * 12),
        (layers.Conv2D(8, 3, strides=2, groups=4), (11, 11, 4), 3 * 3 * 1 * 8 * 5 * 5),
        (layers.Conv2D(8, 3, data_format="channels_first", padding="same"), (4, 10, 12), 3 * 3 * 4 * 8 * 10 * 12),
        (layers.Conv1D(8, 5), (20, 3), 5 * 3 * 8 * 16),
        (layers.Conv3D(2, 3), (5, 5, 5, 3), 27 * 3 * 2 * 27),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (10, 10, 4), 9 * 4 * 2 * 100),
        (layers.SeparableConv2D(8, 3, padding="same"), (10, 10, 4), (9 * 4 + 4 * 8) * 100),
        (layers.Conv2DTranspose(8, 3, strides=2), (10, 10, 4), 9 * 4 * 8 * 100),
        (layers.Dense(7), (5,), 35),
        (layers.Dense(7), (3, 5), 105),
        (layers.EinsumDense("abc,cde->abde", (None, 4, 6)), (3, 5), 3 * 5 * 4 * 6),
        (layers.BatchNormalization(), (10, 10, 4), 0),
    ],
)
def test_multiply_adds_of_a_layer(layer, shape, macs):
    if layer.__class__.__name__ == "Conv2D" and layer.data_format == "channels_first":
        layer.build((None, *shape))
    model = keras.Sequential([keras.Input(shape), layer])
    costs = complexity(model)
    assert costs.macs == macs
    assert costs.params == model.count_params()


@pytest.mark.parametrize(("name", "macs"), [("VGG19", 19_632_062_464), ("DenseNet121", 2_834_161_664)])
def test_models_of_keras_applications(name, macs):
    assert complexity(getattr(keras.applications, name)(weights=None)).macs == macs


def test_shared_layers_count_their_weights_once_and_their_arithmetic_each_time():
    dense = layers.Dense(5)
    x = keras.Input((5,))
    costs = complexity(keras.Model(x, dense(dense(x))))
    assert (costs.params, costs.macs, len(costs.rows)) == (30, 50, 1)


def test_nested_and_subclassed_models():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = keras.Sequential([layers.Dense(4), layers.Dense(3)])

        def call(self, x):
            return self.body(x)

    model = Net()
    model(keras.ops.ones((2, 6)))
    assert complexity(model, input_shape=(6,)).macs == 6 * 4 + 4 * 3


class Doubled(layers.Layer):
    """A user's layer of layers that says its shape, and would hide what is in it."""

    def __init__(self):
        super().__init__()
        self.inside = layers.Dense(4)

    def call(self, x):
        return self.inside(self.inside(x))

    def compute_output_shape(self, shape):
        return shape


class Plain(layers.Layer):
    """A user's layer that does not say its shape."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, x):
        return x @ self.kernel


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layers_of_users_are_counted(policy):
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((5, 4))
        model = keras.Model(x, layers.Dense(2)(Plain()(layers.LayerNormalization()(Doubled()(x)))))
    finally:
        keras.config.set_dtype_policy("float32")
    costs = complexity(model)
    assert costs.macs == 2 * 5 * 4 * 4 + 5 * 3 * 2
    assert costs.params == model.count_params()
    assert [row.output_shape for row in costs.rows] == [(1, 5, 4), (1, 5, 4), (1, 5, 3), (1, 5, 2)]


def test_attention_is_counted_without_its_scores():
    x = keras.Input((5, 6))
    model = keras.Model(x, layers.MultiHeadAttention(num_heads=2, key_dim=3)(x, x))
    assert complexity(model).macs == 4 * 5 * 6 * 2 * 3


@pytest.mark.parametrize("batch", [1, 2])
def test_a_model_of_a_fixed_batch_is_counted_for_one_image(batch):
    x = keras.Input(batch_shape=(batch, 4))
    block = keras.Model(x, layers.Dense(3)(x))
    assert complexity(block).macs == complexity(keras.Sequential([keras.Input((4,)), block])).macs == 12


def test_another_size_than_the_models_own_is_counted():
    model = keras_resnet.ResNet20(input_shape=(32, 32, 3))
    assert complexity(model, (64, 64, 3)).macs - 640 == 4 * (complexity(model).macs - 640)


def test_frozen_weights_are_not_trainable():
    model = keras_resnet.ResNet20()
    model.get_layer("predictions").trainable = False
    assert complexity(model).trainable_params == 269_722 - 650


def test_any_size_is_counted_at_the_one_asked_for():
    backbone = keras_resnet.ResNet18(include_top=False)
    with pytest.raises(ValueError, match="`input_shape`"):
        complexity(backbone)
    classified = keras_resnet.ResNet18()
    assert complexity(backbone, input_shape=(224, 224, 3)).macs == complexity(classified).macs - 512 * 1000


def test_several_inputs_and_calls_by_keyword():
    a, b = keras.Input((4,), name="a"), keras.Input((5,), name="b")
    joined = layers.Concatenate()([layers.Dense(3)(inputs=a), layers.Dense(2)(b)])
    assert complexity(keras.Model([a, b], joined)).macs == 12 + 10
    assert complexity(keras.Model({"a": a, "b": b}, joined), {"a": (4,), "b": (5,)}).macs == 12 + 10


def test_a_subclassed_model_wants_an_input_shape():
    class Net(keras.Model):
        def call(self, x):
            return x

    model = Net()
    model(keras.ops.ones((1, 2)))
    with pytest.raises(ValueError, match="`input_shape`"):
        complexity(model)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="a built model"):
        complexity(keras.Sequential([layers.Dense(3)]))


def test_counting_leaves_the_model_as_it_was():
    model = keras_resnet.ResNet20()
    before, calls = model.get_config(), [layer.call for layer in walk(model)]
    complexity(model)
    assert model.get_config() == before
    assert [layer.call for layer in walk(model)] == calls
    assert model.get_layer("stem_conv").output.shape == (None, 32, 32, 16)  # raises if the layer was called twice


def test_prints_as_a_table():
    lines = str(complexity(keras_resnet.ResNet20())).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "params", "MACs"]
    assert lines[-1].split() == ["total", "269,722", "trainable", "271,098", "40,551,040"]
    assert len({len(line) for line in lines}) == 1
