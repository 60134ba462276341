"""A trained network for serving: a SavedModel that takes pixels or files, LiteRT, ONNX and a portable `.keras`."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.checks import COUNT, FLAG, Rule, expect, expect_rule, is_list_of
from keras_resnet.data import Examples, Source, decode, digits, evenly, expect_one_size, raw_images
from keras_resnet.files import completed, overwritten, restored, versions_in
from keras_resnet.graph.fold import fold_batch_norm
from keras_resnet.graph.remake import copied, portable, remade
from keras_resnet.graph.tracing import maker, walk
from keras_resnet.modelcard import Card, Preprocessing, attach, card
from keras_resnet.predict import decode_predictions, ends_in_logits, preprocessing_row
from keras_resnet.predict import preprocessing as preprocessing_of
from keras_resnet.serving import runtimes
from keras_resnet.training.evaluate import expect_fitting

TOP = 5  # classes that are named
COMPARED, CALIBRATED, MEASURED = 16, 256, 1000  # images
ANY = (64, 64)  # pixels of the images with which a network of any size is compared
DECODED = (1, 3, 4)  # channels


class ExportError(ArithmeticError):
    """An exported file does not compute what the network computes."""


def export(
    model: keras.Model,
    path: str | Path,
    *,
    formats: Sequence[str] = ("saved_model",),
    data: Source | None = None,
    preprocessing: Preprocessing | str | None = None,
    fold: bool = True,
    version: int | str = 1,
    overwrite: bool = False,
) -> Path:
    """Writes `path/1`, which TensorFlow Serving serves as it is: the network with what stands before and behind it.

    What is written is run in a process of its own that has nothing of this package, on real images, and takes its place
    only where it gives the network's probabilities.

    - "saved_model": signatures `serving_default` of `images` uint8 [N, H, W, C] of any size, `serving_float` of
      float32 in 0...255, `serving_bytes` of strings [N], JPEG or PNG; each resizes, crops and normalizes as the card
      says, and gives `probabilities` float32 [N, classes], `classes` int32 [N, 5], the likeliest first, and `labels`,
      their names. `features` takes what `serving_default` takes and gives what the classifier reads, float32
      [N, channels]. With requests to warm it up, where tensorflow-serving-api is installed.
    - "litert", "litert_float16", "litert_int8": `model.tflite`, `model_float16.tflite`, `model_int8.tflite`, of
      `images` float32 [1, H, W, C] in 0...255 of the network's size, normalized inside, to `probabilities`.
    - "onnx": `model.onnx`, the same for any number of images.
    - "keras": `model.keras`, of stock layers and in no need of this package, from normalized images.

    Beside them are `card.json` and `card.md`: with each file's size, its largest difference in a probability, how long
    an image took on this machine's CPU, and its accuracy where there are `data`.

    Args:
        model: A classifier, also a loaded one. It stays as it is.
        path: A folder, new or of earlier versions.
        formats: Which of these.
        data: What `keras_resnet.load_data` returns. Its test images are what the formats are compared and measured on,
            1,000 at most, and 256 of its training images calibrate int8, which needs them. Without it the built-in
            digits are compared.
        preprocessing: How the model reads images, where its card does not say: see `keras_resnet.preprocessing`.
        fold: Batch norms go into the convolutions: see `keras_resnet.fold_batch_norm`.
        version: A number, or "next" for the one behind the last.
        overwrite: Lets it take the place of that version, which is kept until the new one is whole.

    Returns:
        The folder of the version.

    Raises:
        ValueError: Before anything is written: where the version exists, the preprocessing is unknown, the network's
            size is not fixed for a format that needs it, or a package is missing.
        ExportError: Where a format's probabilities differ by more than its tolerance: 1e-4, for float16 0.01, for int8
            0.5 (it is meant to be judged by its accuracy). Nothing is left behind then.

    >>> import keras_resnet
    >>> keras_resnet.export(keras_resnet.ResNet20(), "exported", preprocessing="cifar10")  # doctest: +SKIP
    PosixPath('exported/1')
    """
    expect_rule(Rule(is_list_of(lambda name: name in FORMATS), f"some of {', '.join(FORMATS)}"), "formats", formats)
    expect_rule(FLAG, "fold", fold)
    expect_rule(FLAG, "overwrite", overwrite)
    expect(data is None or isinstance(data, Source), "data", "what keras_resnet.load_data returns, or None", data)
    folder = version_folder(Path(path), version, overwrite)
    job = Job(model, preprocessing_row(model, preprocessing), fold, data)
    if data:
        expect_fitting(model, data)
        expect_one_size(data.test, replace(job.row, crop=job.row.crop or job.taken))
    formats = list(dict.fromkeys(formats))
    for name in formats:
        expect_possible(name, job)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (overwritten if overwrite else completed)(folder) as partial:
        partial.mkdir()
        for name in formats:
            FORMATS[name].write(job, partial / FORMATS[name].file)
        described(job, compared(job, partial, formats)).write(partial)
    return folder


def version_folder(path: Path, version: int | str, overwrite: bool) -> Path:
    """Where an earlier crash left a version aside, it is first put back."""
    expect(version == "next" or COUNT.holds(version), "version", "a number from 1, or 'next'", version)
    expect(path.is_dir() or not path.exists(), "path", "a folder, or a path where nothing exists yet", str(path))
    restored(path)
    if version == "next":
        version = 1 + max(versions_in(path), default=0)
    folder = path / str(version)
    expect(overwrite or not folder.exists(), "version", f"one that {path} does not hold yet, 'next', or overwrite=True",
           version)  # fmt: skip
    return folder


def expect_possible(name: str, job: "Job") -> None:
    """Says now what would otherwise become known after minutes."""
    form = FORMATS[name]
    missing = [package for package in form.packages if not find_spec(package)]
    expect(not missing, "formats", f"{name} only with {', '.join(missing)}, as in keras-resnet-zoo[onnx]", name)
    expect(None not in job.shape or not form.fixed, "model", f"one that takes images of one size, for {name}",
           job.model.input_shape)  # fmt: skip
    expect(job.data or not form.calibrated, "data", f"a source of real images, which calibrate {name}", job.data)


@dataclass(frozen=True, eq=False)
class Job:
    """A model and what is derived from it, each once."""

    model: keras.Model
    row: Preprocessing
    fold: bool
    data: Source | None

    @cached_property
    def whole(self) -> keras.Model:
        """The model in float32, that ends in probabilities."""
        model = in_float32(self.model)
        if not ends_in_logits(model):
            return model
        softmax = layers.Softmax(name="probabilities", dtype="float32")
        return keras.Model(model.inputs[0], softmax(model.outputs[0]), name=model.name)

    @cached_property
    def network(self) -> keras.Model:
        return fold_batch_norm(self.whole) if self.fold else self.whole

    @cached_property
    def fixed(self) -> keras.Model:
        """From `images` of the network's size, 0 to 255, to `probabilities`."""
        images = keras.Input(self.shape, name="images")
        normalized = preprocessing_of(self.model, replace(self.row, resize=None, crop=None))(images)
        return keras.Model(images, {"probabilities": self.network(normalized)}, name=self.model.name)

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.model.input_shape[1:]

    @property
    def channels(self) -> int:
        return self.model.input_shape[-1]

    @property
    def raw_size(self) -> tuple[int, int]:
        """To which the row resizes; or what the network takes."""
        return self.row.resize or self.row.crop or self.taken or ANY

    @property
    def taken(self) -> tuple[int, int] | None:
        """Height and width that the network takes, or that the data have; None for any."""
        shapes = (self.shape, *([self.data.shape] if self.data else []))
        return next((shape[:2] for shape in shapes if None not in shape), None)  # type: ignore[return-value]

    def sized(self, images: np.ndarray) -> np.ndarray:
        """The middle of raw images that the network sees, float32 of 0 to 255."""
        return runtimes.middle(images, self.row.crop or self.raw_size)

    def images(self, examples: Examples, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Real ones from all over the split, uint8 [N, *raw_size, C], and their labels."""
        chosen = examples[evenly(count, len(examples))]
        resized = replace(self.row, resize=self.raw_size, crop=None)
        return raw_images(chosen, resized, self.channels), chosen.labels


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself where it computes in float32."""
    if all(layer.compute_dtype == "float32" for layer in walk(model)):
        return model
    return remade(model, lambda layer: copied(layer, dtype="float32"))


# The formats


def write_saved_model(job: Job, path: Path) -> None:
    prepare, channels = preparation(job), job.channels
    labels = tf.constant(class_labels(job.model))

    def answers(prepared):
        probabilities = job.network(prepared, training=False)
        _, classes = tf.math.top_k(probabilities, min(TOP, len(labels)))
        return {"probabilities": probabilities, "classes": classes, "labels": tf.gather(labels, classes)}

    def prepared_file(file):
        return prepare(decode(file, channels)[tf.newaxis])[0]

    def from_pixels(images):
        return answers(prepare(images))

    def from_files(images):
        shape = tf.TensorSpec(job.shape if job.row.resize else (None, None, channels), tf.float32)
        return answers(tf.map_fn(prepared_file, images, fn_output_signature=shape))

    of_any_size = (None, None, None, channels) if job.row.resize or job.row.crop else (None, *job.shape)
    pixels = tf.TensorSpec(of_any_size, tf.uint8, name="images")
    endpoints = {
        "serving_default": (from_pixels, pixels),
        "serving_float": (from_pixels, tf.TensorSpec(of_any_size, tf.float32, name="images")),
    }
    if channels in DECODED:
        endpoints["serving_bytes"] = from_files, tf.TensorSpec((None,), tf.string, name="images")
    if extractor := before_classifier(job.network):
        endpoints["features"] = lambda images: {"features": extractor(prepare(images), training=False)}, pixels
    archive = keras.export.ExportArchive()
    archive.track(job.network)
    for signature, (function, images) in endpoints.items():
        archive.add_endpoint(signature, function, [images])
    archive.write_out(path, verbose=False)
    if find_spec("tensorflow_serving"):
        write_warmup(path, endpoints, job.images(digits().test, 1)[0])


def preparation(job: Job) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network's preprocessing, which resizes only images of another size."""
    size = job.row.resize
    of_any_size, of_that_size = (preprocessing_of(job.model, replace(job.row, resize=to)) for to in (size, None))

    def as_they_are(images):
        images = tf.identity(images)
        images.set_shape((None, *size, job.channels))
        return of_that_size(images)

    def prepare(images):
        has_that_size = tf.reduce_all(tf.shape(images)[1:3] == size)
        return tf.cond(has_that_size, lambda: as_they_are(images), lambda: of_any_size(images))

    return prepare if size else of_any_size


def class_labels(model: keras.Model) -> list[str]:
    """The classes' names; their numbers where these are unknown or cannot be downloaded."""
    classes = model.output_shape[-1]
    try:
        likeliest_first = decode_predictions(np.arange(classes, 0, -1)[np.newaxis], classes, model)[0]
    except ConnectionError as error:
        warnings.warn(f"{error} The labels are the classes' numbers.", stacklevel=2)
        return [str(number) for number in range(classes)]
    return [name for _, name, _ in likeliest_first]


def before_classifier(network: keras.Model) -> keras.Model | None:
    """From images to what the last dense layer reads; None where the network does not end in one."""
    last = maker(network, network.outputs[0])
    if isinstance(last, layers.Softmax | layers.Activation):
        last = maker(network, last.input)
    return keras.Model(network.inputs[0], last.input) if isinstance(last, layers.Dense) else None


def write_warmup(path: Path, signatures: Iterable[str], image: np.ndarray) -> None:
    """Requests that TensorFlow Serving runs before it reports the model ready: one of every signature."""
    from tensorflow_serving.apis.model_pb2 import ModelSpec
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

    inputs = {"serving_default": image, "features": image, "serving_float": image.astype("float32")}
    if image.shape[-1] in DECODED:
        inputs["serving_bytes"] = np.array([tf.io.encode_png(image[0]).numpy()], object)
    folder = path / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as file:
        for signature in signatures:
            request = PredictRequest(model_spec=ModelSpec(signature_name=signature))
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(inputs[signature]))
            file.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())


