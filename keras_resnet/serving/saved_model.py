"""A SavedModel that takes pixels or files of any size, with signatures for TensorFlow Serving."""

import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_resnet.data import decode, digits
from keras_resnet.graph.tracing import maker, walk
from keras_resnet.predict import decode_predictions
from keras_resnet.predict import preprocessing as preprocessing_of
from keras_resnet.serving.job import Job

TOP = 5  # classes that are named
DECODED = (1, 3, 4)  # channels
LARGEST_GRAPH = 2_000_000_000  # bytes: a protocol buffer has fewer than 2 ** 31
Signatures = dict[str, tuple[Callable, tf.TensorSpec]]  # name -> function of `images`, and what these are


def write_saved_model(job: Job, path: Path) -> None:
    signatures = signatures_of(job)
    archive = keras.export.ExportArchive()
    if not fits_into_a_graph(job.network):
        archive.track(job.network)
    for name, (function, images) in signatures.items():
        archive.add_endpoint(name, function, [images])
    archive.write_out(path, verbose=False)
    if find_spec("tensorflow_serving"):
        write_warmup(path, signatures, job.images(digits().test, 1)[0])


def signatures_of(job: Job) -> Signatures:
    prepare, network = preparation(job), one_function(job.network)
    answer = answering(job, network)
    any_size = (None, None, None, job.channels)
    shape = any_size if job.preprocessing.resize or job.preprocessing.crop else (None, *job.shape)
    pixels, floats = (tf.TensorSpec(shape, dtype, name="images") for dtype in (tf.uint8, tf.float32))
    prepared = tf.TensorSpec(job.shape if job.preprocessing.resize else any_size[1:], tf.float32)

    def prepared_file(file: tf.Tensor) -> tf.Tensor:
        return prepare(decode(file, job.channels)[tf.newaxis])[0]

    def from_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(prepare(images))

    def from_files(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.map_fn(prepared_file, images, fn_output_signature=prepared))

    signatures: Signatures = {"serving_default": (from_pixels, pixels), "serving_float": (from_pixels, floats)}
    if job.channels in DECODED:
        signatures["serving_bytes"] = from_files, tf.TensorSpec((None,), tf.string, name="images")
    if before_classifier(job.network) is not None:
        signatures["features"] = lambda images: {"features": network(prepare(images))["features"]}, pixels
    return signatures


def one_function(network: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """From what the network reads to its `probabilities`, and to its `features` if it ends in a dense layer.

    All signatures call it, so that the file has it once. The weights are constants of its graph, which TensorFlow lays
    out once for its kernels; as variables they are laid out for every call (docs/benchmarks.md).
    """
    outputs = {"probabilities": network.outputs[0], "features": before_classifier(network)}
    model = keras.Model(network.inputs[0], {name: output for name, output in outputs.items() if output is not None})
    constant = fits_into_a_graph(network)
    weights = [(v, v.numpy(), kept_dtype(layer)) for layer in walk(network) for v in layer.variables if constant]

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)], autograph=False)
    def function(prepared: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = [(variable, tf.constant(value, dtype)) for variable, value, dtype in weights]
        with keras.StatelessScope(constants, initialize_variables=False):
            return model(prepared, training=False)

    return function


def fits_into_a_graph(network: keras.Model) -> bool:
    return 4 * network.count_params() < LARGEST_GRAPH


def kept_dtype(layer: layers.Layer) -> str | None:
    """That in which the layer reads its weights, or their own: norms read theirs in float32."""
    return layer.compute_dtype if isinstance(layer, layers.Conv2D | layers.Dense) else None


def preparation(job: Job) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network's preprocessing, which resizes only images of another size."""
    of_any_size, size = preprocessing_of(job.model, job.preprocessing), job.preprocessing.resize
    if size is None:
        return of_any_size
    shape = (None, *size, job.channels)

    def as_they_are(images: tf.Tensor) -> tf.Tensor:
        images = tf.identity(images)
        images.set_shape(shape)
        return of_any_size(images)

    def prepare(images: tf.Tensor) -> tf.Tensor:
        has_that_size = tf.reduce_all(tf.shape(images)[1:3] == size)
        return tf.cond(has_that_size, lambda: as_they_are(images), lambda: of_any_size(images))

    return prepare


def answering(job: Job, network: Callable) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """From what the network reads to probabilities, and the likeliest classes by number and by name."""
    labels = tf.constant(class_labels(job.model))

    def answer(prepared: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = network(prepared)["probabilities"]
        _, classes = tf.math.top_k(probabilities, min(TOP, len(labels)))
        return {"probabilities": probabilities, "classes": classes, "labels": tf.gather(labels, classes)}

    return answer


def class_labels(model: keras.Model) -> list[str]:
    """The classes' names; their numbers where these are unknown or cannot be downloaded."""
    classes = model.output_shape[-1]
    try:
        likeliest_first = decode_predictions(np.arange(classes, 0, -1)[np.newaxis], classes, model)[0]
    except ConnectionError as error:
        warnings.warn(f"{error} The labels are the classes' numbers.", stacklevel=2)
        return [str(number) for number in range(classes)]
    return [name for _, name, _ in likeliest_first]


def before_classifier(network: keras.Model) -> keras.KerasTensor | None:
    """What the last dense layer reads; None where the network does not end in one."""
    last = maker(network, network.outputs[0])
    if isinstance(last, layers.Softmax | layers.Activation):
        last = maker(network, last.input)
    return last.input if isinstance(last, layers.Dense) else None


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
