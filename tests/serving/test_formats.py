"""Files in all formats compute what the network computes, from pixels and from files."""

import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import keras_resnet
from helpers.exports import NAMES, PREPROCESSING, network
from keras_resnet import ResNetConfig, export, preprocessing
from keras_resnet.cli import main
from keras_resnet.data import digits
from keras_resnet.kernels import devices, grouped_conv
from keras_resnet.serving import export as exporting
from keras_resnet.serving import saved_model
from keras_resnet.serving.formats import FORMATS, Format
from keras_resnet.serving.job import in_float32

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:In the future `np.object`:FutureWarning",  # Keras 3.15 patches tf2onnx for NumPy 2
        "ignore:.*tf.lite.Interpreter is deprecated",
    ),
]
GROUPED = ResNetConfig(stages=((16,), (32,)), stem_filters=8, branch="bottleneck", groups=4, inner=0.5)
WHOLE_BATCHES = 1280  # images: TensorFlow 2.21 crashes in the gradient of a strided 1x1 kernel of few channels when the
# size of a batch changes


@pytest.fixture(scope="module")
def model():
    """Grouped, which needs an own path on CPUs; and trained, so that its probabilities are far from equal."""
    model = network(row=GROUPED)
    images = keras.ops.convert_to_numpy(preprocessing(model)(digits().train.images[:WHOLE_BATCHES]))
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained = keras.Model(model.inputs[0], model.outputs[0])
    trained.compile(keras.optimizers.SGD(0.1, 0.9), logits)
    trained.fit(images, digits().train.labels[:WHOLE_BATCHES], 64, epochs=3, verbose=0)
    return model


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("exports") / "tiny", formats=list(FORMATS), data=digits())


@pytest.fixture(scope="module")
def narrow(model, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("narrow") / "tiny", precision="bfloat16", data=digits())


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(exported).signatures


def expected(model, images):
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(preprocessing(model)(images))))


def numpy(outputs):
    return {name: tensor.numpy() for name, tensor in outputs.items()}


class TestAllFormats:
    def test_they_stand_in_the_first_version(self, exported):
        assert exported.name == "1"
        assert {form.file for form in FORMATS.values() if form.file} <= {path.name for path in exported.iterdir()}

    def test_the_card_says_what_was_measured(self, exported):
        card = keras_resnet.card(exported)
        assert list(card.exports) == list(FORMATS)
        for name, measured in card.exports.items():
            assert 0 <= measured["difference"] <= measured["tolerance"] == FORMATS[name].tolerance
            assert measured["bytes"] > 1000
            assert measured["milliseconds"] > 0
            assert measured["accuracy"] > 0.5
        assert card.exports["litert_float16"]["difference"] > card.exports["litert"]["difference"]
        assert card.exports["litert_int8"]["bytes"] < card.exports["litert_float16"]["bytes"]
        assert "| litert_int8 | file model_int8.tflite, bytes " in (exported / "card.md").read_text()

    def test_the_card_of_all_versions_is_the_last_ones(self, exported):
        assert keras_resnet.card(exported.parent) == keras_resnet.card(exported)

    def test_the_keras_file_has_the_card(self, exported):
        card = keras_resnet.card(exported / "model.keras")
        assert (card.class_names, card.preprocessing) == (NAMES, PREPROCESSING)