def write_litert(job: Job, path: Path, **settings: Any) -> None:
    images = tf.TensorSpec((1, *job.shape), tf.float32, name="images")
    job.fixed.export(path, format="litert", verbose=False, input_signature=[images], **settings)


def write_litert_float16(job: Job, path: Path) -> None:
    write_litert(job, path, optimizations=[tf.lite.Optimize.DEFAULT], target_spec={"supported_types": [tf.float16]})


def write_litert_int8(job: Job, path: Path) -> None:
    """Weights and activations; the images and the probabilities stay float32."""
    assert job.data
    images = job.sized(job.images(job.data.train, CALIBRATED)[0])
    write_litert(job, path, optimizations=[tf.lite.Optimize.DEFAULT],
                 representative_dataset=lambda: ([image[np.newaxis]] for image in images))  # fmt: skip


def write_onnx(job: Job, path: Path) -> None:
    images = tf.TensorSpec((None, *job.shape), tf.float32, name="images")
    job.fixed.export(path, format="onnx", verbose=False, input_signature=[images])


def write_keras(job: Job, path: Path) -> None:
    network = portable(job.network)
    attach(network, described(job, {}))
    network.save(path)


class Format(NamedTuple):
    write: Callable[[Job, Path], None]
    file: str  # in the version's folder; none for the folder itself
    tolerance: float  # largest difference of a probability
    packages: tuple[str, ...] = ()
    fixed: bool = True  # takes images of one size
    calibrated: bool = False


