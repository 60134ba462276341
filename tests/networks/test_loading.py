"""Files of our networks load after nothing but `import keras_resnet`."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet import ResNetConfig

FILES = Path(__file__).parent.parent / "before_folders"
STOCK, OURS = ("plain", "half"), ("grouped", "fractal")


CODE = f"""
import keras, keras_resnet
for load, names in ((keras.models.load_model, {STOCK}), (keras_resnet.load_model, {STOCK + OURS})):
    print([load(f"{FILES}/{{name}}.keras").name for name in names])
"""


@pytest.mark.slow
def test_plain_keras_loads_files_of_stock_layers_and_load_model_all():
    process = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    names = [keras_resnet.card(FILES / f"{name}.keras").network for name in STOCK + OURS]
    assert process.stdout == f"{names[: len(STOCK)]}\n{names}\n"


@pytest.mark.parametrize("name", ["model.h5", "missing.keras"])
def test_other_files_are_refused(name, tmp_path):
    (tmp_path / "model.h5").touch()
    with pytest.raises(ValueError, match=r"`path`. Expected a `.keras` file"):
        keras_resnet.load_model(tmp_path / name)


def test_a_model_is_loaded_as_keras_loads_it(tmp_path):
    """All variables that Keras restores, to the bit: weights and the optimizer's. Seeds of dropout are drawn anew."""
    rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
    row = ResNetConfig(stages=((4,), (8,)), stem_filters=4, dropout=0.2, drop_path=0.1)
    model = keras_resnet.resnet(row, classes=3, input_shape=(8, 8, 3))
    model.compile(keras.optimizers.Adam(rate, amsgrad=True), "sparse_categorical_crossentropy", metrics=["accuracy"])
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3))
    model.fit(images, np.arange(4) % 3, verbose=0)
    model.save(tmp_path / "net.keras")
    usual, ours = keras.models.load_model(tmp_path / "net.keras"), keras_resnet.load_model(tmp_path / "net.keras")
    assert variables(ours) == variables(usual)
    assert ours.get_config() == usual.get_config()
    assert ours.optimizer.get_config() == usual.optimizer.get_config()
    assert ours.get_compile_config() == usual.get_compile_config()


def variables(model):
    restored = [variable for variable in model.variables if "seed_generator" not in variable.path]
    return [np.array(variable).tobytes() for variable in (*restored, *model.optimizer.variables)]


def test_bfloat16_is_loaded_as_keras_loads_it(tmp_path):
    layers = [keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16", name="stem")]
    keras.Sequential(layers).save(tmp_path / "net.keras")
    usual, ours = keras.models.load_model(tmp_path / "net.keras"), keras_resnet.load_model(tmp_path / "net.keras")
    assert ours.weights[0].dtype == "bfloat16"
    assert all((np.array(a) == np.array(b)).all() for a, b in zip(ours.weights, usual.weights, strict=True))


def test_objects_that_a_file_shares_are_shared(tmp_path):
    """As in Keras' own loader, which makes one object of what has one id."""
    regularizer = keras.regularizers.L2(0.1)
    first, second = (keras.layers.Dense(3, kernel_regularizer=regularizer) for _ in range(2))
    keras.Sequential([keras.Input((3,)), first, second]).save(tmp_path / "net.keras")
    usual, ours = (load(tmp_path / "net.keras") for load in (keras.models.load_model, keras_resnet.load_model))
    shared = [model.layers[0].kernel_regularizer is model.layers[1].kernel_regularizer for model in (usual, ours)]
    assert shared == [shared[0]] * 2
