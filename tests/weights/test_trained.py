"""The network that this project trained, on 200 real images: every fiftieth of CIFAR-10's test split."""

from importlib.resources import files
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_resnet

ROOT = Path(__file__).parents[2]
PUBLISHED = 1 - 0.0875  # He et al. 2015, table 6


@pytest.fixture(scope="module")
def sample():
    """images uint8 [200, 32, 32, 3], labels [200], logits float32 [200, 10]"""
    with np.load(Path(__file__).parent / "cifar10_sample.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def model():
    return keras_resnet.ResNet20(weights="cifar10", classifier_activation=None)


def test_it_gives_the_logits_of_its_training(model, sample):
    logits = model.predict(keras_resnet.preprocessing(model)(sample["images"]), verbose=0)
    np.testing.assert_allclose(logits, sample["logits"], atol=2e-3)
    assert np.mean(logits.argmax(1) == sample["labels"]) > PUBLISHED - 0.04


def test_its_card_says_how_it_was_trained(model):
    card = keras_resnet.card(model)
    assert card.metrics["accuracy"] >= PUBLISHED
    assert card.class_names[3] == "cat"
    assert (card.data["name"], card.data["test"], card.seed) == ("cifar10", 10_000, 0)
    assert card.recipe["epochs"] >= 24


def test_probabilities_and_names(sample):
    model = keras_resnet.ResNet20(weights="cifar10")
    found = model.predict(keras_resnet.preprocessing(model)(sample["images"][:20]), verbose=0)
    names = [best[0][1] for best in keras_resnet.decode_predictions(found, top=1, model=model)]
    truth = [keras_resnet.card(model).class_names[label] for label in sample["labels"][:20]]
    assert sum(map(str.__eq__, names, truth)) >= 17


def test_it_is_the_file_of_the_run():
    shipped = files("keras_resnet") / "weights" / "trained" / "resnet20-cifar10.keras"
    assert shipped.read_bytes() == (ROOT / "saved_models" / "resnet20-cifar10" / "model.keras").read_bytes()


def test_another_number_of_classes_keeps_the_rest(model):
    fresh = keras_resnet.ResNet20(weights="cifar10", classes=3)
    kernel = "stage3_block3_a2_conv"
    np.testing.assert_array_equal(fresh.get_layer(kernel).kernel, model.get_layer(kernel).kernel)


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnet32", ".cifar10. has only resnet20"), ("plain20", "`weights`"), ("seresnet20", "`weights`")],
)
def test_other_networks_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        keras_resnet.build(name, weights="cifar10")


def test_load_weights_takes_the_name():
    model = keras.models.clone_model(keras_resnet.ResNet20())
    assert keras_resnet.load_weights(model, "cifar10").card.data["name"] == "cifar10"
