"""Files of our networks load after nothing but `import keras_resnet`."""

import subprocess
import sys
from pathlib import Path

import pytest

import keras_resnet

FILES = Path(__file__).parent.parent / "before_folders"
STOCK, OURS = ("plain", "half"), ("grouped", "fractal")


CODE = f"""
import keras, keras_resnet
for load, names in ((keras.models.load_model, {STOCK}), (keras_resnet.load_model, {STOCK + OURS})):
    print([load(f"{FILES}/{{name}}.keras").name for name in names])
"""


def test_plain_keras_loads_files_of_stock_layers_and_load_model_all():
    process = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    names = [keras_resnet.card(FILES / f"{name}.keras").network for name in STOCK + OURS]
    assert process.stdout == f"{names[: len(STOCK)]}\n{names}\n"


@pytest.mark.parametrize("name", ["model.h5", "missing.keras"])
def test_other_files_are_refused(name, tmp_path):
    (tmp_path / "model.h5").touch()
    with pytest.raises(ValueError, match=r"`path`. Expected a `.keras` file"):
        keras_resnet.load_model(tmp_path / name)
