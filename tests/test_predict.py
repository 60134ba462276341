"""From images to names: preprocessing as a layer, classes by name, and the commands `convert` and `predict`."""

import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import keras_resnet
from keras_resnet import (
    PREPROCESSINGS,
    Preprocessing,
    ResNetConfig,
    decode_predictions,
    portable,
    preprocessing,
    resnet,
)
from keras_resnet.cli import main
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import IMAGENET, Card, attach, middle
from keras_resnet.predict import ends_in_logits

TINY = ResNetConfig(stages=((8,), (8,)), stem_filters=8)


def network(shape=(24, 32, 3), classes=4, **known):
    model = resnet(TINY, input_shape=shape, classes=classes)
    attach(model, Card(network="tiny", config={}, input_shape=shape, **known))
    return model


def photographs(height=40, width=60, channels=3):
    """Smooth, as photographs are."""
    y, x, c = np.meshgrid(*map(np.arange, (height, width, channels)), indexing="ij")
    return np.stack([(y * 3 + x * 2 + c * 9) % 256, 255 - (y + x * 4) % 256]).astype("uint8")


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_named_preprocessing_normalizes_to_the_size_of_the_network(name):
    row, _ = PREPROCESSINGS[name]
    images = np.full((2, 24, 32, 3), (10, 20, 30), "uint8")
    expected = (images - np.array(row.mean)) / row.std
    np.testing.assert_allclose(numpy(preprocessing(network(), name)(images)), expected, rtol=1e-5, atol=1e-5)


def test_imagenet_preprocessing_keeps_224_of_256_pixels():
    layer = preprocessing(network((224, 224, 3)), "imagenet")
    assert layer(photographs(300, 500)).shape == (2, 224, 224, 3)
    assert layer.get_layer("resized").reads.covering(300, 500) == (256, 426)


def test_images_of_the_networks_size_keep_their_pixels():
    images = photographs(24, 32)
    np.testing.assert_array_equal(numpy(preprocessing(network(), "none")(images)), images)


def test_bytes_and_floats_give_the_same():
    layer, images = preprocessing(network(), "cifar10"), photographs()
    np.testing.assert_array_equal(numpy(layer(images)), numpy(layer(images.astype("float32"))))


def test_it_is_the_same_inside_a_dataset():
    layer, images = preprocessing(network(), "imagenet"), photographs()
    inside = next(iter(tf.data.Dataset.from_tensors(images).map(layer)))
    np.testing.assert_allclose(inside, numpy(layer(images)), atol=1e-5)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_it_is_the_same_in_a_graph_that_does_not_know_the_size_of_its_images(interpolation):
    """As in a SavedModel."""
    row = Preprocessing((10.0,) * 3, (2.0,) * 3, interpolation=interpolation).sized(24, 32, 0.875)
    layer, images = preprocessing(network(), row), np.random.default_rng(0).integers(0, 256, (2, 50, 41, 3), "uint8")
    traced = tf.function(lambda images: layer(images), input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    np.testing.assert_allclose(traced(images), layer(images), atol=1e-4)


def test_a_halved_image_is_the_mean_of_its_pixels_and_not_every_second_one():
    noise = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3)).astype("uint8")
    small = numpy(preprocessing(network(), "none")(noise))
    assert small.std() < 0.6 * noise.std()


def test_it_keeps_the_middle_of_a_wide_image():
    image = np.zeros((1, 24, 96, 3), "uint8")
    image[:, :, 32:64] = 200
    np.testing.assert_array_equal(numpy(preprocessing(network(), "none")(image)), 200)


def test_one_channel_takes_the_mean_of_the_means():
    grey = preprocessing(network((24, 32, 1)), "tf")(np.full((1, 24, 32, 1), 255, "uint8"))
    np.testing.assert_allclose(numpy(grey), 1)


