"""Images of a data source, as a network reads them and as they are."""

from typing import Any, TypedDict

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.checks import COUNT, expect, expect_rule, is_integer, one_of
from keras_resnet.data import evaluation_batches, evaluation_view, evenly, expect_one_size, load_data, raw_images
from keras_resnet.modelcard import Preprocessing
from keras_resnet.predict import known_preprocessing
from keras_resnet.training import source_for

Batch = tuple[tf.Tensor, tf.Tensor]  # images, and their labels one-hot


class Reading(TypedDict, total=False):
    """Which images a network is looked at with: the arguments of `sample`."""

    split: str
    images: int
    preprocessing: Preprocessing | str | None
    batch_size: int


def sample(
    model: keras.Model,
    data: Any,
    *,
    split: str = "test",
    images: int = 1000,
    preprocessing: Preprocessing | str | None = None,
    batch_size: int = 100,
) -> list[Batch]:
    """Labelled images as the network reads them.

    Args:
        model: A classifier.
        data: As `keras_resnet.load_data` takes it; with as many classes as the model has outputs.
        split: "test", "validation" or "train".
        images: How many, evenly spaced over the split; all where it has fewer.
        preprocessing: Where the model's card does not say how it reads images: see `keras_resnet.preprocessing`.
        batch_size: Images at a time, which decides the memory that is needed, not the result.

    Returns:
        Batches (float32 [n, H, W, C], one-hot [n, classes]).

    Raises:
        ValueError: If an argument is invalid, or the data are not the model's.
    """
    expect(isinstance(model, keras.Model), "model", "a Keras model", model)
    for argument, count in (("images", images), ("batch_size", batch_size)):
        expect_rule(COUNT, argument, count)
    source, reading = source_for(model, data, split), known_preprocessing(model, preprocessing)
    examples = getattr(source, split)
    chosen = examples[evenly(images, len(examples))]
    expect_one_size(chosen, reading)
    view = evaluation_view(chosen, reading, source.shape[-1])
    batches = evaluation_batches(chosen, source.classes, batch_size, view=view)
    return [(reading(pixels), labels) for pixels, labels in batches]


def example(data: Any, number: int, split: str = "test") -> np.ndarray:
    """The image of that number in a split, float32 [H, W, C] of 0 to 255, as `grad_cam` and `feature_maps` take it.

    >>> import keras_resnet
    >>> keras_resnet.analysis.example("digits", 3).shape
    (8, 8, 1)
    """
    source = load_data(data)
    expect_rule(one_of(*source.splits), "split", split)
    examples = source.splits[split]
    expect(is_integer(number) and 0 <= number < len(examples), "number", f"0 to {len(examples) - 1}", number)
    as_it_is = Preprocessing((0.0,), (1.0,))
    return raw_images(examples[np.array([number])], as_it_is, source.shape[-1])[0].astype("float32")
