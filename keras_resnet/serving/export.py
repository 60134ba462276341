"""A trained network for serving: a SavedModel that takes pixels or files, LiteRT, ONNX and a portable `.keras`."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import keras

from keras_resnet.checks import FLAG, Rule, expect, expect_rule, is_list_of, one_of
from keras_resnet.data import Source, expect_one_size
from keras_resnet.files import completed, expect_export_folder, locked, overwritten, version_folder
from keras_resnet.kernels.devices import DEVICES, traced_for
from keras_resnet.modelcard import Preprocessing
from keras_resnet.predict import known_preprocessing
from keras_resnet.serving.compare import compared
from keras_resnet.serving.formats import FORMATS
from keras_resnet.serving.job import Job
from keras_resnet.training.evaluate import expect_fitting

PRECISIONS = ("float32", "bfloat16")
IS_FORMATS = Rule(is_list_of(lambda name: name in FORMATS), f"some of {', '.join(FORMATS)}")


def export(
    model: keras.Model,
    path: str | Path,
    *,
    formats: Sequence[str] = ("saved_model",),
    data: Source | None = None,
    preprocessing: Preprocessing | str | None = None,
    fold: bool = True,
    precision: str = "float32",
    device: str = "cpu",
    version: int | str = 1,
    overwrite: bool = False,
) -> Path:
    """Exports a network for serving: writes `path/1`, which TensorFlow Serving serves as it is.

    The files contain the preprocessing too. Each file is run on real images by a separate Python process that imports
    nothing of this package. If its probabilities are not the network's, nothing is written.

    - "saved_model": signatures `serving_default` of `images` uint8 [N, H, W, C] of any size, `serving_float` of
      float32 in 0...255, `serving_bytes` of strings [N], JPEG or PNG; each resizes, crops and normalizes as the card
      says, and gives `probabilities` float32 [N, classes], `classes` int32 [N, 5], the likeliest first, and `labels`,
      their names. `features` takes what `serving_default` takes and gives what the classifier reads, float32
      [N, channels]. If tensorflow-serving-api is installed, the folder also has requests that warm the server up.
    - "litert", "litert_float16", "litert_int8": `model.tflite`, `model_float16.tflite`, `model_int8.tflite`, of
      `images` float32 [1, H, W, C] in 0...255 of the network's size, normalized inside, to `probabilities`.
    - "onnx": `model.onnx`, the same for any number of images.
    - "keras": `model.keras`, of stock layers, which loads without this package. It takes normalized images.

    `card.json` and `card.md` in the same folder give each file's size, its largest difference in a probability, the
    time of one image on this machine's CPU and, with `data`, its accuracy.

    Args:
        model: A classifier. It does not change.
        path: A folder, new or with earlier versions.
        formats: Some of the formats above.
        data: What `keras_resnet.load_data` returns. Up to 1,000 of its test images compare the formats and measure
            their accuracy. 256 of its training images calibrate "litert_int8", which needs them. Without `data`, the
            built-in digits compare the formats.
        preprocessing: How the model reads images, if its card does not say: see `keras_resnet.preprocessing`.
        fold: Fold batch norms into the convolutions: see `keras_resnet.fold_batch_norm`.
        precision: "float32", or "bfloat16" for "saved_model": the convolutions compute in bfloat16, while images,
            probabilities and features stay float32. Faster on processors with AVX-512 BF16 or AMX and on GPUs with
            tensor cores, slower on others.
        device: What it is for. "cpu" runs on all devices. "gpu" has a GPU's kernel for the grouped convolutions of a
            ResNeXt, which is slow on CPUs; it makes no other difference.
        version: A number, or "next" for one more than the last.
        overwrite: Replace that version if it exists. The old version stays until the new one is complete.

    Returns:
        The folder of the version.

    Raises:
        ValueError: Before anything is written: if the version exists, the preprocessing is unknown, the network's size
            is not fixed for a format that needs it, or a package is missing.
        InUseError: An OSError, if another process writes into the folder.
        DiskFullError: An OSError, if there is no room. What was there stays whole.
        ExportError: If a format's probabilities differ by more than its tolerance: 1e-4, for float16 0.01, for bfloat16
            0.02, for int8 0.5 (which its accuracy should judge). Nothing is left behind then.

    >>> import keras_resnet
    >>> keras_resnet.export(keras_resnet.ResNet20(), "exported", preprocessing="cifar10")  # doctest: +SKIP
    PosixPath('exported/1')
    """
    expect_rule(IS_FORMATS, "formats", formats)
    expect_rule(FLAG, "fold", fold)
    expect_rule(FLAG, "overwrite", overwrite)
    expect_rule(one_of(*DEVICES), "device", device)
    expect_rule(one_of(*PRECISIONS), "precision", precision)
    expect(data is None or isinstance(data, Source), "data", "what keras_resnet.load_data returns, or None", data)
    expect_export_folder(Path(path))
    job = Job(model, known_preprocessing(model, preprocessing), fold, data, precision)
    if data:
        expect_fitting(model, data)
        expect_one_size(data.test, replace(job.preprocessing, crop=job.preprocessing.crop or job.input_size))
    formats = list(dict.fromkeys(formats))
    for name in formats:
        expect_possible(name, job)
    with locked(Path(path)):
        folder = version_folder(Path(path), version, overwrite)
        with (overwritten if overwrite else completed)(folder) as partial:
            partial.mkdir()
            for name in formats:
                with traced_for(device):
                    FORMATS[name].write(job, partial / FORMATS[name].file)
            job.card(compared(job, partial, formats)).write(partial)
    return folder


def expect_possible(name: str, job: Job) -> None:
    """Raises now what would otherwise become known after minutes."""
    form, shape = FORMATS[name], job.model.input_shape
    missing = [package for package in form.packages if not find_spec(package)]
    expect(not missing, "formats", f"{name} only with {', '.join(missing)}, as in keras-resnet-zoo[onnx]", name)
    expect(None not in job.shape or not form.fixed, "model", f"one that takes images of one size, for {name}", shape)
    narrow = form.narrow or job.precision == "float32"
    expect(narrow, "precision", f"'float32' for {name}: in bfloat16 there is saved_model", job.precision)
    expect(job.data or not form.calibrated, "data", f"a source of real images, which calibrate {name}", job.data)
