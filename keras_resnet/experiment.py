"""One run from a network's name to a folder: trained, evaluated, exported, described, and reloaded to predict."""

import json
import os
import platform
import shlex
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet.analysis.plots import plot_confusion, plot_history
from keras_resnet.checks import expect, expect_known
from keras_resnet.data import Source, load_data, raw_images
from keras_resnet.files import completed, new_folder, replaced, write_json
from keras_resnet.graph.complexity import complexity
from keras_resnet.graph.loading import load_model
from keras_resnet.graph.remake import portable
from keras_resnet.graph.stages import freeze
from keras_resnet.modelcard import Card, Preprocessing, attach, versions
from keras_resnet.networks import zoo
from keras_resnet.serving.export import export, run_elsewhere
from keras_resnet.training import Evaluation, Recipe, check_fit, distribute, evaluate, recipe_of, rows, train

SHOWN = 10
SMALL = 64  # pixels up to which images are trained on as CIFAR's are
OPTIONS = (
    "data",
    "on_error",
    "validation",
    "recipe",
    "weights",
    "freeze",
    "size",
    "seed",
    "remat",
)  # of a command
MEANS = ("strategy", "remat")  # which may be others when a run is taken up again


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run is made of: from it, and the data, the run can be repeated."""

    network: str
    data: str
    data_dir: str | None = None
    on_error: str = "raise"  # or "skip": images that cannot be decoded are left out
    validation: float | None = None  # share or number of the training images that are held out to choose the epoch
    recipe: str | None = None  # of RECIPES; None: by the data
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the recipe
    config: Mapping[str, Any] = field(default_factory=dict)  # of the network's row
    weights: str | None = None
    freeze: str | None = None  # up to where, in the first half of the epochs
    size: int | None = None  # of the images in pixels
    seed: int = 0
    strategy: str = "auto"
    remat: bool = False  # blocks are computed again going back, in less memory

    @property
    def command(self) -> str:
        """Which repeats the run, wherever the data are."""
        defaults = {f.name: f.default for f in fields(self)}
        changed = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        options = [option(name, changed[name]) for name in OPTIONS if name in changed]
        options += [option(name, value) for name, value in self.config.items()]
        if self.changes:
            options += ["--set", *(shlex.quote(f"{key}={json.dumps(value)}") for key, value in self.changes.items())]
        return " ".join(["keras-resnet train", self.network, *options])

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run of that folder."""
        path = folder / "run.json"
        expect(path.is_file(), "folder", "the folder of a run, with a run.json", str(folder))
        record = json.loads(path.read_text())["run"]
        return cls(**{name: record[name] for name in (f.name for f in fields(cls)) if name in record})


def experiment(run: Run, output: Path, *, resume: bool = False, say: Callable[[str], None] = print,
               data: Source | None = None) -> Card | None:  # fmt: skip
    """Trains into a new folder `NETWORK-DATA` under `output`; an earlier run's is never touched.

    The folder holds `run.json` (what was asked for, the data's facts, versions), `history.csv`, `curves.png`,
    `checkpoint.npz` (the last epoch, from which it resumes), with a validation split `best.weights.h5`, TensorBoard's
    events; and when the training has ended `model.keras`, `saved_model`, `card.json`, `card.md`, `evaluation.json`,
    `confusion.png`. The two figures are left out where matplotlib is not installed.

    Args:
        run: What to train.
        output: Where the run gets its folder.
        resume: Take up the run in `output/NETWORK-DATA` where it was killed; start it where it is not there.
        say: Told what happens.
        data: Where they are there already, and `run.data` only names them; before anything is held out.

    Returns:
        The card; None for a worker that is not the chief, and where the run had ended before.

    Raises:
        ValueError: Before anything is trained or written, for unknown names or values out of range.
    """
    strategy = distribute.strategy(run.strategy)
    source = load_data(data or run.data, data_dir=run.data_dir, validation=run.validation, on_error=run.on_error)
    recipe = recipe_for(run, source)
    chief = distribute.is_chief(strategy)
    several = distribute.workers(strategy)[1] > 1
    expect(resume or not several, "resume", "True with several workers, which share one folder", resume)
    say = say if chief else silent
    if strategy:
        say(distribute.describe(strategy, recipe.batch_size))
    model = build(run, recipe, source, strategy)
    check_fit(model, source, recipe)
    freeze(model, run.freeze)  # says now whether there is such a part
    parts, name = phases(recipe, run.freeze), f"{run.network}-{source.name}"
    with nullcontext(resumed(output / name, run)) if resume else new_folder(output, name) as folder:
        distribute.shared_folder(strategy, folder)
        if (folder / "card.json").exists():
            say(f"{folder} had ended before.")
            return None
        if chief and not (folder / "run.json").exists():
            record(folder, run, recipe, source)
        say(f"Training {run.network} on {source.name} ({source.classes} classes, {shown(source)}) into {folder}")
        for part, part_recipe, until in parts:
            train(freeze(model, until), source, part_recipe, folder / part, seed=run.seed, resume=resume)
        return finish(folder, model, run, recipe, source, say) if chief else None


