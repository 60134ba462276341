"""The grouped convolution computes what Keras' does, trains, exports as ordinary operations, and turns back into it."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_resnet
from keras_resnet import GroupedConv2D, ResNetConfig, portable, resnet
from keras_resnet.kernels import devices
from keras_resnet.kernels.grouped_conv import joined, native

RESNEXT = ResNetConfig(stages=((32,), (32,)), stem_filters=8, branch="bottleneck", inner=1, groups=8)


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def pair(shape, **settings):
    """Ours and Keras', with the same weights."""
    ours, theirs = GroupedConv2D(**settings), layers.Conv2D(**settings)
    for layer in (ours, theirs):
        layer.build(shape)
    theirs.set_weights([images(*weight.shape) for weight in ours.weights])
    ours.set_weights(theirs.get_weights())
    return ours, theirs


SETTINGS = {
    "3x3": dict(filters=64, kernel_size=3, groups=16, padding="same"),
    "1x1": dict(filters=64, kernel_size=1, groups=8),
    "uneven kernel": dict(filters=32, kernel_size=(3, 1), groups=4, padding="same"),
    "stride": dict(filters=64, kernel_size=3, groups=16, strides=2),
    "same with a stride": dict(filters=64, kernel_size=3, groups=16, strides=2, padding="same"),
    "dilation": dict(filters=64, kernel_size=3, groups=16, dilation_rate=2, padding="same"),
    "no bias": dict(filters=64, kernel_size=3, groups=16, use_bias=False),
    "activation": dict(filters=64, kernel_size=3, groups=16, activation="relu"),
    "more filters than channels": dict(filters=192, kernel_size=3, groups=16),
    "fewer filters than channels": dict(filters=16, kernel_size=3, groups=16),
    "a channel a group": dict(filters=64, kernel_size=3, groups=64),
    "wide groups": dict(filters=64, kernel_size=3, groups=2),
    "one group": dict(filters=8, kernel_size=3, groups=1),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_it_computes_what_keras_computes(settings):
    x = images(2, 11, 9, 64)
    ours, theirs = pair(x.shape, **settings)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["3x3", "stride", "dilation", "wide groups"])
def test_its_gradients_are_keras_gradients(name):
    x = tf.constant(images(2, 8, 8, 64))
    gradients = []
    for layer in pair(x.shape, **SETTINGS[name]):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        gradients.append(tape.gradient(loss, [x, *(weight.value for weight in layer.weights)]))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("groups", "channels", "count"), [(32, 4, 4), (32, 8, 2), (32, 16, 1), (8, 64, 1), (32, 3, 4), (9, 4, 3), (7, 2, 7)]
)
def test_groups_are_joined_up_to_16_channels(groups, channels, count):
    assert joined(groups, channels) == count


def test_pieces_are_convolutions_and_no_xla():
    layer, _ = pair((2, 8, 8, 64), **SETTINGS["3x3"])
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec((None, 8, 8, 64))).graph
    assert [op.type for op in graph.get_operations()].count("Conv2D") == 4
    assert not [function for function in graph._functions if "Xla" in function]


def convolutions(layer, shape):
    """How many a call of the layer has in TensorFlow's graph."""
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec(shape)).graph
    return [op.type for op in graph.get_operations()].count("Conv2D")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, which TensorFlow uses."""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [f"{kind}:0"])
    monkeypatch.setattr(devices, "current_device", lambda: "/job:localhost/replica:0/task:0/device:GPU:0")


def test_on_a_gpu_the_native_kernel_runs(gpu):
    assert convolutions(pair((2, 8, 8, 64), **SETTINGS["3x3"])[0], (2, 8, 8, 64)) == 1


def test_on_a_hidden_gpu_pieces_run(gpu, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert convolutions(pair((2, 8, 8, 64), **SETTINGS["3x3"])[0], (2, 8, 8, 64)) == 4


def test_beside_a_gpu_pieces_run_on_the_cpu(gpu, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [f"{kind}:0"])
    layer, _ = pair((2, 8, 8, 64), **SETTINGS["3x3"])
    with tf.device("CPU"):
        assert convolutions(layer, (2, 8, 8, 64)) == 4


def test_what_is_traced_for_another_device_has_that_ones_kernels(gpu, monkeypatch):
    layer, _ = pair((2, 8, 8, 64), **SETTINGS["3x3"])
    with devices.traced_for("cpu"):
        assert convolutions(layer, (2, 8, 8, 64)) == 4
    assert convolutions(layer, (2, 8, 8, 64)) == 1
    monkeypatch.undo()
    with devices.traced_for("gpu"):
        assert convolutions(layer, (2, 8, 8, 64)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("device", "convolutions"), [({}, 2), ({"device": "gpu"}, 1)], ids=["any", "gpu"])
def test_an_export_has_the_kernels_of_the_device_that_it_is_for(gpu, tmp_path, device, convolutions):
    model = resnet(RESNEXT, input_shape=(32, 32, 3), classes=2)
    folder = keras_resnet.export(model, tmp_path / "exported", preprocessing="cifar10", **device)
    graph = tf.saved_model.load(str(folder)).signatures["features"].graph.as_graph_def()
    operations = [node.op for function in graph.library.function for node in function.node_def]
    groups = [layer.groups for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert groups.count(8) == 2
    assert operations.count("Conv2D") == groups.count(1) + convolutions * groups.count(8)


def test_an_export_is_for_a_known_device(tmp_path):
    with pytest.raises(ValueError, match=r"`device`. Expected one of 'cpu', 'gpu'"):
        keras_resnet.export(resnet(RESNEXT), tmp_path / "exported", device="tpu")


@pytest.mark.slow
def test_asking_for_devices_leaves_them_to_be_configured():
    code = """
