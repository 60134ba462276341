"""A model, data and a recipe that fit one another, checked once, and the batches that they make."""

import warnings
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from keras_resnet.checks import ArgumentError, expect, invalid
from keras_resnet.data import (
    Source,
    evaluation_batches,
    evaluation_view,
    expect_one_size,
    training_batches,
    training_view,
)
from keras_resnet.data.parameters import filled
from keras_resnet.graph.tracing import graphs_of
from keras_resnet.modelcard import Preprocessing, card
from keras_resnet.training import distribute, precision
from keras_resnet.training.recipes import Recipe

Batch = tuple[tf.Tensor, tf.Tensor]  # images float32 [n, H, W, C], and labels float32 [n, classes]


@dataclass(frozen=True)
class Training:
    """A model, a source and a recipe that fit one another: `check_fit` makes it."""

    model: keras.Model
    source: Source
    recipe: Recipe
    preprocessing: Preprocessing  # how the model reads the images

    @property
    def strategy(self) -> tf.distribute.Strategy | None:
        return strategy_of(self.model)

    @property
    def steps_per_epoch(self) -> int:
        return self.recipe.steps_per_epoch or len(self.source.train) // self.recipe.batch_size


def strategy_of(model: keras.Model) -> tf.distribute.Strategy | None:
    """In whose scope the model was built, or None."""
    return None if model.distribute_strategy is tf.distribute.get_strategy() else model.distribute_strategy


def check_fit(model: keras.Model, source: Source, recipe: Recipe) -> Training:
    """What `fit` takes. To check a training before anything is written, call this, and `fit` later.

    Raises:
        ValueError: If the model does not give the source's classes or take its channels, if there is no batch or the
            devices cannot share it, or if the images do not suit the recipe's augmentation.
    """
    images = len(source.train)
    expect(recipe.batch_size <= images, "batch_size", f"at most the {images} training images", recipe.batch_size)
    distribute.replica_batch_size(strategy_of(model), recipe.batch_size)
    expect_validation(source, recipe)
    expect_one_device(model)
    expect_same_shapes(model, source)
    built = replace(recipe, precision=precision.of_model(model)) if recipe.precision == precision.AUTO else recipe
    training = Training(model, source, built, read_by(model, source))
    expect_one_size(source.train, training.preprocessing)
    expect_augmentable(training)
    return training


def with_possible_batch(recipe: Recipe, images: int, replicas: int = 1) -> Recipe:
    """A ready recipe, whose batch is reduced where there are fewer training images. A warning says so.

    Raises:
        ValueError: If there is not one image for each replica.
    """
    if recipe.batch_size <= images:
        return recipe
    largest = images - images % replicas
    expect(largest, "data", f"at least {replicas} training images, one for each replica", images)
    text = f"The recipe's batch of {recipe.batch_size} images is reduced to {largest}: there are {images} to train on."
    warnings.warn(text, stacklevel=3)
    return replace(recipe, batch_size=largest)


def expect_validation(source: Source, recipe: Recipe) -> None:
    wanted = "another than 'plateau', or a validation split (`validation=0.1`): the test split never steers training"
    expect(recipe.schedule != "plateau" or source.validation, "schedule", wanted, recipe.schedule)


def expect_one_device(model: keras.Model) -> None:
    rematerialized = any(getattr(graph, "rematerialized", False) for graph in graphs_of(model))
    several = rematerialized and strategy_of(model) is not None
    expect(not several, "remat", "False under a strategy, whose devices synchronize their batch norms", True)


def expect_same_shapes(model: keras.Model, source: Source) -> None:
    shapes, wanted = (model.input_shape[-1], *model.output_shape[1:]), (source.shape[-1], source.classes)
    expect(shapes == wanted, "model", f"one that takes {wanted[0]} channels and gives {wanted[1]} classes", shapes)


def expect_augmentable(training: Training) -> None:
    """Traces the augmentation."""
    try:
        batches_to_train(training, seed=0, start=0)(0, 1)
    except ArgumentError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        wanted = f"augmentations for images of {training.source.shape[-1]} channels ({reason})"
        raise invalid("augment", wanted, training.recipe.augment) from error


def read_by(model: keras.Model, source: Source) -> Preprocessing:
    """How the model reads images: as its card says, or by the source's mean and std and as large as it takes them."""
    if (known := card(model)) and known.preprocessing:
        return known.preprocessing
    height, width, _ = model.input_shape[1:]
    normalization = Preprocessing(source.mean, source.std)
    if not (height and width):
        return normalization
    return normalization.sized(height, width, 1.0 if source.shape[:2] == (height, width) else 0.875)


def batches_to_train(training: Training, seed: int, start: int) -> distribute.Batches:
    """Endless, augmented and normalized, from step `start` on."""
    source, recipe, reads = training.source, training.recipe, training.preprocessing
    view = training_view(recipe.view, source.train, seed, reads, source.shape[-1])
    augmentations = filled(recipe.augment, reads.mean)

    def smoothed(images: tf.Tensor, labels: tf.Tensor) -> Batch:  # the loss is also that of the validation
        even = recipe.label_smoothing / source.classes
        return normalize(reads, images), labels * (1 - recipe.label_smoothing) + even

    def part(worker: int, workers: int) -> tf.data.Dataset:
        place = dict(start=start, worker=worker, workers=workers)
        made = training_batches(
            source.train, source.classes, recipe.batch_size, seed, augmentations, view=view, **place
        )
        return made.map(smoothed, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    return part


def batches_to_watch(training: Training) -> distribute.Batches:
    """The validation split, or the test split where there is none, once and normalized."""
    source, reads = training.source, training.preprocessing
    examples = source.validation or source.test
    size = distribute.even_batch_size(training.strategy, training.recipe.batch_size, len(examples))
    view = evaluation_view(examples, reads, source.shape[-1])

    def normalized(images: tf.Tensor, labels: tf.Tensor) -> Batch:
        return normalize(reads, images), labels

    def part(worker: int, workers: int) -> tf.data.Dataset:
        made = evaluation_batches(examples, source.classes, size, view=view, worker=worker, workers=workers)
        return made.map(normalized, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return part


def normalize(preprocessing: Preprocessing, images: tf.Tensor) -> tf.Tensor:
    """`preprocessing(images)`, its numbers repeated for every pixel.

    TensorFlow broadcasts to channels at a fifth of the pace.
    """
    numbers = preprocessing.mean, preprocessing.std
    mean, std = (tf.broadcast_to(per_channel, tf.shape(images)[1:]) for per_channel in numbers)
    return (images - mean) / std
