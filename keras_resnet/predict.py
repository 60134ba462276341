"""From images to names: a network's preprocessing as a layer, and its classes by name."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_resnet.checks import COUNT, expect, expect_known, expect_rule, invalid
from keras_resnet.graph.tracing import maker
from keras_resnet.modelcard import (
    IMAGENET,
    OVERSHOOTING,
    PREPROCESSINGS,
    Card,
    Preprocessing,
    Size,
    attach,
    card,
    middle,
)

Named = tuple[int | str, str, float]


def preprocessing(model: keras.Model, row: Preprocessing | str | None = None) -> keras.Sequential:
    """The layer from images, as they are in a file, to what a network reads: resized, cropped and normalized.

    It computes what torchvision and timm do with PIL, to its rounding. For `tf.data`, before the model or inside one.
    `keras_resnet.load_model` loads a file of it.

    Args:
        model: A network of this package, or one that `keras_resnet.load_model` loaded.
        row: How the network reads images, if its card does not say: a `keras_resnet.Preprocessing`, or one of
            `keras_resnet.PREPROCESSINGS`, with the size that the network takes: "imagenet" (torchvision's and timm's),
            "caffe" (of MSRA's ResNets and those of keras.applications), "tf" (-1 to 1), "cifar10", "cifar100", "unit"
            (0 to 1), "none" (0 to 255).

    Returns:
        A layer from uint8 or float batches in 0...255, RGB, [N, H, W, C], to float32.

    Raises:
        ValueError: If neither the card nor `row` says how the network reads images.

    >>> import keras_resnet, numpy as np
    >>> images = np.zeros((2, 48, 40, 3), "uint8")
    >>> keras_resnet.preprocessing(keras_resnet.ResNet20(), "cifar10")(images).shape
    TensorShape([2, 32, 32, 3])
    """
    reading, channels = known_preprocessing(model, row), model.input_shape[-1]
    expect(len(reading.mean) == channels, "preprocessing", f"one of {channels} channels, as the model", reading)
    full: dict[str, Any] = {"dtype": "float32"}  # also under a global policy of half precision
    chain: list[Any] = [layers.Rescaling(1.0, name="to_float", **full)]
    if reading.resize:
        chain.append(MiddleOfResized(reading.resize, reading.crop, reading.interpolation, name="resized", **full))
    elif reading.crop:
        chain.append(layers.CenterCrop(*reading.crop, name="cropped", **full))
    scale = [1 / std for std in reading.std]
    offset = [-mean / std for mean, std in zip(reading.mean, reading.std, strict=True)]
    chain.append(layers.Rescaling(scale, offset, name="normalized", **full))
    return keras.Sequential(chain, name="preprocessing")


@keras.saving.register_keras_serializable("keras_resnet")
class MiddleOfResized(layers.Layer):
    """torchvision's Resize and CenterCrop as PIL computes them: the whole image in proportion, then its middle."""

    def __init__(self, resize: Size, crop: Size | None = None, interpolation: str = "bilinear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reads = Preprocessing((0.0,), (1.0,), resize, crop, interpolation)
        self.kept = self.reads.crop or self.reads.resize or resize

    def call(self, images: Any) -> Any:
        height, width = keras.ops.shape(images)[1:3]
        known = isinstance(height, int) and isinstance(width, int)
        size = self.reads.covering(height, width, max if known else keras.ops.maximum)
        for passed in ((height, size[1]), size):  # PIL resizes the width first, and cuts off what overshoots
            images = resized(images, passed, self.reads.interpolation, known)
            images = keras.ops.clip(images, 0, 255) if self.reads.interpolation in OVERSHOOTING else images
        top, left = (middle(length, kept) for length, kept in zip(size, self.kept, strict=True))
        tall, wide = self.kept
        return keras.ops.reshape(images[:, top : top + tall, left : left + wide], (-1, tall, wide, images.shape[-1]))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape[0], *self.kept, shape[-1]

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self.reads, name) for name in ("resize", "crop", "interpolation")}
        return super().get_config() | own

    def stock(self) -> keras.Sequential:
        """Keras' own layers, which crop the image before they resize it: less than a pixel beside."""
        height, width = self.reads.resize or self.kept
        as_before = dict(interpolation=self.reads.interpolation, crop_to_aspect_ratio=True, antialias=True)
        resizing = layers.Resizing(height, width, **as_before)
        return keras.Sequential([resizing, layers.CenterCrop(*self.kept)], name=self.name)


def resized(images: Any, size: tuple[Any, Any], interpolation: str, known: bool) -> Any:
    """Keras compares a size with 0, and so takes none that is known only when a graph of TensorFlow runs."""
    if known:
        return keras.ops.image.resize(images, size, interpolation, antialias=True)
    import tensorflow as tf

    return tf.image.resize(images, size, interpolation, antialias=True)


def known_preprocessing(model: keras.Model, given: Preprocessing | str | None) -> Preprocessing:
    """What is given, or what the network's card says."""
    if isinstance(given, str):
        expect_known("preprocessing", PREPROCESSINGS, given)
        normalization, share = PREPROCESSINGS[given]
        return normalization.for_input(model.input_shape[1:], share)
    if given is None:
        given = getattr(card(model), "preprocessing", None)
    if not isinstance(given, Preprocessing):
        one_of = f"a keras_resnet.Preprocessing, or one of {', '.join(map(repr, PREPROCESSINGS))}"
        raise invalid("preprocessing", f"{one_of}: the network's card has none", given)
    return given


