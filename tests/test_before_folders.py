"""What the code before the folders (f6323d2) wrote still loads, resumes and serves: before_folders/make.py."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import keras_resnet
from keras_resnet.experiment import Run, experiment
from keras_resnet.serving.compare import run_elsewhere
from keras_resnet.tuning.records import records

THEN = Path(__file__).parent / "before_folders"
IMAGES = np.load(THEN / "images.npy").astype("float32")
with np.load(THEN / "outputs.npz") as archive:
    OUTPUTS = dict(archive)
SMALL = {"stages": [[8], [8], [16]], "stem_filters": 8}
EXACT = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize(("name", "tolerance"), [("plain", 1e-6), ("grouped", 1e-6), ("fractal", 1e-6), ("half", 1e-2)])
def test_models_load_and_predict_what_they_predicted(name, tolerance):
    model = keras_resnet.load_model(THEN / f"{name}.keras")
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), OUTPUTS[name], rtol=0, atol=tolerance)
    assert keras_resnet.card(model).network == model.name


def test_weights_load():
    model = keras_resnet.build("plain20", weights=THEN / "plain.weights.h5", **SMALL)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), OUTPUTS["plain"], **EXACT)


@pytest.mark.slow
def test_a_killed_run_ends_as_it_would_have_ended(tmp_path):
    shutil.copytree(THEN / "runs", tmp_path / "runs")
    run = Run.read(tmp_path / "runs" / "resnet20-digits")
    experiment(run, tmp_path / "runs", resume=True, say=lambda _: None)
    model = keras_resnet.load_model(tmp_path / "runs" / "resnet20-digits" / "model.keras")
    with np.load(THEN / "resumed.npz") as expected:
        for index, weight in enumerate(model.get_weights()):
            np.testing.assert_allclose(weight, expected[f"arr_{index}"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_export_serves():
    card = keras_resnet.card(THEN / "export")
    pixels = np.clip(np.round(IMAGES * 64 + 128), 0, 255).astype("uint8")
    model = keras_resnet.load_model(THEN / "plain.keras")
    [(probabilities, _)] = run_elsewhere([THEN / "export" / "1"], pixels, card.preprocessing)
    np.testing.assert_allclose(probabilities, model.predict(card.preprocessing(pixels.astype("float32"))), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning")  # keras-tuner 1.4.8
@pytest.mark.filterwarnings("ignore:getName:DeprecationWarning")
def test_a_search_goes_on(tmp_path):
    shutil.copytree(THEN / "search", tmp_path / "search")
    options = {"network": "resnet20", "max_macs": 2e6, "changes": {"epochs": 2, "batch_size": 256}, "seed": 0}
    found = keras_resnet.search("width_depth", "digits", tmp_path / "search", trials=3, resume=True, **options,
                                strategy="none", say=lambda _: None)  # fmt: skip
    before = records(THEN / "search" / "trials")
    assert [r for r in found.trials if r["trial"] in {b["trial"] for b in before}] == before
    assert sum(record["status"] == "COMPLETED" for record in found.trials) == 3
