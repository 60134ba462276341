"""Weights from the Hugging Face hub: downloaded once, whole or not at all, and from the cache where there is no hub."""

import sys
import time
from contextlib import suppress
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_resnet
from helpers.fake_hub import set_constants, set_endpoint
from helpers.hub_files import json_of, randomized, safetensors_of
from keras_resnet import card
from keras_resnet.checks import ArgumentError
from keras_resnet.weights.catalogue import Checkpoint, Checkpoints

REPOSITORY = "timm/small.first_in1k"
IMAGES = np.random.default_rng(0).normal(size=(2, 40, 40, 3)).astype("float32")
FIRST = Checkpoint(
    network="resnet20",
    tag="first_in1k",
    source=f"hf://{REPOSITORY}",
    revision="main",
    licence="apache-2.0",
    classes=1000,
    size=40,
    crop=0.8,
    interpolation="bicubic",
    normalization="tf",
    top1=50.0,
    top5=75.0,
)


@pytest.fixture(scope="module")
def published():
    """The network whose weights the repository has."""
    model = keras_resnet.ResNet20(classes=1000, input_shape=(40, 40, 3), classifier_activation=None)
    return randomized(model)


@pytest.fixture(scope="module")
def file(published):
    return safetensors_of(published)


@pytest.fixture
def rows(monkeypatch):
    """Puts rows into the place of the catalogue."""

    def put(*rows):
        monkeypatch.setattr("keras_resnet.weights.catalogue.catalogue", lambda: Checkpoints(rows))

    put(FIRST)
    return put


@pytest.fixture
def hub(online, rows, file):
    online.add(REPOSITORY, {"model.safetensors": file})
    return online


def load(weights="first_in1k", **settings):
    return keras_resnet.build("resnet20", weights=weights, classifier_activation=None, **settings)


def gone(monkeypatch):
    """No hub is there any more."""
    set_endpoint(monkeypatch, "http://127.0.0.1:9")


@pytest.mark.parametrize("weights", ["imagenet", "first_in1k", f"hf://{REPOSITORY}"])
def test_a_checkpoint_computes_what_its_network_computed(hub, published, weights):
    hub.add(REPOSITORY, {"config.json": b"{}"})
    model = load(weights, input_shape=(40, 40, 3))
    np.testing.assert_allclose(model(IMAGES), published(IMAGES), rtol=0, atol=1e-4)


def test_the_network_takes_images_of_the_size_of_its_published_accuracy(hub):
    assert load().input_shape == (None, 40, 40, 3)
    assert load(input_shape=(32, 48, 3)).input_shape == (None, 32, 48, 3)
    assert load(include_top=False).input_shape == (None, None, None, 3)


def test_the_card_has_what_the_row_says(hub):
    known = card(load())
    assert (known.weights, known.licence, known.class_names) == (f"hf://{REPOSITORY}", "apache-2.0", "imagenet")
    half = (127.5, 127.5, 127.5)
    reads = keras_resnet.Preprocessing(half, half, resize=(50, 50), crop=(40, 40), interpolation="bicubic")
    assert known.preprocessing == reads


def test_a_model_that_is_there_takes_a_tag_by_its_network(hub, published):
    model = keras_resnet.build("resnet20", name="mine", classes=1000, classifier_activation=None)
    keras_resnet.load_weights(model, "imagenet")
    np.testing.assert_array_equal(model.get_weights()[0], published.get_weights()[0])


def test_a_published_row_is_known_without_its_name(hub):
    model = keras_resnet.resnet(keras_resnet.NETWORKS["resnet20"], weights="first_in1k")
    assert card(model).weights == f"hf://{REPOSITORY}"


def test_a_file_is_downloaded_once(hub):
    load()
    load()
    assert len(hub.downloads(".safetensors")) == 1


