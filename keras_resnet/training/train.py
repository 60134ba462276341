"""From a model, data and a recipe to `model.fit`."""

import csv
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.checks import ArgumentError, expect, invalid
from keras_resnet.data import (
    Source,
    evaluation_batches,
    evaluation_view,
    expect_one_size,
    load_data,
    training_batches,
    training_view,
)
from keras_resnet.graph.remat import rematerialize
from keras_resnet.graph.tracing import graphs_of, walk
from keras_resnet.modelcard import Preprocessing, attach, card
from keras_resnet.predict import ends_in_logits
from keras_resnet.training import distribute
from keras_resnet.training.checkpoint import Checkpoint
from keras_resnet.training.optimizer import Average, Held, HoldUntil, learning_rate, optimizer
from keras_resnet.training.recipes import Recipe, recipe_of


def check_fit(model: keras.Model, source: Source, recipe: Recipe) -> None:
    """Raises a ValueError unless the model gives the source's classes and takes its channels, and a batch is there."""
    images = len(source.train)
    expect(recipe.batch_size <= images, "batch_size", f"at most the {images} training images", recipe.batch_size)
    watched = source.validation is not None
    expect(recipe.schedule != "plateau" or watched, "schedule", "another than 'plateau', or a validation split "
           "(`--validation 0.1`): the test does not steer", recipe.schedule)  # fmt: skip
    rematerialized = any(getattr(graph, "rematerialized", False) for graph in graphs_of(model))
    several = rematerialized and strategy_of(model) is not None
    expect(not several, "remat", "False under a strategy, whose devices synchronize their batch norms", True)
    found, wanted = (model.input_shape[-1], *model.output_shape[1:]), (source.shape[-1], source.classes)
    expect(found == wanted, "model", f"one that takes {wanted[0]} channels and gives {wanted[1]} classes", found)
    expect_one_size(source.train, read_by(model, source))
    try:
        batches(model, source, recipe, 0, 0)[0](0, 1)  # traces the augmentation
    except ArgumentError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise invalid(
            "augment", f"augmentations for images of {found[0]} channels ({reason})", recipe.augment
        ) from error


def read_by(model: keras.Model, source: Source) -> Preprocessing:
    """How the model reads images: as its card says, or by the source's mean and std and as large as it takes them."""
    if (known := card(model)) and known.preprocessing:
        return known.preprocessing
    height, width, _ = model.input_shape[1:]
    row = Preprocessing(source.mean, source.std)
    return row.sized(height, width, 1.0 if source.shape[:2] == (height, width) else 0.875) if height and width else row