def option(name: str, value: Any) -> str:
    """Of a command."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"


def shown(source: Source) -> str:
    names = ", ".join(source.class_names[:SHOWN])
    return f"{names}, ..." if source.classes > SHOWN else names


def silent(_: str) -> None:
    """Says nothing."""


def recipe_for(run: Run, source: Source) -> Recipe:
    """The one that is named, or the one for such data, changed."""
    named = recipe_of(run.recipe or default_recipe(run, source))
    known = [f.name for f in fields(Recipe)]
    for key in run.changes:
        expect_known("set", known, key)
    return replace(named, **run.changes)


def network_changes(recipe: Recipe, config: zoo.Config) -> dict[str, Any]:
    """What the recipe sets of such a row: it may name what only some families have."""
    for key in recipe.network:
        expect_known("network", [f.name for family in zoo.BUILDERS for f in fields(family)], key)
    known = [f.name for f in fields(config)]
    return {name: value for name, value in recipe.network.items() if name in known}


def default_recipe(run: Run, source: Source) -> str:
    if run.weights:
        return "finetune"
    if run.data == "digits":
        return "digits"
    height, width, _ = source.shape
    return "fast" if height and width and max(height, width) <= SMALL else "bag_of_tricks"


def build(run: Run, recipe: Recipe, source: Source, strategy) -> keras.Model:
    """The network under the strategy, of the source's size or its own, that ends in logits."""
    keras.utils.set_random_seed(run.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        with strategy.scope() if strategy else nullcontext():
            changes = {**network_changes(recipe, zoo.row(run.network)), **run.config}
            shape = input_shape(run, recipe, source, zoo.row(run.network, **changes))
            model = zoo.build(run.network, classes=source.classes, input_shape=shape, weights=run.weights,
                              classifier_activation=None, remat=run.remat, **changes)  # fmt: skip
    finally:
        keras.config.set_dtype_policy(before)
    return model


def extend(model: keras.Model, **known: Any) -> None:
    """Its card, by more fields."""
    attach(model, replace(model.card, **known))


def input_shape(run: Run, recipe: Recipe, source: Source, config) -> tuple[int, int, int]:
    """As asked for; or the images' own; or, where they differ, are cut, or the weights had another, the network's."""
    height, width, channels = source.shape
    if run.size is not None:
        return run.size, run.size, channels
    if height and width and recipe.view is None and not run.weights:
        return height, width, channels
    return *config.input_shape[:2], channels


def resumed(folder: Path, run: Run) -> Path:
    """The folder, made where it is not there, of that very run."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").exists():
        before = asdict(Run.read(folder))
        now = {key: value for key, value in asdict(run).items() if key not in MEANS}
        differing = {key: before[key] for key in now if before[key] != now[key]}
        expect(not differing, "resume", f"the run that is in {folder}, with {differing}, or another output",
               {key: now[key] for key in differing})  # fmt: skip
    return folder


def phases(recipe: Recipe, until: str | None) -> list[tuple[str, Recipe, str | None]]:
    """(subfolder, recipe, what is frozen): one, or two halves, the second of all layers at a tenth of the rate."""
    if until is None:
        return [("", recipe, None)]
    expect(recipe.epochs > 1, "epochs", "at least 2, for two halves", recipe.epochs)
    first = ceil(recipe.epochs / 2)
    second = replace(recipe, epochs=recipe.epochs - first, lr=recipe.lr / 10)
    return [("frozen", replace(recipe, epochs=first), until), ("", second, None)]


def record(folder: Path, run: Run, recipe: Recipe, source: Source) -> None:
    """`run.json`: enough to do it again, and to see whether the data are still the same."""
    facts = {"name": source.name, "about": source.about, "shape": source.shape, "classes": source.class_names,
             **counts(source)}  # fmt: skip
    known = {"command": run.command, "run": asdict(run), "recipe": asdict(recipe), "data": facts,
             "versions": versions(), "hardware": hardware()}  # fmt: skip
    with completed(folder / "run.json") as path:
        path.write_text(json.dumps(known, indent=2) + "\n")


def counts(source: Source) -> dict[str, int]:
    """Images of every split."""
    return {name: len(split) for name, split in source.splits.items()}


def hardware() -> str:
    """Such as "2 cores of AMD EPYC 9R14"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0] if models else platform.processor() or platform.machine()}"


