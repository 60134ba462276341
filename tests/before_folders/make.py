"""Writes files as the last commit before the folders (f6323d2) did: the code must still load, resume and serve them.

git worktree add OLD f6323d2 && PYTHONPATH=OLD python make.py FOLDER
"""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np

import keras_resnet

SMALL = {"stages": [[8], [8], [16]], "stem_filters": 8}
TINY = ["--stages", "[[4],[8]]", "--stem-filters", "4"]
COMMAND = [sys.executable, "-m", "keras_resnet"]


def stirred(model, seed=0):
    """Weights of every kind that are none of the initial values, so that a file that is not read shows."""
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" not in weight.path:
            weight.assign(np.abs(weight.numpy() + draw.normal(0, 0.05, weight.shape)) if "variance" in weight.path
                          else weight.numpy() + draw.normal(0, 0.05, weight.shape))  # fmt: skip
    return model


def models():
    keras.utils.set_random_seed(0)
    yield "plain", keras_resnet.build("plain20", **SMALL)
    yield (
        "grouped",
        keras_resnet.build("resnext29_32x4d", stages=[[16], [16], [32]], stem_filters=8, groups=2, inner=0.5),
    )
    yield "fractal", keras_resnet.build("fractalnet20", stages=[4, 8, 8, 8, 8], columns=2, drop_path=0.15)
    yield "half", half_precision()


def half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras_resnet.build("resnet20", **SMALL)
    keras.config.set_dtype_policy("float32")
    return model


def killed(command, checkpoint):
    """Runs the command until its first checkpoint is there, then kills it."""
    process = subprocess.Popen(command)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def main(folder):
    folder.mkdir()
    images = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype("float32")
    np.save(folder / "images.npy", images.astype("float16"))
    images = images.astype("float16").astype("float32")
    outputs = {}
    for name, model in models():
        stirred(model).save(folder / f"{name}.keras")
        outputs[name] = model.predict(images, verbose=0)
        if name == "plain":
            model.save_weights(folder / "plain.weights.h5")
            keras_resnet.export(model, folder / "export", preprocessing="cifar10")
            shutil.rmtree(folder / "export" / "1" / "assets.extra", ignore_errors=True)
    train = [*COMMAND, "train", "resnet20", *TINY, "--set", "epochs=3", "batch_size=256", "--seed", "7"]
    killed([*train, "--output", str(folder / "runs")], folder / "runs" / "resnet20-digits" / "checkpoint.npz")
    scratch = folder / "scratch"
    subprocess.run([*train, "--output", str(scratch)], check=True)
    trained = keras_resnet.load_model(scratch / "resnet20-digits" / "model.keras")
    np.savez(folder / "resumed.npz", *trained.get_weights())
    shutil.rmtree(scratch)
    search = [*COMMAND, "search", "--data", "digits", "--network", "resnet20", "--max-macs", "2M", "--set", "epochs=2",
              "batch_size=256", "--output", str(folder / "search"), "--trials", "2"]  # fmt: skip
    subprocess.run(search, check=True)
    np.savez(folder / "outputs.npz", **outputs)
    for junk in [*folder.rglob("tensorboard"), *folder.rglob(".partial-*")]:
        shutil.rmtree(junk)
    search = folder / "search"  # without what only takes space: resuming an ended search reads none of it
    for junk in [*search.rglob("*.png"), *search.rglob("*.weights.h5"), *search.rglob("checkpoint.npz")]:
        junk.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