import tensorflow as tf
from keras_resnet.kernels import devices
assert devices.on_cpu()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.device("CPU:1"):
    assert devices.current_device().endswith("CPU:1")
    tf.function(lambda: print(devices.current_device()))()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
strategy.run(tf.function(lambda: print(devices.current_device())))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line[-5:] for line in done.stdout.splitlines()] == ["CPU:1", "CPU:0", "CPU:1"]


def test_the_native_kernel_is_one_convolution_outside_xla():
    layer, _ = pair((2, 8, 8, 64), **SETTINGS["stride"])
    graph = (
        tf.function(lambda x: native(layer, x, layer.kernel)).get_concrete_function(tf.TensorSpec((2, 8, 8, 64))).graph
    )
    convolutions = [op for op in graph.get_operations() if op.type == "Conv2D"]
    assert [op.outputs[0].shape for op in convolutions] == [(2, 3, 3, 64)]


def test_a_resnext_is_made_of_it_and_summaries_name_its_layers():
    model = resnet(RESNEXT)
    assert isinstance(model.get_layer("stage1_block1_a2_conv"), GroupedConv2D)
    assert model.get_layer("stage1_block1_a2_conv").kernel.shape == (3, 3, 4, 32)


def test_a_resnext_learns_in_fit():
    keras.utils.set_random_seed(0)
    model, x, y = resnet(RESNEXT, classes=2), images(32, 32, 32, 3), np.arange(32) % 2
    x[y == 1] += 1
    model.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy")
    losses = model.fit(x, y, batch_size=16, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_the_narrow_type(policy):
    layer = GroupedConv2D(32, 3, groups=8, dtype=policy)
    assert layer(images(1, 8, 8, 32)).dtype == policy.removeprefix("mixed_")
    assert layer.kernel.dtype == "float32"


def test_a_saved_network_loads(tmp_path):
    model, x = resnet(RESNEXT), images(1, 32, 32, 3)
    model.save(tmp_path / "ours.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "ours.keras")(x), model(x))


def test_a_portable_network_has_none_and_loads_with_its_kernels(tmp_path):
    model, x = resnet(RESNEXT), images(1, 32, 32, 3)
    stock = portable(model)
    assert not [layer for layer in stock.layers if isinstance(layer, GroupedConv2D)]
    np.testing.assert_allclose(stock(x), model(x), atol=1e-6)
    stock.save(tmp_path / "stock.keras")
    loaded = keras_resnet.load_model(tmp_path / "stock.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in stock.layers]
    np.testing.assert_array_equal(loaded(x), model(x))
    assert convolutions(loaded, x.shape) == convolutions(model, x.shape)


def test_a_saved_model_holds_ordinary_operations(tmp_path):
    model, x = resnet(RESNEXT), images(1, 32, 32, 3)
    model.export(tmp_path / "exported", verbose=False)
    assert b"XlaMustCompile" not in (tmp_path / "exported/saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(x), model(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert_converts_it(tmp_path):
    model, x = resnet(RESNEXT, input_shape=(32, 32, 3)), images(1, 32, 32, 3)
    model.export(tmp_path / "net.tflite", format="litert", verbose=False)
    interpreter = tf.lite.Interpreter(str(tmp_path / "net.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    np.testing.assert_allclose(
        interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), model(x), atol=1e-5
    )


@pytest.mark.slow
def test_it_trains_under_a_strategy():
    code = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, keras_resnet
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras_resnet.resnet(keras_resnet.ResNetConfig(stages=((32,),), branch="bottleneck", inner=1, groups=8))
    model.compile("sgd", "sparse_categorical_crossentropy")
x = np.zeros((8, 32, 32, 3), "float32")
print(model.fit(x, np.zeros(8), batch_size=4, verbose=0).history["loss"][0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(float(done.stdout.split()[-1]))


def test_complexity_counts_a_plain_grouped_convolution():
    model = resnet(RESNEXT)
    assert keras_resnet.complexity(model).macs == keras_resnet.complexity(portable(model)).macs
