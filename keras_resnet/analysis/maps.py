"""Maps of one image: where a network sees a class in it (Grad-CAM), and what a stage makes of it."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.analysis.gates import logits
from keras_resnet.checks import expect, expect_known, invalid, is_integer
from keras_resnet.data import read_image
from keras_resnet.graph.stages import features
from keras_resnet.graph.tracing import recorded, walk
from keras_resnet.modelcard import Preprocessing, card
from keras_resnet.predict import ends_in_logits, known_preprocessing
from keras_resnet.predict import preprocessing as preprocessing_of

TINY = 1e-12  # keeps a heatmap of zeros one of zeros


class Cam(NamedTuple):
    image: np.ndarray  # uint8 [H, W, C], as the network sees it
    heatmap: np.ndarray  # float32 [H, W], 0 to 1: `map` at the image's size
    map: np.ndarray  # float32 [h, w], 0 and more
    class_index: int
    layer: str

    def __str__(self) -> str:
        return f"{self.layer}, {'x'.join(map(str, self.map.shape))}"


def grad_cam(
    model: keras.Model,
    image: Any,
    target: int | str | None = None,
    *,
    layer: str | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> Cam:
    """Where in an image a network sees a class: Grad-CAM, Selvaraju et al. 2017, equations 1 and 2.

    relu(sum_k a_k A_k), where A_k are the maps of a layer and a_k the mean over the pixels of the gradient of the
    class's logit (before any softmax).

    Args:
        model: Any Keras classifier, also with a backbone nested inside.
        image: The path of a JPEG, PNG, GIF or BMP, or an array [H, W, C] of 0 to 255.
        target: The class, by its number, or by its name where the model's card has names; by default the likeliest.
        layer: The name of the layer whose maps are taken, however deep; by default the last that gives maps, which
            is what the head pools.
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.

    Returns:
        The image as the network sees it, the heatmap at its size and at the layer's, the class and the layer.

    Raises:
        ValueError: If an argument is invalid.
    """
    seen, x = prepared(model, image, preprocessing)
    ends_in_logits(model)  # raises where it is no classifier
    leaves = list(walk(model))
    names = [leaf.name for leaf in leaves]
    expect(layer is None or names.count(layer) == 1, "layer", "None, or the name of one layer of the model", layer)
    number = class_number(model, target)
    with tf.GradientTape() as tape, recorded(leaves) as calls, logits(model):
        tape.watch(x)
        scores = model(x, training=False)[0]
        number = int(tf.argmax(scores)) if number is None else number
        score = scores[number]
    maps = {leaf.name: y for leaf, (_, y) in calls.items() if is_map(y)}
    expect(maps and (layer is None or layer in maps), "layer", f"one that gives maps, such as {list(maps)[-3:]}", layer)
    name = layer or list(maps)[-1]
    gradient = tape.gradient(score, maps[name], unconnected_gradients="zero")
    weights = tf.reduce_mean(gradient, (1, 2), keepdims=True)
    heat = tf.cast(tf.nn.relu(tf.reduce_sum(maps[name] * weights, -1))[0], tf.float32)
    whole = tf.image.resize(heat[..., None], seen.shape[:2])[..., 0].numpy()
    return Cam(seen, whole / max(whole.max(), TINY), heat.numpy(), number, name)


def is_map(y: Any) -> bool:
    shape = tuple(getattr(y, "shape", ()))
    return len(shape) == 4 and shape[1] * shape[2] > 1


def class_number(model: keras.Model, target: int | str | None) -> int | None:
    classes, names = model.output_shape[-1], getattr(card(model), "class_names", None)
    if isinstance(target, str):
        if not isinstance(names, tuple):
            raise invalid("target", "a number: the model's card names no classes", target)
        expect_known("target", names, target)
        return names.index(target)
    is_class = target is None or (is_integer(target) and 0 <= target < classes)
    expect(is_class, "target", f"None, a class's name, or its number, 0 to {classes - 1}", target)
    return target


def prepared(model: keras.Model, image: Any, preprocessing: Preprocessing | str | None) -> tuple[np.ndarray, tf.Tensor]:
    """The image as the network sees it, uint8 [H, W, C], and the batch of one that it reads."""
    expect(isinstance(model, keras.Model), "model", "a Keras model", model)
    reading, channels = known_preprocessing(model, preprocessing), model.input_shape[-1]
    pixels = read_image(Path(image), channels) if isinstance(image, str | Path) else np.asarray(image)
    is_image = pixels.ndim == 3 and pixels.shape[-1] == channels and pixels.size
    expect(is_image, "image", f"a path, or an array [H, W, {channels}] of 0 to 255", pixels.shape)
    x = tf.convert_to_tensor(preprocessing_of(model, reading)(pixels[None].astype("float32")))
    return np.clip(np.round(x[0] * reading.std + reading.mean), 0, 255).astype("uint8"), x


def feature_maps(
    model: keras.Model, image: Any, stage: int, *, preprocessing: Preprocessing | str | None = None
) -> np.ndarray:
    """What a stage makes of an image: its output, as `keras_resnet.features` gives it.

    Args:
        model: A network of this package, also a loaded one, or one with other layers behind it.
        image: The path of a JPEG, PNG, GIF or BMP, or an array [H, W, C] of 0 to 255.
        stage: Counted from 1.
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.

    Returns:
        float32 [H, W, C], a map for every channel.

    Raises:
        ValueError: If the network has no such stage, or an argument is invalid.
    """
    _, x = prepared(model, image, preprocessing)
    maps = keras.tree.flatten(features(model, (stage,))(x, training=False))
    return keras.ops.convert_to_numpy(maps[0][0]).astype("float32")