def test_the_card_says_how_to_read_images():
    row = Preprocessing(mean=(1, 2, 3), std=(2, 2, 2)).sized(24, 32)
    layer = preprocessing(network(preprocessing=row))
    np.testing.assert_allclose(numpy(layer(np.full((1, 24, 32, 3), 5, "uint8")))[0, 0, 0], [2, 1.5, 1])


def test_a_row_of_ones_own_comes_before_the_card():
    known = network(preprocessing=Preprocessing((0,) * 3, (1,) * 3))
    layer = preprocessing(known, Preprocessing((0,) * 3, (5,) * 3))
    np.testing.assert_allclose(numpy(layer(np.full((1, 24, 32, 3), 5, "uint8"))), 1)


def test_without_a_card_a_row_is_asked_for():
    with pytest.raises(ValueError, match=r"`preprocessing`. Expected .*'imagenet'.*the network's card has none"):
        preprocessing(network())


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"`preprocessing`. Expected .*'imagenet'.*Received: .*'imagnet'"):
        preprocessing(network(), "imagnet")


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"mean": ()}, "mean"),
        ({"std": (1, 1, 0)}, "std"),
        ({"std": (1, 1)}, "std"),
        ({"resize": (1,)}, "resize"),
        ({"crop": 24}, "crop"),
        ({"interpolation": "cubic"}, "interpolation"),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(changes, argument):
    with pytest.raises(ValueError, match=f"Invalid value for argument `{argument}`"):
        Preprocessing(**{"mean": (0, 0, 0), "std": (1, 1, 1), **changes})


def test_a_file_of_it_loads(tmp_path):
    layer = preprocessing(network(), "imagenet")
    images = photographs()
    expected = numpy(layer(images))
    layer.save(tmp_path / "preprocessing.keras")
    np.testing.assert_allclose(numpy(keras_resnet.load_model(tmp_path / "preprocessing.keras")(images)), expected)


def test_a_portable_one_is_made_of_stock_layers_and_reads_the_same_middle():
    images = keras.Input((40, 60, 3))
    layer = preprocessing(network(), "none")
    stock = portable(keras.Model(images, layer(images)))
    assert {type(layer).__module__.partition(".")[0] for layer in walk(stock)} == {"keras"}
    smooth = np.repeat(np.linspace(50, 200, 60, dtype="float32")[np.newaxis, :, np.newaxis], 3, 2)
    smooth = np.broadcast_to(smooth, (1, 40, 60, 3))
    np.testing.assert_allclose(numpy(stock(smooth)), numpy(layer(smooth)), atol=3)


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos3"])
def test_what_overshoots_is_cut_off_as_in_files_of_eight_bits(interpolation):
    row = Preprocessing((0,) * 3, (1,) * 3, resize=(24, 32), interpolation=interpolation)
    edges = np.zeros((1, 48, 64, 3), "uint8")
    edges[:, 20:, 30:] = 255
    small = numpy(preprocessing(network(), row)(edges))
    assert (small.min(), small.max()) == (0, 255)


def test_the_middle_is_rounded_half_to_even():
    """As torchvision rounds it: 11 pixels too many leave 6 before the middle, 13 leave 6 too."""
    assert [middle(length, 224) for length in (224, 225, 227, 235, 237)] == [0, 0, 2, 6, 6]


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"`crop`. Expected at most the \(24, 24\) of `resize`"):
        Preprocessing((0,) * 3, (1,) * 3, resize=(24, 24), crop=(20, 25))


# Names


def test_classes_have_the_names_of_the_card():
    model = network(class_names=("ant", "bee", "cat", "dog"))
    found = decode_predictions(np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]), top=2, model=model)
    assert found == [[(3, "dog", 0.4), (2, "cat", 0.3)], [(0, "ant", 0.7), (1, "bee", 0.1)]]


def test_classes_without_names_have_numbers():
    assert decode_predictions(np.array([[0.2, 0.8]]), model=network(classes=2)) == [[(1, "1", 0.8), (0, "0", 0.2)]]


