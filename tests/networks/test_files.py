"""Files of our networks hold Keras' own layers, and load where this package is not installed."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import keras_resnet

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
SMALL = dict(stages=((8,), (16,)), stem_filters=8, input_shape=(32, 32, 3), classes=3)
NETWORKS = {
    "resnet20": SMALL | dict(drop_path=0.1, dropout=0.1, se_ratio=4),
    "resnet18v2": SMALL | dict(stem="imagenet_bare"),
    "pyramidnet110_a48": SMALL,
    "plain1202": SMALL | dict(stages=((8,) * 130,)),  # nested
    "densenetbc100_k12": dict(stages=(2, 2), input_shape=(32, 32, 3), classes=3),
}
OF_OUR_LAYERS = {
    "resnext29_32x4d": SMALL | dict(groups=2),
    "fractalnet20": dict(stages=(4, 8), drop_path=0.1, input_shape=(32, 32, 3), classes=3),
}
WITHOUT_THIS_PACKAGE = """
import sys
sys.modules["keras_resnet"] = None  # importing it fails
import keras, numpy as np
for index, path in enumerate(sys.argv[2:]):
    np.save(f"{path}.npy", keras.models.load_model(path)(np.load(sys.argv[1])))
"""


def saved_by_keras(model, path):
    model.save(path)


def saved_by_a_checkpoint(model, path):
    model.compile("sgd", "sparse_categorical_crossentropy")
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    model.fit(IMAGES, np.arange(2), epochs=1, verbose=0, callbacks=[checkpoint])


def saved_in_another_model(model, path):
    keras.Sequential([keras.Input((32, 32, 3)), model, keras.layers.Dense(2)]).save(path)


def load_elsewhere(paths, folder):
    """What the files' networks make of the images in a process that cannot import this package."""
    np.save(folder / "images.npy", IMAGES)
    command = [sys.executable, "-P", "-c", WITHOUT_THIS_PACKAGE, folder / "images.npy", *paths]
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [np.load(f"{path}.npy") for path in paths]


def test_plain_files_load_without_this_package(tmp_path):
    written = []
    for name, settings in NETWORKS.items():
        model = keras_resnet.build(name, **settings)
        for save in (saved_by_keras, saved_in_another_model, saved_by_a_checkpoint):
            written.append(tmp_path / f"{name}_{save.__name__}.keras")
            save(model, written[-1])
    for path, outputs in zip(written, load_elsewhere(written, tmp_path), strict=True):
        np.testing.assert_allclose(outputs, keras_resnet.load_model(path)(IMAGES), rtol=0, atol=1e-6, err_msg=path.name)


@pytest.mark.parametrize("name", OF_OUR_LAYERS)
def test_files_of_our_layers_load_without_this_package_once_they_are_portable(name, tmp_path):
    model = keras_resnet.build(name, **OF_OUR_LAYERS[name])
    path = tmp_path / "portable.keras"
    keras_resnet.portable(model).save(path)
    [outputs] = load_elsewhere([path], tmp_path)
    np.testing.assert_allclose(outputs, model(IMAGES), rtol=0, atol=1e-6)


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