def finish(folder: Path, model, run: Run, recipe: Recipe, source: Source, say) -> Card:
    """All that the folder holds besides what the training wrote, the card last: it says that the run has ended."""
    seconds = sum(row["seconds"] for history in folder.rglob("history.csv") for row in rows(history))
    describe(model, run, recipe, source, {})
    with replaced(folder / "model.keras") as path:
        portable(model).save(path)
    final = load_model(folder / "model.keras")  # of one device: what the user gets is measured
    found = evaluate(final, source)
    describe(final, run, recipe, source, {**found.metrics(), "training_seconds": round(seconds, 1)})
    with replaced(folder / "model.keras") as path:
        portable(final).save(path)
    exported = folder / "saved_model" / "1"
    if not exported.exists():
        export(final, folder / "saved_model")
    write_evaluation(folder, found, f"{run.network} on {source.name}", say)
    show_predictions(exported, final.card.preprocessing, source, say)
    final.card.write(folder)
    say(f"Accuracy on {found.images} held-out images: {found.top1:.2%}")
    say(f"In {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return final.card


def describe(model, run: Run, recipe: Recipe, source: Source, metrics: Mapping[str, float]) -> None:
    """Writes into the card how the network was trained."""
    costs = complexity(model)
    extend(
        model,
        params=costs.params,
        macs=costs.macs,
        recipe=asdict(recipe),
        data={"name": source.name, "about": source.about, **counts(source)},
        seed=run.seed,
        metrics=metrics,
        hardware=hardware(),
        versions=versions(),
    )


def write_evaluation(folder: Path, found: Evaluation, title: str, say) -> None:
    """`evaluation.json` and, where matplotlib is installed, the two figures."""
    record = {**found.metrics(), "per_class": found.per_class, "confusion": found.confusion.tolist()}
    write_json(folder / "evaluation.json", record)
    if not find_spec("matplotlib"):
        say("No curves.png, no confusion.png: they need matplotlib, as in keras-resnet-zoo[plots].")
        return
    plot_history(rows(folder / "history.csv"), folder / "curves.png", title)
    plot_confusion(found.confusion, found.class_names, folder / "confusion.png", title)


def show_predictions(exported: Path, row: Preprocessing, source: Source, say) -> None:
    """Of the export, in a process that has nothing of ours."""
    raw = replace(row, crop=None) if row.resize else row  # the export crops
    first = source.test[np.arange(min(SHOWN, len(source.test)))]
    pixels = raw_images(first, raw, source.shape[-1])
    wide = max(10, *map(len, source.class_names))
    say(f"{exported}, reloaded in a fresh process, on {len(pixels)} held-out images:")
    [(probabilities, _)] = run_elsewhere([exported], pixels, row)
    say(f"{'truth':>{wide}}  {'prediction':>{wide}}  probability")
    for label, found in zip(first.labels, probabilities, strict=True):
        truth, best = source.class_names[label], source.class_names[np.argmax(found)]
        say(f"{truth:>{wide}}  {best:>{wide}}  {found.max():>11.3f}")