def train(model: keras.Model, data: Any, recipe: Recipe | str, folder: str | Path | None = None, *, seed: int = 0,
          resume: bool = False, callbacks: Sequence[keras.callbacks.Callback] = (),
          verbose: int = 1) -> list[dict[str, float]]:  # fmt: skip
    """Trains a model, and leaves the trained weights in it, and in its card how it reads images and names classes.

    Where the source has a validation split, these are those of the lowest validation loss, otherwise the last. After
    every epoch `folder` has `history.csv` (a row an epoch), `checkpoint.npz` (all that `resume` needs), TensorBoard's
    events, and with a validation split `best.weights.h5`. A run that was killed and resumed ends in the weights of one
    that was not: on one CPU, bit for bit.

    Under a `tf.distribute.Strategy`, build the model in its scope (see `keras_resnet.strategy`) and call this in every
    process: the chief writes, into a folder that all see, and all read.

    Args:
        model: A classifier, that ends in logits (as it should: a softmax in the loss loses precision) or in a softmax.
            Changed in place.
        data: As `keras_resnet.load_data` takes it. The validation split, or the test split where there is none, is
            evaluated after every epoch; by the test split nothing is chosen.
        recipe: One of `keras_resnet.RECIPES`, or its name. Its `network` and `precision` are for who builds the model.
        folder: Made where it does not exist. None: nothing is kept but the model.
        seed: Of the order of the images and their augmentation. Call `keras.utils.set_random_seed` before building
            the model, so that its start follows a seed too.
        resume: Continue after the last whole epoch that the folder has, if it has one.
        callbacks: Keras', besides those of the recipe. A resumed run brings back the numbers among their attributes,
            and no more: not the weights that `EarlyStopping(restore_best_weights=True)` keeps (the best epoch is
            delivered without it).
        verbose: 1 for a progress bar, 2 for a line an epoch, 0 for silence.

    Returns:
        The rows of `history.csv`.

    Raises:
        ValueError: Before training, where the recipe's batch exceeds the images, the model takes other images or has
            other outputs, the folder has a run and `resume` is False, or that run was another one.
        FloatingPointError: Where a loss is not finite. The last whole epoch before it is in the folder.
    """
    if folder is None:
        with TemporaryDirectory() as scratch:
            return train(model, data, recipe, scratch, seed=seed, callbacks=callbacks, verbose=verbose)
    source, recipe, folder = load_data(data), recipe_of(recipe), Path(folder)
    check_fit(model, source, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    history, last, best = (folder / name for name in ("history.csv", "checkpoint.npz", "best.weights.h5"))
    for path in (history, last, best):
        expect(resume or not path.exists(), "folder", f"one without a {path.name}, or resume=True", str(folder))
    strategy, steps = strategy_of(model), recipe.steps_per_epoch or len(source.train) // recipe.batch_size
    distribute.describe(strategy, recipe.batch_size)  # raises where the replicas cannot share it
    chief, (fitted, own) = distribute.is_chief(strategy), compiled(model, recipe, steps * recipe.epochs)
    followed = [*own, *callbacks]
    chosen = best if source.validation else None
    checkpoint = Checkpoint(last, followed, history, chosen, identity(recipe, seed, source), writer=chief)
    done = distribute.from_chief(strategy, checkpoint.epochs)
    expect(done == checkpoint.epochs, "folder", "the chief's checkpoint, as all workers must see it", str(folder))
    training, watched = batches(model, source, recipe, seed, done * steps)
    with distribute.peers_watched(strategy), logged(history, last.exists(), chief) as loggers:
        fitted.fit(
            distribute.distributed(strategy, training),
            initial_epoch=recipe.epochs if checkpoint.stopped else done,
            steps_per_epoch=steps,
            epochs=recipe.epochs,
            validation_data=distribute.distributed(strategy, watched),
            callbacks=[*followed, *loggers, checkpoint],
            shuffle=False,  # the batches are
            verbose=verbose if chief else 0,
        )
    if checkpoint.failed:
        raise FloatingPointError(f"The loss was not a finite number in epoch {checkpoint.epochs + 1}. Received: "
                                 f"recipe={recipe}")  # fmt: skip
    distribute.synchronized(model, False)
    if checkpoint.best and chief:
        model.load_weights(best)
    if known := card(model):
        attach(model, replace(known, preprocessing=read_by(model, source), class_names=source.class_names))
    return rows(history) if chief else []


def identity(recipe: Recipe, seed: int, source: Source) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    return {"recipe": asdict(recipe), "seed": seed, "data": source.name, "images": len(source.train),
            "labels": zlib.crc32(source.train.labels.tobytes())}  # fmt: skip


def strategy_of(model: keras.Model):
    """In whose scope the model was built, or None."""
    return None if model.distribute_strategy is tf.distribute.get_strategy() else model.distribute_strategy


def batches(model: keras.Model, source: Source, recipe: Recipe, seed: int, start: int):
    """Two functions from (worker, workers) to its normalized batches: of the training, and of what is watched."""
    row, classes, channels = read_by(model, source), source.classes, model.input_shape[-1]

    def normalized(images, labels):
        return normalize(row, images), labels

    def smoothed(images, labels):  # here and not in the loss, which is then the watched split's, too
        return normalize(row, images), labels * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes

    def training(worker, workers):
        view = training_view(recipe.view, source.train, seed, row, channels)
        return training_batches(
            source.train, classes, recipe.batch_size, seed, recipe.augment, view=view, start=start, worker=worker,
            workers=workers,
        ).map(smoothed, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)  # fmt: skip

    def watched(worker, workers):
        examples = source.validation or source.test
        size = distribute.even_batch_size(strategy_of(model), recipe.batch_size, len(examples))
        view = evaluation_view(examples, row, channels)
        batches = evaluation_batches(examples, classes, size, view=view, worker=worker, workers=workers)
        return batches.map(normalized, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return training, watched


def normalize(row: Preprocessing, images: tf.Tensor) -> tf.Tensor:
    """`row(images)`, its numbers repeated for every pixel: TensorFlow broadcasts to channels at a fifth of the pace."""
    mean, std = (tf.broadcast_to(numbers, tf.shape(images)[1:]) for numbers in (row.mean, row.std))
    return (images - mean) / std


def compiled(model: keras.Model, recipe: Recipe, steps: int) -> tuple[keras.Model, list[keras.callbacks.Callback]]:
    """A second model of the same layers, so that the user's, and its file, stay uncompiled; the recipe's callbacks."""
    found: list[keras.callbacks.Callback] = [keras.callbacks.TerminateOnNaN()]
    strategy = strategy_of(model)
    if strategy:
        distribute.synchronized(model)
    with model.distribute_strategy.scope():
        fitted, rate = keras.Model(model.inputs, model.outputs), learning_rate(recipe, steps)
        if getattr(model, "rematerialized", False):
            rematerialize(fitted)
        sgd: keras.optimizers.Optimizer = optimizer(recipe, rate)
        if any(layer.compute_dtype == "float16" for layer in walk(model)):
            sgd = keras.optimizers.LossScaleOptimizer(sgd)
        loss = keras.losses.CategoricalCrossentropy(ends_in_logits(model))
        fitted.compile(sgd, loss, metrics=["accuracy"], auto_scale_loss=False)
        sgd.build(fitted.trainable_variables)
        if recipe.ema is not None:
            found.append(Average([*fitted.weights], recipe.ema))
    if recipe.schedule == "plateau":
        found.append(keras.callbacks.ReduceLROnPlateau("val_loss", recipe.factor, recipe.patience))
    if isinstance(rate, Held) and recipe.warmup_error is not None:
        found.append(HoldUntil(rate, recipe.warmup_error))
    return fitted, found


@contextmanager
def logged(history: Path, resumed: bool, chief: bool) -> Iterator[list[keras.callbacks.Callback]]:
    """What writes into the run's folder. The log of an epoch that was killed before its first checkpoint is dropped."""
    if not chief:
        yield []
        return
    if not resumed and history.exists():
        text = history.read_text()
        wanted = "one whose history.csv is of a run"
        expect(not text or text.startswith("epoch,accuracy,"), "folder", wanted, str(history.parent))
        history.unlink()
    log = keras.callbacks.CSVLogger(history, append=resumed)
    try:
        yield [Measured(), log, keras.callbacks.TensorBoard(history.parent / "tensorboard", write_graph=False)]
    finally:
        if log.csv_file:  # which Keras leaves open where `fit` is interrupted
            log.csv_file.close()


class Measured(keras.callbacks.Callback):
    """Adds the learning rate and the seconds to what an epoch logs."""

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        logs.update(learning_rate=float(rate), seconds=time.perf_counter() - self._began)


def rows(history: Path) -> list[dict[str, float]]:
    """Of a `history.csv`."""
    with open(history, newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
