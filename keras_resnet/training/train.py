"""From a model, data and a recipe to `model.fit`."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras

from keras_resnet.checks import SEED, LossError, expect, expect_rule, plain
from keras_resnet.data import load_data
from keras_resnet.files import kept, locked, read_state
from keras_resnet.graph.remat import rematerialize
from keras_resnet.graph.skipping import skip_dropped_paths
from keras_resnet.graph.tracing import walk
from keras_resnet.modelcard import attach, card
from keras_resnet.networks.loading import load_best
from keras_resnet.predict import ends_in_logits
from keras_resnet.training import distribute
from keras_resnet.training.checkpoint import Checkpoint
from keras_resnet.training.cluster import is_chief, lock_role
from keras_resnet.training.fitting import (
    Training,
    batches_to_train,
    batches_to_watch,
    check_fit,
    strategy_of,
    with_possible_batch,
)
from keras_resnet.training.optimizer import Average, Held, HoldUntil, learning_rate, optimizer
from keras_resnet.training.peers import peers_watched
from keras_resnet.training.progress import (
    BAR,
    LINES,
    Counted,
    Epochs,
    Lines,
    Measured,
    Part,
    read_history,
    usual_verbosity,
)
from keras_resnet.training.recipes import Recipe, recipe_of

Callbacks = list[keras.callbacks.Callback]
WHOLE = Part()


def train(
    model: keras.Model,
    data: Any,
    recipe: Recipe | str,
    folder: str | Path | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | None = None,
) -> Epochs:
    """Trains a model, and leaves the trained weights in it, and in its card how it reads images and names classes.

    If the source has a validation split, these are the weights of the lowest validation loss, otherwise the last. After
    every epoch `folder` has `history.csv` (a row an epoch), `checkpoint.npz` (all that `resume` needs; the epoch before
    is kept beside it), TensorBoard's events, and with a validation split `best.weights.h5`. A run that was killed and
    resumed ends in the weights of one that was not: on one CPU, bit for bit.

    Under a `tf.distribute.Strategy`, build the model in its scope (see `keras_resnet.strategy`) and call this in every
    process: the chief writes, into a folder that all see, and all read.

    Args:
        model: A classifier, that ends in logits (as it should: a softmax in the loss loses precision) or in a softmax.
            Changed in place.
        data: As `keras_resnet.load_data` takes it. The validation split, or the test split where there is none, is
            evaluated after every epoch; the test split never chooses anything.
        recipe: One of `keras_resnet.RECIPES`, or its name. Its `network` and `precision` are for who builds the model.
            The batch of a name is reduced, with a warning, where there are fewer training images.
        folder: Made if it does not exist. None: nothing is kept but the model.
        seed: Of the order of the images and their augmentation. Call `keras.utils.set_random_seed` before building
            the model, so that its start follows a seed too.
        resume: Continue after the last whole epoch that the folder has, if it has one.
        callbacks: Keras', besides those of the recipe. A resumed run brings back the numbers among their attributes,
            and no more: not the weights that `EarlyStopping(restore_best_weights=True)` keeps (the best epoch is
            delivered without it).
        verbose: 1 for a progress bar, 2 for a line an epoch, 0 for silence. None: a bar on a terminal or in a
            notebook, and elsewhere lines.

    Returns:
        The rows of `history.csv`.

    Raises:
        ValueError: Before training, if the recipe's batch exceeds the images, the model takes other images or has
            other outputs, the folder has a run and `resume` is False, or that run was another one.
        InUseError: An OSError, if another process trains in the folder.
        DiskFullError: An OSError, if there is no room. What was there stays whole.
        DamagedError: A ValueError, if what the folder has cannot be read. It says what to do.
        FloatingPointError: If a loss is not finite. The last whole epoch before it is in the folder.
    """
    source, row = load_data(data), recipe_of(recipe)
    if isinstance(recipe, str):
        row = with_possible_batch(row, len(source.train), distribute.replicas(strategy_of(model)))
    training = check_fit(model, source, row)
    return fit(training, folder, seed=seed, resume=resume, callbacks=callbacks, verbose=verbose)


def fit(
    training: Training,
    folder: str | Path | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | None = None,
    part: Part = WHOLE,
) -> Epochs:
    """As `train`, of what `check_fit` returned; perhaps a part of a longer run."""
    expect_rule(SEED, "seed", seed)
    seed = plain(seed)
    if folder is None:
        with TemporaryDirectory() as scratch:
            return fit(training, scratch, seed=seed, callbacks=callbacks, verbose=verbose, part=part)
    files = Files(Path(folder), part)
    with locked(files.folder, lock_role(training.strategy)):
        files.make(resume)
        return fit_into(files, training, seed, callbacks, verbose)


def fit_into(
    files: "Files", training: Training, seed: int, callbacks: Sequence[keras.callbacks.Callback], verbose: int | None
) -> Epochs:
    """Goes on with what the folder has, to which nobody else writes."""
    recipe, strategy, part = training.recipe, training.strategy, files.part
    chief = is_chief(strategy)
    fitted, own = compiled(training.model, recipe, training.steps_per_epoch * recipe.epochs)
    followed = [*own, *callbacks]
    best, run = files.best if training.source.validation else None, identity(training, seed)
    checkpoint = Checkpoint(files.checkpoint, followed, files.history, best, run, writer=chief, before=part.before)
    done = distribute.from_chief(strategy, checkpoint.epochs)
    expect(done == checkpoint.epochs, "folder", "the chief's checkpoint, as all workers must see it", str(files.folder))
    to_train, to_watch = batches_to_train(training, seed, done * training.steps_per_epoch), batches_to_watch(training)
    last = part.before + recipe.epochs
    verbose = (usual_verbosity() if verbose is None else verbose) if chief else 0
    with peers_watched(strategy), logged(files, chief, part.before + done > 0) as loggers:
        fitted.fit(
            distribute.distributed(strategy, to_train),
            initial_epoch=last if checkpoint.stopped else part.before + done,
            steps_per_epoch=training.steps_per_epoch,
            epochs=last,
            validation_data=distribute.distributed(strategy, to_watch),
            callbacks=[*followed, *loggers, *progress(training, part.epochs or last, verbose), checkpoint],
            shuffle=False,  # the batches are
            verbose=int(verbose == BAR),
        )
    if checkpoint.failed:
        reason = f"The loss was not a finite number in epoch {part.before + checkpoint.epochs + 1}."
        raise LossError(f"{reason} Received: recipe={recipe}")
    deliver(training, best if chief else None)
    return read_history(files.history) if chief else []


def deliver(training: Training, best: Path | None) -> None:
    """The model of one device, with the best weights where there are some; its card says what it was trained on."""
    model = distribute.synchronized(training.model, False)
    if best:
        read_state(best, partial(load_best, model))
    if known := card(model):
        names = training.source.class_names
        attach(model, replace(known, preprocessing=training.preprocessing, class_names=names))


@dataclass(frozen=True)
class Files:
    """What a training leaves in its folder."""

    folder: Path
    part: Part

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def checkpoint(self) -> Path:
        return self.folder / self.part.folder / "checkpoint.npz"

    @property
    def best(self) -> Path:
        return self.folder / self.part.folder / "best.weights.h5"

    def make(self, resume: bool) -> None:
        """The folder. One that has a run is refused, unless that is to be resumed."""
        self.checkpoint.parent.mkdir(exist_ok=True)
        for path in (*([] if self.part.before else [self.history]), self.checkpoint, kept(self.checkpoint), self.best):
            wanted = f"one without a {path.name}, or `resume=True`"
            expect(resume or not path.exists(), "folder", wanted, str(self.folder))


def identity(training: Training, seed: int) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    source = training.source
    return {
        "recipe": asdict(training.recipe),
        "seed": seed,
        "data": source.name,
        "images": len(source.train),
        "labels": zlib.crc32(source.train.labels.tobytes()),
    }


def compiled(model: keras.Model, recipe: Recipe, steps: int) -> tuple[keras.Model, Callbacks]:
    """A second model of the same layers, so that the user's, and its file, stay uncompiled; the recipe's callbacks."""
    callbacks: Callbacks = [keras.callbacks.TerminateOnNaN()]
    if strategy_of(model):
        distribute.synchronized(model)
    with model.distribute_strategy.scope():
        fitted, rate = keras.Model(model.inputs, model.outputs), learning_rate(recipe, steps)
        if getattr(model, "rematerialized", False):
            rematerialize(fitted)
        if getattr(model, "skips", False):
            skip_dropped_paths(fitted)
        sgd: keras.optimizers.Optimizer = optimizer(recipe, rate)
        if any(layer.compute_dtype == "float16" for layer in walk(model)):
            sgd = keras.optimizers.LossScaleOptimizer(sgd)
        loss = keras.losses.CategoricalCrossentropy(ends_in_logits(model))
        fitted.compile(sgd, loss, metrics=["accuracy"], auto_scale_loss=False)
        sgd.build(fitted.trainable_variables)
        if recipe.ema is not None:
            callbacks.append(Average([*fitted.weights], recipe.ema))
    if recipe.schedule == "plateau":
        callbacks.append(keras.callbacks.ReduceLROnPlateau("val_loss", recipe.factor, recipe.patience))
    if isinstance(rate, Held) and recipe.warmup_error is not None:
        callbacks.append(HoldUntil(rate, recipe.warmup_error))
    return fitted, callbacks


def progress(training: Training, epochs: int, verbose: int) -> Callbacks:
    """What shows it."""
    watched = "validation" if training.source.validation else "test"
    return {BAR: [Counted(epochs)], LINES: [Lines(epochs, watched)]}.get(verbose, [])


@contextmanager
def logged(files: Files, chief: bool, resumed: bool) -> Iterator[Callbacks]:
    """What writes into the run's folder. The log of an epoch that was killed before its first checkpoint is dropped."""
    if not chief:
        yield []
        return
    history = files.history
    if not resumed and history.exists():
        text = history.read_bytes()
        wanted = "one whose history.csv is of a run"
        expect(not text or text.startswith(b"epoch,accuracy,"), "folder", wanted, str(files.folder))
        history.unlink()
    log = keras.callbacks.CSVLogger(history, append=resumed)
    try:
        yield [Measured(), log, keras.callbacks.TensorBoard(files.folder / "tensorboard", write_graph=False)]
    finally:
        if log.csv_file:  # which Keras leaves open where `fit` is interrupted
            log.csv_file.close()
