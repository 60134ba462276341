"""Exports compute what the network computes, from pixels and from files, and replace nothing unasked."""

import io
import re
from contextlib import suppress

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import keras_resnet
from keras_resnet import Preprocessing, ResNetConfig, export, preprocessing, resnet
from keras_resnet.cli import main
from keras_resnet.data import digits
from keras_resnet.files import aside, overwritten, restored
from keras_resnet.modelcard import Card, attach
from keras_resnet.serving import export as module
from keras_resnet.serving.export import FORMATS, ExportError, run_elsewhere

ROW = Preprocessing((20.0,), (90.0,)).sized(12, 12, share=0.75)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TINY = ResNetConfig(stages=((8,), (16,)), stem_filters=8)

pytestmark = [
    pytest.mark.xdist_group("serving"),
    pytest.mark.filterwarnings(
        "ignore:In the future `np.object`:FutureWarning",  # Keras 3.15 patches tf2onnx for NumPy 2
        "ignore:.*tf.lite.Interpreter is deprecated",
    ),
]
WHOLE_BATCHES = 1280  # images: TensorFlow 2.21 crashes in the gradient of a strided 1x1 kernel of few channels when the
# size of a batch changes


def network(shape=(12, 12, 1), activation=None, **known):
    keras.utils.set_random_seed(0)
    model = resnet(TINY, input_shape=shape, classes=10, classifier_activation=activation)
    known = {"preprocessing": ROW, "class_names": NAMES} | known
    attach(model, Card(network="tiny", config={}, input_shape=shape, **known))
    return model


@pytest.fixture(scope="module")
def model():
    """Trained, so that its probabilities are far from equal."""
    model = network()
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
        known = keras_resnet.card(exported / "model.keras")
        assert (known.class_names, known.preprocessing) == (NAMES, ROW)


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
        found = (signatures["serving_float"](images=tf.constant(images, tf.float32)),
                 signatures["serving_default"](images=tf.constant(images)))  # fmt: skip
        np.testing.assert_array_equal(*[numpy(answers)["probabilities"] for answers in found])

    def test_files_of_several_sizes(self, signatures, model):
        images = [tf.image.resize(image, size).numpy().astype("uint8")
                  for image, size in zip(digits().test.images[:2], ((20, 30), (16, 16)), strict=True)]  # fmt: skip
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
        found = numpy(signatures["features"](images=tf.constant(images)))["features"]
        answers = numpy(signatures["serving_default"](images=tf.constant(images)))
        kernel, bias = model.get_layer("predictions").get_weights()
        np.testing.assert_allclose(keras.ops.softmax(found @ kernel + bias), answers["probabilities"], atol=1e-5)

    def test_it_has_no_batch_norm_left(self, exported):
        names = {node.op for function in read_graph(exported).library.function for node in function.node_def}
        assert "Conv2D" in names
        assert not {name for name in names if "BatchNorm" in name or name in ("Rsqrt", "XlaMustCompile")}

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


