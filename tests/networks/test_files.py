"""Files of our networks hold Keras' own layers, and load where this package is not installed."""

import json
import zipfile
from importlib import import_module

import keras
import numpy as np
import pytest

import keras_resnet
from helpers.plain_keras import outputs_of_files

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
SMALL = dict(stages=((8,), (16,)), stem_filters=8, input_shape=(32, 32, 3), classes=3)
NETWORKS = {
    "resnet20": SMALL | dict(drop_path=0.1, dropout=0.1, se_ratio=4),
    "resnet18v2": SMALL | dict(stem="imagenet_bare"),
    "pyramidnet110_a48": SMALL,
    "plain1202": SMALL | dict(stages=((8,) * 6,)),  # nested
    "densenetbc100_k12": dict(stages=(2, 2), input_shape=(32, 32, 3), classes=3),
}
OF_OUR_LAYERS = {
    "resnext29_32x4d": SMALL | dict(groups=2),
    "fractalnet20": dict(stages=(4, 8), drop_path=0.1, input_shape=(32, 32, 3), classes=3),
}


@pytest.fixture(autouse=True)
def nested(monkeypatch):
    """Networks of more than two blocks are nested as those of more than a hundred are."""
    monkeypatch.setattr(import_module("keras_resnet.networks.resnet"), "PART", 2)
    monkeypatch.setattr(import_module("keras_resnet.networks.resnet"), "LONGEST_CHAIN", 30)


def in_another_model(model):
    return keras.Sequential([keras.Input((32, 32, 3)), model, keras.layers.Dense(2)])


def saved_by_a_checkpoint(model, path):
    model.compile("sgd", "sparse_categorical_crossentropy")
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    model.fit(IMAGES, np.arange(2), epochs=1, verbose=0, callbacks=[checkpoint])


@pytest.mark.slow
def test_files_load_without_this_package(tmp_path):
    models = {name: keras_resnet.build(name, **settings) for name, settings in NETWORKS.items()}
    models |= {f"{name}_in_another": in_another_model(model) for name, model in models.items()}
    for name, settings in OF_OUR_LAYERS.items():
        models[name] = keras_resnet.portable(keras_resnet.build(name, **settings))
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    models["checkpoint"] = keras_resnet.build("resnet20", **NETWORKS["resnet20"])
    saved_by_a_checkpoint(models["checkpoint"], tmp_path / "checkpoint.keras")
    outputs = outputs_of_files(tmp_path, IMAGES)
    assert outputs.keys() == models.keys()
    for name, model in models.items():
        np.testing.assert_allclose(outputs[name], model(IMAGES), rtol=0, atol=1e-6, err_msg=name)


def layers_in(path):
    return json.loads(zipfile.ZipFile(path).read("config.json"))["config"]["layers"]


def objects_in(config):
    """What a file makes objects of, however deep."""
    if isinstance(config, dict):
        if "registered_name" in config:
            yield config
        for value in config.values():
            yield from objects_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from objects_in(value)


@pytest.mark.parametrize("name", [*NETWORKS, *OF_OUR_LAYERS])
def test_files_have_the_json_of_keras_own_layers(name, tmp_path):
    model = keras_resnet.build(name, **(NETWORKS | OF_OUR_LAYERS)[name])
    (keras_resnet.portable(model) if name in OF_OUR_LAYERS else model).save(tmp_path / "net.keras")
    objects = list(objects_in(layers_in(tmp_path / "net.keras")))
    names = {part["registered_name"] for part in objects if "layers" in part["module"]}
    assert names == {None}
    assert {part["module"].split(".")[0] for part in objects} == {"keras"}


def test_a_loaded_network_is_saved_as_it_was_loaded(tmp_path):
    keras_resnet.portable(keras_resnet.build("resnext29_32x4d", **SMALL | dict(groups=2))).save(tmp_path / "a.keras")
    keras_resnet.load_model(tmp_path / "a.keras").save(tmp_path / "b.keras")
    saved = [
        [(layer["module"], layer["class_name"], layer["registered_name"]) for layer in layers_in(tmp_path / name)]
        for name in ("a.keras", "b.keras")
    ]
    assert saved[0] == saved[1]
