"""From a model, a source and a recipe to `model.fit`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np

from keras_resnet.card import Preprocessing
from keras_resnet.checks import expect
from keras_resnet.data import Source, evaluation_batches, training_batches
from keras_resnet.data.sources import Arrays
from keras_resnet.files import completed
from keras_resnet.training.recipes import Recipe


def check_fit(model: keras.Model, source: Source, recipe: Recipe) -> None:
    """Raises a ValueError unless the model takes the source's images and gives its classes, and a batch is there."""
    images = len(source.train[1])
    expect(recipe.batch_size <= images, "batch_size", f"at most the {images} training images", recipe.batch_size)
    shapes, wanted = (model.input_shape[1:], model.output_shape[1:]), (source.shape, (len(source.class_names),))
    expect(shapes == wanted, "model", f"a model of {wanted[0]} images and {wanted[1]} logits", shapes)


def train(model: keras.Model, source: Source, recipe: Recipe, folder: Path, *, seed: int = 0, verbose: int = 1) -> int:
    """Trains a model that ends in logits; leaves in it, and in `folder`, the weights of the lowest validation loss.

    Writes `model.keras` (uncompiled, float images normalized by the source's mean and std) and `history.csv` (an
    epoch a row) into `folder`. Ctrl-C ends the training after the last whole epoch, if there is one.

    Args:
        model: Takes images of the source's shape. Changed in place.
        source: Its `train` part is trained on, its `validation` part chooses the epoch; `test` is not looked at.
        recipe: See `keras_resnet.training.RECIPES`.
        folder: An existing folder without those two files.
        seed: Of the order of the images and their augmentation. Call `keras.utils.set_random_seed` before building
            the model, so that its start follows a seed too.
        verbose: 1 for a progress bar, 2 for a line an epoch, 0 for silence.

    Returns:
        The number of whole epochs.

    Raises:
        ValueError: Before training, where the recipe's batch exceeds the images, the model takes other images or has
            other outputs, or a file exists.
        FloatingPointError: Where the first epoch ends without a finite validation loss. A later one stops the training.
    """
    check_fit(model, source, recipe)
    steps = len(source.train[1]) // recipe.batch_size
    fitted, prepare = compiled(model, recipe, steps), preparation(source)
    with (
        TemporaryDirectory(dir=folder, prefix=".partial-") as scratch,
        completed(folder / "history.csv") as history,
        completed(folder / "model.keras") as saved,
    ):
        best, log = Path(scratch) / "best.weights.h5", keras.callbacks.CSVLogger(history)
        try:
            fitted.fit(
                training_batches(source.train, recipe.batch_size, seed, recipe.padding).map(prepare),
                steps_per_epoch=steps,
                epochs=recipe.epochs,
                validation_data=evaluation_batches(source.validation, recipe.batch_size).map(prepare),
                callbacks=[
                    keras.callbacks.ModelCheckpoint(best, "val_loss", save_best_only=True, save_weights_only=True),
                    log,
                    keras.callbacks.TerminateOnNaN(),
                ],
                shuffle=False,  # the batches are
                verbose=verbose,
            )
        except KeyboardInterrupt:
            if not best.exists():
                raise
        finally:
            if log.csv_file:
                log.csv_file.close()
        losses = fitted.history.history["val_loss"]
        if not np.isfinite(losses[0]):
            raise FloatingPointError(f"The loss was not a number from the first epoch on. Received: recipe={recipe}")
        fitted.load_weights(best)
        model.save(saved)
    return len(losses)


def compiled(model: keras.Model, recipe: Recipe, steps: int) -> keras.Model:
    """A second model of the same layers, so that the user's, and its file, stay uncompiled."""
    fitted = keras.Model(model.inputs, model.outputs)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    fitted.compile(optimizer(recipe, steps * recipe.epochs), loss, metrics=["accuracy"])
    return fitted


def optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    warmup = max(1, round(recipe.warmup * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
    )
    return keras.optimizers.SGD(schedule, momentum=recipe.momentum, nesterov=recipe.nesterov)


def preparation(source: Source):
    """Images normalized by the source's mean and std, labels one-hot."""
    preprocessing = Preprocessing(source.mean, source.std)
    return lambda images, labels: (preprocessing(images), keras.ops.one_hot(labels, len(source.class_names)))


def accuracy(model: keras.Model, source: Source, arrays: Arrays) -> float:
    """The share of the images that the model, trained on the source, names rightly."""
    scores = model.predict(evaluation_batches(arrays, 256).map(preparation(source)), verbose=0)
    return float(np.mean(scores.argmax(-1) == arrays[1]))