class TestOtherNetworks:
    def test_any_size_and_probabilities_and_no_names(self, tmp_path):
        model = network((None, None, 1), "softmax", preprocessing=None, class_names=None)
        exported = export(model, tmp_path / "any", preprocessing="unit", fold=False)
        images = digits().test.images[:2]
        answers = numpy(tf.saved_model.load(exported).signatures["serving_default"](images=tf.constant(images)))
        np.testing.assert_allclose(answers["probabilities"], model(images / np.float32(255)), atol=1e-5)
        assert answers["labels"][0, 0].decode() == str(answers["classes"][0, 0])

    def test_one_of_any_size_is_measured_at_the_datas(self, tmp_path, monkeypatch):
        model = network((None, None, 1), preprocessing=None)
        monkeypatch.setattr(module, "compared", lambda job, folder, formats: {"size": job.raw_size})
        monkeypatch.setitem(module.FORMATS, "keras", module.Format(lambda job, path: path.touch(), "f", 1, fixed=False))
        exported = export(model, tmp_path / "any", formats=["keras", "keras"], data=digits(), preprocessing="unit")
        assert keras_resnet.card(exported).exports == {"size": [8, 8]}

    def test_a_policy_of_half_precision_does_not_reach_the_pixels(self, signatures, model):
        images = digits().test.images[:3]
        wanted = preprocessing(model)(images)
        keras.config.set_dtype_policy("mixed_float16")
        try:
            found = preprocessing(model)(images)
        finally:
            keras.config.set_dtype_policy("float32")
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, wanted)

    def test_mixed_precision_is_exported_whole(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = network()
        finally:
            keras.config.set_dtype_policy("float32")
        images = np.random.default_rng(0).normal(size=(2, 12, 12, 1)).astype("float32")
        np.testing.assert_allclose(module.in_float32(model)(images), network()(images), atol=1e-6)
        assert module.in_float32(network()).layers[-1].compute_dtype == "float32"


class TestVersions:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """Exports that write nothing but a file."""
        monkeypatch.setattr(module, "compared", lambda job, folder, formats: {})
        form = module.Format(lambda job, path: path.write_text("whole"), "file", 1e-4)
        monkeypatch.setitem(module.FORMATS, "saved_model", form)
        return tmp_path / "exports"

    def test_an_existing_one_is_refused_and_another_added(self, folder):
        export(network(), folder)
        (folder / "1" / "mine").touch()
        with pytest.raises(ValueError, match=r"`version`. Expected one that .* does not hold yet, 'next'"):
            export(network(), folder)
        assert export(network(), folder, version="next").name == "2"
        assert export(network(), folder, version=7).name == "7"
        assert export(network(), folder, version="next").name == "8"
        assert (folder / "1" / "mine").exists()

    def test_what_another_process_wrote_meanwhile_stays(self, folder, monkeypatch):
        def meanwhile(job, path):
            (folder / "1").mkdir(exist_ok=True)
            (folder / "1" / "mine").touch()

        monkeypatch.setitem(module.FORMATS, "saved_model", module.Format(meanwhile, "file", 1e-4))
        with pytest.raises(ValueError, match=r"`path`. Expected a path where nothing else was written meanwhile"):
            export(network(), folder, version="next")
        assert [path.name for path in folder.iterdir()] == ["1"]
        assert [path.name for path in (folder / "1").iterdir()] == ["mine"]

    def test_overwriting_leaves_nothing_of_the_old_one(self, folder):
        export(network(), folder)
        (folder / "1" / "old").touch()
        export(network(), folder, overwrite=True)
        assert {path.name for path in (folder / "1").iterdir()} == {"file", "card.json", "card.md"}
        assert [path.name for path in folder.iterdir()] == ["1"]

    def test_a_failure_leaves_the_old_one(self, folder, monkeypatch):
        export(network(), folder)

        def fail(job, folder, formats):
            raise ExportError("differs")

        monkeypatch.setattr(module, "compared", fail)
        with pytest.raises(ExportError):
            export(network(), folder, overwrite=True)
        assert [path.name for path in folder.iterdir()] == ["1"]
        assert (folder / "1" / "file").read_text() == "whole"

    @pytest.mark.parametrize("moved", [True, False])
    def test_a_crash_between_the_renames_is_mended(self, folder, moved):
        export(network(), folder)
        (folder / "1" / "old").touch()
        (folder / "1").rename(aside(folder / "1"))
        if moved:
            (folder / "1").mkdir()
        restored(folder)
        assert (folder / "1" / "old").exists() is not moved
        assert [path.name for path in folder.iterdir()] == ["1"]

    def test_a_crash_while_writing_leaves_the_old_one(self, tmp_path):
        (tmp_path / "1").mkdir()
        with suppress(KeyboardInterrupt), overwritten(tmp_path / "1") as partial:
            partial.mkdir()
            raise KeyboardInterrupt
        assert [path.name for path in tmp_path.iterdir()] == ["1"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"formats": ["tensorrt"]}, r"`formats`. Expected some of saved_model, keras, litert"),
            ({"formats": []}, r"`formats`. Expected some of"),
            ({"formats": "onnx"}, r"`formats`. Expected some of"),
            ({"formats": ["litert_int8"]}, r"`data`. Expected a source of real images, which calibrate litert_int8"),
            ({"data": "digits"}, r"`data`. Expected what keras_resnet.load_data returns"),
            ({"version": 0}, r"`version`. Expected a number from 1, or 'next'"),
            ({"version": "last"}, r"`version`. Expected a number from 1, or 'next'"),
            ({"fold": 1}, r"`fold`. Expected True or False"),
            ({"preprocessing": "vgg"}, r"`preprocessing`. Expected a known name"),
        ],
    )
    def test_arguments(self, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            export(network(), tmp_path / "out", **changes)
        assert not list(tmp_path.iterdir())

    def test_data_of_other_channels_and_classes(self, tmp_path):
        images, labels = np.zeros((30, 12, 12, 3), "uint8"), np.arange(30) % 10
        with pytest.raises(ValueError, match=r"`data`. Expected images of the model's 1 channels"):
            export(network(), tmp_path / "out", data=keras_resnet.load_data((images, labels)))
        with pytest.raises(ValueError, match=r"`data`. Expected a source of the model's 10 classes"):
            export(network(), tmp_path / "out", data=keras_resnet.load_data((images[..., :1], labels % 3)))
        assert not list(tmp_path.iterdir())

    def test_a_size_that_is_not_fixed(self, tmp_path):
        with pytest.raises(ValueError, match=r"one that takes images of one size, for litert"):
            export(network((None, None, 1)), tmp_path / "out", formats=["saved_model", "litert"])

    def test_packages_that_are_missing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == "tf2onnx" else name)
        with pytest.raises(ValueError, match=r"onnx only with tf2onnx, as in keras-resnet-zoo\[onnx\]"):
            export(network(), tmp_path / "out", formats=["onnx"])

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "out").touch()
        with pytest.raises(ValueError, match=r"`path`. Expected a folder"):
            export(network(), tmp_path / "out")

    def test_what_computes_something_else_leaves_nothing(self, tmp_path, monkeypatch):
        other = network()
        other.get_layer("predictions").bias.assign(np.arange(10.0))
        monkeypatch.setattr(module, "fold_batch_norm", lambda model: network(activation="softmax") if model else other)
        with pytest.raises(ExportError, match=r"keras differs from the network by .* nothing was written"):
            export(other, tmp_path / "out", formats=["keras"])
        assert not list((tmp_path / "out").iterdir())

    def test_what_does_not_run_says_why(self, tmp_path):
        with pytest.raises(RuntimeError, match=r"did not run in a process of its own:(.|\n)*missing"):
            run_elsewhere([tmp_path / "missing.onnx"], digits().test.images[:1], ROW)


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