@pytest.fixture
def class_index(monkeypatch):
    """Keras' list, as if it had been downloaded."""
    names = {str(index): [f"n{index:08}", f"thing_{index}"] for index in range(1000)}
    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", names)


@pytest.mark.parametrize("known", [{}, {"class_names": IMAGENET}])
def test_imagenets_names_are_those_of_keras_applications(known, class_index):
    predictions = np.eye(1000)[[7, 990]]
    model = network(classes=1000, **known) if known else None
    found = decode_predictions(predictions, top=1, model=model)
    assert [best[0][:2] for best in found] == [("n00000007", "thing_7"), ("n00000990", "thing_990")]


def test_names_that_cannot_be_downloaded_are_a_connection_error(monkeypatch):
    def unreachable(*args, **kwargs):
        raise Exception("URL fetch failure")

    monkeypatch.setattr("keras.src.applications.imagenet_utils.CLASS_INDEX", None)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    with pytest.raises(ConnectionError, match="ImageNet's class names could not be downloaded: URL fetch failure"):
        decode_predictions(np.eye(1000)[:1])


@pytest.mark.parametrize(
    ("predictions", "top", "argument"),
    [(np.ones(4), 5, "predictions"), (np.ones((1, 3)), 5, "predictions"), (np.ones((1, 4)), 0, "top")],
)
def test_predictions_of_another_shape_are_refused(predictions, top, argument):
    with pytest.raises(ValueError, match=f"`{argument}`"):
        decode_predictions(predictions, top, network(class_names=("a", "b", "c", "d")))


# Commands


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.weights.h5"
    keras_resnet.ResNet20(classes=3).save_weights(path)
    return str(path)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(tf.io.encode_png(photographs()[0]).numpy())
    return str(path)


def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_convert_writes_a_file_that_predict_reads(source, image, tmp_path):
    out = tmp_path / "net.keras"
    result = invoke("convert", source, "resnet20", out)
    assert result.exit_code == 0
    assert f"{out}: resnet20, 270,643 parameters, weights of {source}" in result.output
    result = invoke("predict", out, image, image, "--preprocessing", "cifar10")
    assert result.exit_code == 0
    assert re.fullmatch(rf"({re.escape(image)}\n(  +\d+\.\d%  [012]\n){{3}}){{2}}", result.stdout)


def test_convert_keeps_what_is_there(source, tmp_path):
    out = tmp_path / "net.keras"
    out.write_text("mine")
    result = invoke("convert", source, "resnet20", out)
    assert (result.exit_code, out.read_text()) == (2, "mine")
    assert "expected a path where nothing exists yet" in result.output


def test_convert_leaves_nothing_behind_where_it_fails(source, tmp_path):
    result = invoke("convert", source, "resnet32", tmp_path / "net.keras")
    assert result.exit_code == 2
    assert "missing: " in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["source.weights.h5"]


def test_convert_takes_fields_of_the_row(source, tmp_path):
    result = invoke("convert", source, "resnet20", tmp_path / "net.keras", "--shortcut", "B")
    assert result.exit_code == 2
    assert "stage2_block1_skip_conv" in result.output


def test_convert_wants_the_suffix_of_what_it_writes(source, tmp_path):
    result = invoke("convert", source, "resnet20", tmp_path / "net.h5")
    assert (result.exit_code, "that ends in .keras" in result.output) == (2, True)


def test_predict_asks_for_a_preprocessing(source, image, tmp_path):
    invoke("convert", source, "resnet20", tmp_path / "net.keras")
    result = invoke("predict", tmp_path / "net.keras", image)
    assert (result.exit_code, "the network's card has none" in result.output) == (2, True)


def test_predict_names_the_file_that_is_no_image(source, tmp_path):
    invoke("convert", source, "resnet20", tmp_path / "net.keras")
    (tmp_path / "note.jpg").write_text("no image")
    result = invoke("predict", tmp_path / "net.keras", tmp_path / "note.jpg", "--preprocessing", "unit")
    assert (result.exit_code, f"Received: '{tmp_path / 'note.jpg'}'" in result.output) == (2, True)