class TestSavedModel:
    def test_pixels_of_any_size(self, signatures, model):
        for size in ((8, 8), (12, 12), (40, 25)):
            images = tf.image.resize(digits().test.images[:3], size).numpy().astype("uint8")
            answers = numpy(signatures["serving_default"](images=tf.constant(images)))
            np.testing.assert_allclose(answers["probabilities"], expected(model, images), atol=1e-5)

    def test_classes_and_labels_have_the_likeliest_first(self, signatures):
        answers = numpy(signatures["serving_default"](images=tf.constant(digits().test.images[:4])))
        np.testing.assert_array_equal(answers["classes"], np.argsort(-answers["probabilities"])[:, :5])
        assert answers["labels"][2, 3].decode() == NAMES[answers["classes"][2, 3]]

    def test_floats(self, signatures):
        images = digits().test.images[:3]
        floats = numpy(signatures["serving_float"](images=tf.constant(images, tf.float32)))
        pixels = numpy(signatures["serving_default"](images=tf.constant(images)))
        np.testing.assert_array_equal(floats["probabilities"], pixels["probabilities"])

    def test_files_of_several_sizes(self, signatures, model):
        sizes = zip(digits().test.images[:2], ((20, 30), (16, 16)), strict=True)
        images = [tf.image.resize(image, size).numpy().astype("uint8") for image, size in sizes]
        files = [tf.io.encode_png(images[0]), tf.io.encode_jpeg(images[1], quality=100, format="grayscale")]
        decoded = [tf.io.decode_image(file).numpy()[np.newaxis] for file in files]
        answers = numpy(signatures["serving_bytes"](images=tf.stack(files)))
        np.testing.assert_allclose(
            answers["probabilities"], np.concatenate([expected(model, image) for image in decoded]), atol=1e-5
        )

    def test_files_with_a_palette(self, signatures, model):
        """Whose indices TensorFlow alone would take for grey."""
        image, file = Image.fromarray(255 - digits().test.images[0, ..., 0]).convert("P"), io.BytesIO()
        image.putpalette([255 - number // 3 for number in range(768)])
        image.save(file, "BMP")
        answers = numpy(signatures["serving_bytes"](images=tf.constant([file.getvalue()])))
        np.testing.assert_allclose(answers["probabilities"], expected(model, digits().test.images[:1]), atol=1e-5)

    def test_features_are_what_the_classifier_reads(self, signatures, model):
        images = digits().test.images[:3]
        features = numpy(signatures["features"](images=tf.constant(images)))["features"]
        answers = numpy(signatures["serving_default"](images=tf.constant(images)))
        kernel, bias = model.get_layer("predictions").get_weights()
        np.testing.assert_allclose(keras.ops.softmax(features @ kernel + bias), answers["probabilities"], atol=1e-5)

    def test_it_has_no_batch_norm_left(self, exported):
        names = {node.op for function in read_graph(exported).library.function for node in function.node_def}
        assert "Conv2D" in names
        assert not {name for name in names if "BatchNorm" in name or name in ("Rsqrt", "XlaMustCompile")}

    def test_its_signatures_share_one_function_whose_weights_are_constants(self, exported, model):
        functions = read_graph(exported).library.function
        folded = keras_resnet.fold_batch_norm(model)
        kernels = [layer for layer in folded.layers if isinstance(layer, keras.layers.Conv2D)]
        assert [node.op for function in functions for node in function.node_def].count("Conv2D") == len(kernels)
        assert not tf.saved_model.load(exported).variables
        assert keras_resnet.card(exported).exports["saved_model"]["bytes"] < 4 * folded.count_params() + 1_000_000

    @pytest.mark.slow
    def test_weights_too_large_for_a_graph_are_variables(self, model, tmp_path, monkeypatch):
        monkeypatch.setattr(saved_model, "LARGEST_GRAPH", 1000)
        folder = export(model, tmp_path / "large")
        assert (folder / "variables" / "variables.data-00000-of-00001").stat().st_size > 4 * model.count_params() * 0.9

    def test_it_warms_up_every_signature(self, exported, signatures):
        pytest.importorskip("tensorflow_serving")
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

        records = tf.data.TFRecordDataset(str(exported / "assets.extra/tf_serving_warmup_requests"))
        requests = [PredictionLog.FromString(record.numpy()).predict_log.request for record in records]
        assert {request.model_spec.signature_name for request in requests} == set(signatures)
        for request in requests:
            images = tf.constant(tf.make_ndarray(request.inputs["images"]))
            assert signatures[request.model_spec.signature_name](images=images)


def read_graph(exported):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return SavedModel.FromString((exported / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def


@pytest.mark.slow
class TestBfloat16:
    def test_convolves_in_bfloat16_between_images_and_probabilities_of_float32(self, narrow):
        nodes = [node for function in read_graph(narrow).library.function for node in function.node_def]
        types = {op: {node.attr["T"].type for node in nodes if node.op == op} for op in ("Conv2D", "MatMul", "Softmax")}
        assert types["Conv2D"] == {tf.bfloat16.as_datatype_enum}
        assert types["MatMul"] == types["Softmax"] == {tf.float32.as_datatype_enum}
        outputs = tf.saved_model.load(narrow).signatures["serving_default"].structured_outputs
        assert outputs["probabilities"].dtype == tf.float32

    def test_differs_a_little_and_is_as_accurate(self, narrow, exported):
        measured, whole = (keras_resnet.card(folder).exports["saved_model"] for folder in (narrow, exported))
        assert whole["difference"] < measured["difference"] <= measured["tolerance"] == 0.02
        assert abs(measured["accuracy"] - whole["accuracy"]) < 0.01
        assert (measured["precision"], "AVX-512 BF16" in measured["faster_on"]) == ("bfloat16", True)

    def test_its_kernels_take_half_the_bytes(self, narrow):
        nodes = [node for function in read_graph(narrow).library.function for node in function.node_def]
        constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
        kernels = [constant for constant in constants if len(constant.tensor_shape.dim) == 4]
        assert {kernel.dtype for kernel in kernels} == {tf.bfloat16.as_datatype_enum}

    def test_is_of_the_saved_model_alone(self, model, tmp_path):
        with pytest.raises(ValueError, match=r"`precision`. Expected 'float32' for onnx"):
            export(model, tmp_path / "out", formats=["saved_model", "onnx"], precision="bfloat16")
        assert not list(tmp_path.iterdir())


class TestOtherNetworks:
    def test_any_size_and_probabilities_and_no_names(self, tmp_path, monkeypatch):
        monkeypatch.setattr(exporting, "compared", lambda job, folder, formats: {})
        model = network((None, None, 1), "softmax", preprocessing=None, class_names=None)
        exported = export(model, tmp_path / "any", preprocessing="unit", fold=False)
        images = digits().test.images[:2]
        answers = numpy(tf.saved_model.load(exported).signatures["serving_default"](images=tf.constant(images)))
        np.testing.assert_allclose(answers["probabilities"], model(images / np.float32(255)), atol=1e-5)
        assert answers["labels"][0, 0].decode() == str(answers["classes"][0, 0])

    @pytest.mark.parametrize("name", ["saved_model", "litert", "onnx"])
    def test_grouped_convolutions_run_on_cpus_also_if_a_gpu_exports_them(self, tmp_path, monkeypatch, name):
        def native(layer, inputs, kernel):
            raise AssertionError(f"{layer.name} has a kernel for GPUs")

        monkeypatch.setattr(exporting, "compared", lambda job, folder, formats: {})
        monkeypatch.setattr(devices, "on_cpu", lambda: False)
        monkeypatch.setattr(devices, "current_device", lambda: "/device:GPU:0")
        model = network(row=GROUPED)
        monkeypatch.setattr(grouped_conv, "native", native)
        assert export(model, tmp_path / "for_all", formats=[name]).exists()
        with pytest.raises(AssertionError, match="has a kernel for GPUs"):
            export(model, tmp_path / "for_gpus", formats=[name], device="gpu")

    def test_one_of_any_size_is_measured_at_the_datas(self, tmp_path, monkeypatch):
        model = network((None, None, 1), preprocessing=None)
        monkeypatch.setattr(exporting, "compared", lambda job, folder, formats: {"size": job.raw_size})
        monkeypatch.setitem(FORMATS, "keras", Format(lambda job, path: path.touch(), "f", 1, fixed=False))
        exported = export(model, tmp_path / "any", formats=["keras", "keras"], data=digits(), preprocessing="unit")
        assert keras_resnet.card(exported).exports == {"size": [8, 8]}

    def test_a_policy_of_half_precision_does_not_reach_the_pixels(self, signatures, model):
        images = digits().test.images[:3]
        wanted = preprocessing(model)(images)
        keras.config.set_dtype_policy("mixed_float16")
        try:
            prepared = preprocessing(model)(images)
        finally:
            keras.config.set_dtype_policy("float32")
        assert prepared.dtype == tf.float32
        np.testing.assert_array_equal(prepared, wanted)

    def test_mixed_precision_is_exported_whole(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = network()
        finally:
            keras.config.set_dtype_policy("float32")
        images = np.random.default_rng(0).normal(size=(2, 12, 12, 1)).astype("float32")
        np.testing.assert_allclose(in_float32(model)(images), network()(images), atol=1e-6)
        assert in_float32(network()).layers[-1].compute_dtype == "float32"


def test_the_command(tmp_path, model):
    model.save(tmp_path / "tiny.keras")
    command = ["export", str(tmp_path / "tiny.keras"), str(tmp_path / "out"), "--format", "onnx", "--data", "digits"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "out/1/model.onnx: onnx, " in result.output
    assert re.search(r" ms an image, accuracy [5-9]\d\.\d\d%$", result.output)
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 2
    assert "does not hold yet" in again.output
