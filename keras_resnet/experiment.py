"""One run from a network's name to a folder: trained, exported, described, and reloaded to predict."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras

from keras_resnet import zoo
from keras_resnet.card import Card, Preprocessing, attach
from keras_resnet.checks import expect_known
from keras_resnet.complexity import complexity
from keras_resnet.data import SOURCES, Source
from keras_resnet.export import export, predict_in_fresh_process
from keras_resnet.files import new_folder, replaced
from keras_resnet.model import portable
from keras_resnet.plots import plot_history
from keras_resnet.training import RECIPES, accuracy, check_fit, train

SHOWN = 10


def experiment(
    network: str,
    data: str,
    output: Path,
    *,
    seed: int = 0,
    recipe_changes: Mapping[str, Any] = {},
    config_changes: Mapping[str, Any] = {},
    say: Callable[[str], None] = print,
) -> Card:
    """Trains the network on the data into a new folder under `output`; an earlier run's is never touched.

    Ctrl-C during the training ends it there, and the best epoch so far is exported.

    The folder holds `model.keras`, `history.csv`, `curves.png` (where matplotlib is installed), `saved_model`,
    `card.json` and `card.md`.

    Raises:
        ValueError: Before anything is trained or written, for unknown names or values out of range.
    """
    expect_known("data", SOURCES, data)
    recipe, config, source = (
        replace(RECIPES[data], **recipe_changes),
        zoo.row(network, **config_changes),
        SOURCES[data](),
    )
    preprocessing = Preprocessing(source.mean, source.std).sized(*source.shape[:2])
    keras.utils.set_random_seed(seed)
    model = zoo.build_row(
        config, name=network, classes=len(source.class_names), input_shape=source.shape, classifier_activation=None
    )
    check_fit(model, source, recipe)
    with new_folder(output, f"{network}-{data}") as folder:
        say(f"Training {network} on {data} into {folder}")
        start = time.perf_counter()
        epochs = train(model, source, recipe, folder, seed=seed)
        effort = {"epochs": epochs, "training_seconds": round(time.perf_counter() - start, 1)}
        plot_if_possible(folder, f"{network} on {data}", say)
        card = describe(model, config, recipe, source, preprocessing, seed, effort)
        card.write(folder)
        attach(model, card)
        export(model, folder / "saved_model")
        with replaced(folder / "model.keras") as path:
            portable(model).save(path)
        show_predictions(folder / "saved_model", source, say)
        say(f"Accuracy on {len(source.test[1])} held-out images: {card.metrics['accuracy']:.2%}")
        say(f"In {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return card


def plot_if_possible(folder, title, say):
    if find_spec("matplotlib"):
        plot_history(folder / "history.csv", folder / "curves.png", title)
    else:
        say("No curves.png: it needs matplotlib, as in keras-resnet-zoo[plots].")


def describe(model, config, recipe, source: Source, preprocessing, seed, effort) -> Card:
    costs = complexity(model)
    splits = ("train", "validation", "test")
    metrics = {f"{split}_accuracy": accuracy(model, source, getattr(source, split)) for split in splits[:-1]}
    return Card(
        network=model.name,
        config=asdict(config),
        input_shape=source.shape,
        params=costs.params,
        macs=costs.macs,
        recipe=asdict(recipe),
        data={"name": source.name, "about": source.about, **{s: len(getattr(source, s)[1]) for s in splits}},
        class_names=source.class_names,
        preprocessing=preprocessing,
        seed=seed,
        metrics={"accuracy": accuracy(model, source, source.test), **metrics, **effort},
    )


def show_predictions(saved_model: Path, source: Source, say) -> None:
    images, labels = source.test[0][:SHOWN], source.test[1][:SHOWN]
    say(f"{saved_model}, reloaded in a fresh process, on {SHOWN} held-out images:")
    say("truth  prediction  probability")
    for label, probabilities in zip(labels, predict_in_fresh_process(saved_model, images), strict=True):
        best = probabilities.argmax()
        say(f"{source.class_names[label]:>5}  {source.class_names[best]:>10}  {probabilities[best]:>11.3f}")