def test_a_download_shows_its_progress(hub, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    load()
    assert "model.safetensors" in capsys.readouterr().err


def test_a_later_file_of_the_branch_is_downloaded(hub, published):
    load()
    later = randomized(keras.models.clone_model(published), seed=1)
    hub.add(REPOSITORY, {"model.safetensors": safetensors_of(later)})
    np.testing.assert_array_equal(load().get_weights()[0], later.get_weights()[0])


def test_a_pinned_revision_in_the_cache_is_loaded_without_a_question_to_the_hub(hub, rows):
    commit = hub.branches[REPOSITORY]["main"]
    rows(replace(FIRST, revision=commit))
    assert card(load()).weights == f"hf://{REPOSITORY}@{commit}"
    hub.requests.clear()
    load()
    assert hub.requests == []


def test_what_is_in_the_cache_is_loaded_offline(hub, monkeypatch, published):
    load()
    set_constants(monkeypatch, HF_HUB_OFFLINE=True)
    hub.requests.clear()
    np.testing.assert_array_equal(load().get_weights()[0], published.get_weights()[0])
    assert hub.requests == []


def test_what_is_in_the_cache_is_loaded_where_the_hub_cannot_be_reached(hub, monkeypatch):
    load()
    gone(monkeypatch)
    load()


@pytest.mark.parametrize("weights", ["imagenet", f"hf://{REPOSITORY}"])
def test_a_hub_that_cannot_be_reached_is_said_in_one_line_with_the_file_to_fetch_by_hand(hub, monkeypatch, weights):
    gone(monkeypatch)
    with pytest.raises(ConnectionError) as raised:
        load(weights)
    assert f"http://127.0.0.1:9/{REPOSITORY}/resolve/main/model.safetensors by hand" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_offline_without_the_file_is_said_in_one_line(hub, monkeypatch):
    set_constants(monkeypatch, HF_HUB_OFFLINE=True)
    with pytest.raises(ConnectionError, match=r"^hf://timm/small.first_in1k cannot be downloaded.*by hand"):
        load()
    assert hub.requests == []


@pytest.fixture
def no_pauses(monkeypatch):
    """Between the library's attempts."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def test_a_download_that_breaks_off_goes_on_where_it_was(hub, no_pauses, monkeypatch, published):
    set_constants(monkeypatch, DOWNLOAD_CHUNK_SIZE=1000)
    hub.cut_after = [10_500]
    with suppress(ConnectionError):  # from older versions of the library: it goes on when it is called again
        load()
    np.testing.assert_array_equal(load().get_weights()[0], published.get_weights()[0])
    assert "bytes=10000-" in [of for _, _, of in hub.requests]


def test_a_download_that_stays_broken_off_is_never_loaded(hub, no_pauses, published):
    hub.cut_after = [1000] + [0] * 20
    with pytest.raises(ConnectionError, match=r"cannot be downloaded.*by hand"):
        load()
    hub.cut_after = []
    np.testing.assert_array_equal(load().get_weights()[0], published.get_weights()[0])


def test_a_file_that_is_not_what_the_hubs_hash_says_is_refused(hub):
    hub.spoiled.add("model.safetensors")
    with pytest.raises(ArgumentError, match=r"the whole file, of the hash [0-9a-f]{64}: remove .* and load again"):
        load()


def test_a_file_that_was_damaged_in_the_cache_is_refused(hub, tmp_path):
    load()
    (cached,) = (tmp_path / "cache").glob("*/blobs/*")
    cached.write_bytes(cached.read_bytes()[:-1] + b"!")
    with pytest.raises(ArgumentError, match="the whole file"):
        load()


def test_a_small_file_is_checked_too(hub):
    hub.add(REPOSITORY, {"config.json": json_of({"num_classes": 1000})})
    hub.spoiled.add("config.json")
    with pytest.raises(ArgumentError, match=r"the whole file, of the hash [0-9a-f]{40}:"):
        load(f"hf://{REPOSITORY}")


def test_a_file_of_another_network_is_refused(hub, rows):
    rows(replace(FIRST, network="resnet32"))
    with pytest.raises(ArgumentError, match="missing: stage1_block4_a1_conv"):
        keras_resnet.build("resnet32", weights="imagenet")


def test_a_file_of_another_number_of_classes_than_the_rows_is_refused(hub, rows):
    rows(replace(FIRST, classes=10))
    with pytest.raises(ArgumentError, match="10 classes, as the catalogue says, and not 1000"):
        load()


def test_what_the_hub_does_not_have_is_refused(hub, rows):
    rows(replace(FIRST, source="hf://timm/nothing"))
    with pytest.raises(ArgumentError, match="a repository and a revision that the hub has"):
        load()
    rows(replace(FIRST, revision="0" * 40))
    with pytest.raises(ArgumentError, match="a repository and a revision that the hub has"):
        load()
    hub.add("timm/empty", {"README.md": b""})
    rows(replace(FIRST, source="hf://timm/empty"))
    with pytest.raises(ArgumentError, match=r"a repository with config.json and model.safetensors"):
        load()


def test_a_repository_without_a_config_is_ours(hub, tmp_path):
    model = randomized(keras_resnet.ResNet20(classes=7, input_shape=(24, 24, 3)))
    model.save(tmp_path / "model.keras")
    hub.add("me/mine", {"model.keras": (tmp_path / "model.keras").read_bytes()})
    loaded = load("hf://me/mine")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])
    assert card(loaded).weights == "hf://me/mine"


def test_a_licence_without_commercial_use_is_warned_of_and_stays_on_the_card(hub, rows, tmp_path):
    rows(replace(FIRST, licence="cc-by-nc-4.0"))
    with pytest.warns(UserWarning, match=f"hf://{REPOSITORY} have the licence cc-by-nc-4.0: not for commercial use"):
        model = load()
    model.save(tmp_path / "model.keras")
    assert card(tmp_path / "model.keras").licence == "cc-by-nc-4.0"
    assert "| licence | cc-by-nc-4.0 |" in card(model).to_markdown()
    with pytest.warns(UserWarning, match="not for commercial use"):
        again = load(tmp_path / "model.keras")
    assert card(again).licence == "cc-by-nc-4.0"


def test_an_address_tells_its_size_and_its_licence(hub):
    told = {"num_classes": 1000, "pretrained_cfg": {"input_size": [3, 40, 40], "license": "cc-by-nc-4.0"}}
    hub.add(REPOSITORY, {"config.json": json_of(told)})
    with pytest.warns(UserWarning, match="not for commercial use"):
        model = load(f"hf://{REPOSITORY}")
    assert (model.input_shape[1:3], card(model).licence) == ((40, 40), "cc-by-nc-4.0")