def decode_predictions(predictions: Any, top: int = 5, model: keras.Model | None = None) -> list[list[Named]]:
    """The likeliest classes by name, as keras.applications' `decode_predictions`.

    Args:
        predictions: Probabilities [N, classes].
        top: How many an image; all where there are fewer.
        model: The network, whose card has the class names. Without it, or where they are ImageNet's, these are taken
            from keras.applications, which downloads them once.

    Returns:
        For every image a list, the likeliest first, of (id, name, probability): the id is ImageNet's WordNet id, or the
        number of the class. A class without a known name has its number for a name.

    Raises:
        ValueError: If the predictions are not [N, classes], or have another number of classes than the names.
        ConnectionError: If ImageNet's names are not in Keras' cache and cannot be downloaded.

    >>> import keras_resnet, numpy as np
    >>> keras_resnet.decode_predictions(np.array([[0.25, 0.75]]), top=1, model=keras_resnet.ResNet20(classes=2))
    [[(1, '1', 0.75)]]
    """
    predictions = keras.ops.convert_to_numpy(predictions)
    expect(predictions.ndim == 2, "predictions", "probabilities [N, classes]", predictions.shape)
    expect_rule(COUNT, "top", top)
    known = card(model)
    names = IMAGENET if model is None else known.class_names if known else None
    classes = 1000 if names == IMAGENET else len(names or range(predictions.shape[1]))
    expect(predictions.shape[1] == classes, "predictions", f"probabilities of {classes} classes", predictions.shape)
    return imagenet_names(predictions, top) if isinstance(names, str) else likeliest(predictions, top, names)


def likeliest(predictions: np.ndarray, top: int, names: Sequence[str] | None = None) -> list[list[Named]]:
    best = np.argsort(-predictions, axis=1, kind="stable")[:, :top]
    return [
        [(int(index), names[index] if names else str(index), float(scores[index])) for index in indices]
        for indices, scores in zip(best, predictions, strict=True)
    ]


def imagenet_names(predictions: np.ndarray, top: int) -> list[list[Named]]:
    try:
        return keras.applications.imagenet_utils.decode_predictions(predictions, top)
    except Exception as error:  # Keras' downloader raises nothing narrower
        raise ConnectionError(f"ImageNet's class names could not be downloaded: {error}") from error


def probabilities(model: keras.Model, images: Any) -> np.ndarray:
    """The model's, by softmax where it ends in logits."""
    outputs = model.predict(images, verbose=0)
    return keras.ops.convert_to_numpy(keras.ops.softmax(outputs)) if ends_in_logits(model) else outputs


def ensemble(models: Sequence[keras.Model], name: str = "ensemble") -> keras.Model:
    """One network that gives the mean of the probabilities of several, as papers average them.

    Args:
        models: Two or more classifiers of the same images and classes, each ending in logits or in a softmax. They do
            not change, and the ensemble shares their layers.
        name: Of the model.

    Returns:
        A functional model from their images, float32 [N, H, W, C], to probabilities, float32 [N, classes]. It has a
        card if all of them have one.

    Raises:
        ValueError: If there are fewer than two, or they differ in their images, their classes or how they read images.

    >>> import keras_resnet
    >>> keras_resnet.ensemble([keras_resnet.ResNet20(), keras_resnet.ResNet32()]).output.shape
    (None, 10)
    """
    several = isinstance(models, list | tuple) and len(models) > 1 and all(isinstance(m, keras.Model) for m in models)
    expect(several, "models", "a list of two or more Keras models", models)
    for about, of in COMMON.items():
        expect(all(of(model) == of(models[0]) for model in models), "models", f"the same {about}", [*map(of, models)])
    images = keras.Input(models[0].input_shape[1:])
    members = [keras.Model(model.inputs[0], model.outputs[0], name=f"member{i}") for i, model in enumerate(models, 1)]
    whole: dict[str, Any] = {"dtype": "float32"}
    answers = [
        layers.Softmax(name=f"{member.name}_softmax", **whole)(member(images))
        if ends_in_logits(member)
        else member(images)
        for member in members
    ]
    result = keras.Model(images, layers.Average(name="predictions", **whole)(answers), name=name)
    known = [card(model) for model in models]
    if all(known):
        facts = {about: getattr(known[0], about) for about in ("preprocessing", "class_names")}
        attach(result, Card(network=name, config={}, input_shape=result.input_shape[1:], **facts))
    return result


COMMON: dict[str, Callable[[keras.Model], Any]] = {
    "images": lambda model: model.input_shape,
    "number of classes": lambda model: model.output_shape,
    "preprocessing": lambda model: getattr(card(model), "preprocessing", None),
    "class names": lambda model: getattr(card(model), "class_names", None),
}


def ends_in_logits(model: keras.Model) -> bool:
    """Whether softmax is still to come."""
    expect(
        len(model.outputs) == 1 and len(model.output_shape) == 2, "model", "one that ends in a classifier", model.name
    )
    last, made = last_layer(model), (keras.activations.softmax, keras.activations.sigmoid)
    return not (isinstance(last, layers.Softmax) or getattr(last, "activation", None) in made)


def last_layer(model: keras.Model) -> Any:
    """What makes the model's output, also in a nested one, and in those that an ensemble takes the mean of."""
    graph, output = model, model.outputs[0]
    while isinstance(last := maker(graph, output), keras.Model | layers.Average):
        graph, output = (last, last.outputs[0]) if isinstance(last, keras.Model) else (graph, last.input[0])
    return last