FORMATS = {
    "saved_model": Format(write_saved_model, "", 1e-4, fixed=False),
    "keras": Format(write_keras, "model.keras", 1e-4, fixed=False),
    "litert": Format(write_litert, "model.tflite", 1e-4),
    "litert_float16": Format(write_litert_float16, "model_float16.tflite", 1e-2),
    "litert_int8": Format(write_litert_int8, "model_int8.tflite", 0.5, calibrated=True),
    "onnx": Format(write_onnx, "model.onnx", 1e-4, ("onnx", "onnxruntime", "tf2onnx")),
}


# What they compute


def compared(job: Job, folder: Path, formats: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Runs every format on real images in a process that has nothing of ours; what that measured.

    Raises:
        ExportError: Where a format does not give the network's probabilities.
    """
    images, labels = job.images(job.data.test, MEASURED) if job.data else job.images(digits().test, COMPARED)
    with without_tensor_float_32():
        expected = job.whole.predict(job.row(job.sized(images)), runtimes.BATCH, verbose=0)
    files = {name: folder / FORMATS[name].file for name in formats}
    measured, ran = {}, run_elsewhere(files.values(), images, job.row)
    for name, (probabilities, milliseconds) in zip(formats, ran, strict=True):
        difference = float(np.abs(probabilities - expected).max())
        if not difference <= FORMATS[name].tolerance:
            raise ExportError(f"{name} differs from the network by {difference:.2g} in a probability, more than the "
                              f"{FORMATS[name].tolerance:.2g} that is allowed: nothing was written.")  # fmt: skip
        measured[name] = {"file": FORMATS[name].file or ".", "bytes": size_of(files[name]), "difference": difference,
                          "tolerance": FORMATS[name].tolerance, "milliseconds": round(milliseconds, 2)}  # fmt: skip
        if job.data:
            measured[name]["accuracy"] = float(np.mean(probabilities.argmax(1) == labels))
    return measured


@contextmanager
def without_tensor_float_32() -> Iterator[None]:
    """GPUs convolve float32 in 10 bits by default, too few to compare by."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def run_elsewhere(files: Iterable[Path], images: np.ndarray, row: Preprocessing) -> list[tuple[np.ndarray, float]]:
    """Probabilities, and an image's median time in milliseconds, from a Python process that imports nothing of ours.

    It runs on the CPU: this process may hold all of a GPU's memory.

    Args:
        files: Exported by `export`: a version's folder for its SavedModel.
        images: uint8 [N, H, W, C], of the size to which `row` resizes.
        row: How the network reads them.

    Raises:
        RuntimeError: Where that process fails, with what it printed.
    """
    with TemporaryDirectory() as folder:
        given, returned = Path(folder) / "images.npz", Path(folder) / "results.npz"
        np.savez(given, images=images, crop=row.crop or images.shape[1:3], mean=row.mean, std=row.std)
        command = [sys.executable, "-P", runtimes.__file__, given, returned, *files]
        process = subprocess.run(list(map(str, command)), capture_output=True, text=True,
                                 env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})  # fmt: skip
        if process.returncode:
            raise RuntimeError(f"An exported file did not run in a process of its own:\n{process.stderr}")
        with np.load(returned) as results:
            return [(results[str(file)], float(results[f"{file} ms"])) for file in files]


def size_of(path: Path) -> int:
    """Bytes of a file, or of a SavedModel's graph and variables."""
    files = [path] if path.is_file() else [path / "saved_model.pb", *(path / "variables").iterdir()]
    return sum(file.stat().st_size for file in files)


def described(job: Job, measured: Mapping[str, Any]) -> Card:
    known = card(job.model) or Card(network=job.model.name, config={}, input_shape=job.shape)
    return replace(known, preprocessing=job.row, exports=measured)