def test_predict_refuses_what_is_no_model(image, tmp_path):
    (tmp_path / "net.keras").write_text("no model")
    result = invoke("predict", tmp_path / "net.keras", image)
    assert (result.exit_code, "expected a `.keras` file or an export" in result.output) == (2, True)


def test_predict_shows_numbers_where_names_cannot_be_had(image, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "keras_resnet.predict.decode_predictions", lambda *args: (_ for _ in ()).throw(ConnectionError("off"))
    )
    network(preprocessing=Preprocessing((0,) * 3, (255,) * 3).sized(24, 32)).save(tmp_path / "net.keras")
    result = invoke("predict", tmp_path / "net.keras", image)
    assert result.exit_code == 0
    assert "off. Classes are shown by number." in result.stderr
    assert len(result.stdout.splitlines()) == 5


def test_plain_keras_loads_a_file_with_a_card(tmp_path):
    model = network(class_names=("a", "b", "c", "d"))
    model.save(tmp_path / "net.keras")
    assert "keras_resnet.json" in zipfile.ZipFile(tmp_path / "net.keras").namelist()
    assert keras_resnet.card(keras.models.load_model(tmp_path / "net.keras")) is None
    assert keras_resnet.card(keras_resnet.load_model(tmp_path / "net.keras")).class_names == ("a", "b", "c", "d")


def test_a_model_without_a_card_loads_too(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "net.keras")
    assert keras_resnet.card(tmp_path / "net.keras") is None
    assert keras_resnet.card(keras_resnet.load_model(tmp_path / "net.keras")) is None


class TestEnsemble:
    READ = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))

    def pair(self, activation=None, **known):
        keras.utils.set_random_seed(0)
        models = [resnet(TINY, input_shape=(8, 8, 3), classes=4, classifier_activation=activation) for _ in range(2)]
        for model in models:
            attach(model, Card(network="tiny", config={}, input_shape=(8, 8, 3), **known))
        return models

    @pytest.mark.parametrize("activation", [None, "softmax"])
    def test_gives_the_mean_of_the_probabilities(self, activation):
        models = self.pair(activation)
        images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
        softmax = keras.ops.softmax if activation is None else np.asarray
        expected = np.mean([softmax(model(images)) for model in models], 0)
        both = keras_resnet.ensemble(models)
        np.testing.assert_allclose(both(images), expected, atol=1e-6)
        assert not ends_in_logits(both)
        np.testing.assert_allclose(keras_resnet.ensemble([both, both])(images), expected, atol=1e-6)

    def test_is_read_evaluated_and_saved_as_its_members(self, tmp_path):
        both = keras_resnet.ensemble(self.pair(preprocessing=self.READ, class_names=tuple("abcd")))
        assert (both.card.preprocessing, both.card.class_names) == (self.READ, tuple("abcd"))
        images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")
        source = keras_resnet.load_data(((images, np.arange(8) % 4), (images, np.arange(8) % 4)))
        assert keras_resnet.evaluate(both, source).images == 8
        both.save(tmp_path / "both.keras")
        loaded = keras_resnet.load_model(tmp_path / "both.keras")
        np.testing.assert_allclose(loaded(images / 255.0), both(images / 255.0), atol=1e-6)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (dict(shape=(12, 12, 3)), "the same images"),
            (dict(classes=5), "the same number of classes"),
            (dict(preprocessing=READ), "the same preprocessing"),
            (dict(class_names=tuple("abcd")), "the same class names"),
        ],
    )
    def test_refuses_what_does_not_agree(self, change, message):
        with pytest.raises(ValueError, match=message):
            keras_resnet.ensemble([network((8, 8, 3)), network(**{"shape": (8, 8, 3), **change})])

    def test_takes_two_models_at_least(self):
        with pytest.raises(ValueError, match="two or more"):
            keras_resnet.ensemble([network()])
