"""A run's folder: what is trained, measured, exported and said of it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnet.analysis.plots import plot_confusion, plot_history
from keras_resnet.checks import expect
from keras_resnet.data import Source, raw_images
from keras_resnet.experiment.resolved import FROZEN, Phase, Resolved
from keras_resnet.experiment.run import Run
from keras_resnet.files import completed, kept, locked, new_folder, numbered, read_state, replaced, write_json
from keras_resnet.graph.complexity import complexity
from keras_resnet.graph.remake import portable
from keras_resnet.graph.stages import freeze
from keras_resnet.machine import hardware, versions
from keras_resnet.modelcard import Card, Preprocessing, attach
from keras_resnet.networks.loading import load_model
from keras_resnet.serving.compare import run_elsewhere
from keras_resnet.serving.export import export
from keras_resnet.serving.job import in_float32
from keras_resnet.training import (
    Evaluation,
    check_fit,
    delivered_epoch,
    distribute,
    evaluate,
    fit,
    join_histories,
    precision,
    read_history,
)
from keras_resnet.training.cluster import lock_role

SHOWN = 10  # images, and class names
RUN, CARD = "run.json", "card.json"  # the first and the last file of a run
Say = Callable[[str], None]


def experiment(
    run: Run, output: Path, *, resume: bool = False, say: Say = print, data: Source | None = None
) -> Card | None:
    """Trains into a new folder `NETWORK-DATA` under `output`; an earlier run's is never touched.

    The folder holds `run.json` (what was asked for, the data's facts, versions), `history.csv`, `curves.png`,
    `checkpoint.npz` (the last epoch, from which it resumes), with a validation split `best.weights.h5`, TensorBoard's
    events; and when the training has ended `model.keras`, `saved_model`, `card.json`, `card.md`, `evaluation.json`,
    `confusion.png`. The two figures are left out where matplotlib is not installed.

    Args:
        run: What to train.
        output: Where the run gets its folder.
        resume: Resume the run in `output/NETWORK-DATA`; start it where it is not there.
        say: Told what happens.
        data: Where they are there already, and `run.data` only names them; before anything is held out.

    Returns:
        The card; None for a worker that is not the chief, and where the run had ended before.

    Raises:
        ValueError: Before anything is trained or written, for unknown names or values out of range.
        InUseError: An OSError, if another process writes into the run's folder.
        DiskFullError: An OSError, if there is no room. What was there stays whole.
    """
    strategy = distribute.strategy(run.strategy)
    named = Resolved.of(run, data, distribute.replicas(strategy))
    name = f"{run.network}-{named.source.name}"
    before = to_resume(output, name, run) if resume else None
    recorded = recorded_precision(before) if before else None
    resolved = named.in_precision(recorded or precision.resolved(named.recipe.precision, strategy))
    chief, several = distribute.is_chief(strategy), distribute.workers(strategy)[1] > 1
    expect(resume or not several, "resume", "True with several workers, which share one folder", resume)
    say = say if chief else silent
    model, phases = resolved.build(strategy), resolved.phases
    training = check_fit(model, resolved.source, resolved.recipe)
    freeze(model, run.freeze)  # says now whether there is such a part
    with resumed(before, run, lock_role(strategy)) if before else new_run(output, name, say) as folder:
        distribute.shared_folder(strategy, folder)
        if (folder / CARD).exists():
            read_state(folder / CARD, lambda path: Card.from_json(path.read_bytes()))
            say(f"{folder} had ended before.")
            return None
        if chief and not (folder / RUN).exists():
            write_run(folder, resolved)
        say(f"Training {resolved.title} into {folder}: {resolved.decided} {class_names(resolved.source)}.")
        if strategy:
            say(distribute.sharing(strategy, resolved.recipe.batch_size))
        if chief:
            join_histories(folder, FROZEN)
        for phase in to_train(phases, folder):
            freeze(model, phase.frozen)
            fit(replace(training, recipe=phase.recipe), folder, seed=run.seed, resume=resume, part=phase.part)
        return finish(folder, model, resolved, say) if chief else None


def to_train(phases: list[Phase], folder: Path) -> list[Phase]:
    """Those from the last that was begun: its checkpoint has all of a training's state."""
    checkpoints = [folder / phase.part.folder / "checkpoint.npz" for phase in phases]
    begun = [number for number, path in enumerate(checkpoints) if path.exists() or kept(path).exists()]
    return phases[max(begun, default=0) :]


def silent(_: str) -> None:
    """Says nothing."""


def class_names(source: Source) -> str:
    more = ", ..." if source.classes > SHOWN else ""
    return f"{source.classes} classes: {', '.join(source.class_names[:SHOWN])}{more}"


@contextmanager
def resumed(folder: Path, run: Run, role: str) -> Iterator[Path]:
    """The folder of that very run, made where it is not there; no other command writes there meanwhile."""
    with locked(folder, role):
        if (folder / RUN).exists():
            run.expect_same(Run.read(folder), folder)
        yield folder


@contextmanager
def new_run(output: Path, name: str, say: Say) -> Iterator[Path]:
    """A new folder; what was killed in others is said."""
    for folder in filter(unfinished, numbered(output, name)):
        say(f"{folder} has an unfinished run. --resume goes on with it.")
    with new_folder(output, name) as folder, locked(folder):
        yield folder


def to_resume(output: Path, name: str, run: Run) -> Path:
    """The first unfinished run of these settings; where there is none, the first folder of that name."""
    pending = filter(unfinished, numbered(output, name))
    same = (folder for folder in pending if not (folder / RUN).exists() or not run.differing(Run.read(folder)))
    return next(same, output / name)


def unfinished(folder: Path) -> bool:
    """Whether a run was killed there, or is running. One that was killed at once has left nothing."""
    visible = {path.name for path in folder.glob("[!.]*")}
    return CARD not in visible and (not visible or bool(visible & {RUN, "checkpoint.npz"}))


def recorded_precision(folder: Path) -> str | None:
    """That of the run in the folder, if there is one: it stays, wherever it is resumed."""
    if not (folder / RUN).exists():
        return None
    return read_state(folder / RUN, lambda path: json.loads(path.read_bytes())["recipe"]["precision"])


def write_run(folder: Path, resolved: Resolved) -> None:
    """`run.json`: enough to do it again, and to see whether the data are still the same."""
    run, source = resolved.run, resolved.source
    data = {
        "name": source.name,
        "about": source.about,
        "shape": source.shape,
        "classes": source.class_names,
        **counts(source),
    }
    record = {
        "command": run.command,
        "run": asdict(run),
        "recipe": asdict(resolved.recipe),
        "data": data,
        "versions": versions(),
        "hardware": hardware(),
    }
    with completed(folder / RUN) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")


def counts(source: Source) -> dict[str, int]:
    """Images of every split."""
    return {name: len(split) for name, split in source.splits.items()}


def finish(folder: Path, model: keras.Model, resolved: Resolved, say: Say) -> Card:
    """All that the folder holds besides what the training wrote, the card last: it says that the run has ended."""
    describe(model, resolved, {})
    save(model, folder)
    final = load_model(folder / "model.keras")  # of one device: what the user gets is measured
    evaluation = evaluate(final, resolved.source)
    seconds = round(sum(epoch["seconds"] for epoch in read_history(folder / "history.csv")), 1)
    describe(final, resolved, {**evaluation.metrics(), "training_seconds": seconds})
    save(final, folder)
    exported = folder / "saved_model" / "1"
    if not exported.exists():
        export(final, folder / "saved_model")
    write_evaluation(folder, evaluation, resolved, say)
    show_predictions(exported, final.card.preprocessing, resolved.source, say)
    final.card.write(folder)
    say(f"Accuracy on {evaluation.images} held-out images: {evaluation.top1:.2%}")
    say(f"In {folder}: {', '.join(sorted(path.name for path in folder.glob('[!.]*')))}")
    return final.card


def save(model: keras.Model, folder: Path) -> None:
    """In float32, which every processor computes fast, and of stock layers."""
    with replaced(folder / "model.keras") as path:
        portable(in_float32(model)).save(path)


def describe(model: keras.Model, resolved: Resolved, metrics: Mapping[str, float]) -> None:
    """Writes into the card how the network was trained."""
    costs, source = complexity(model), resolved.source
    known: dict[str, Any] = {
        "params": costs.params,
        "macs": costs.macs,
        "recipe": asdict(resolved.recipe),
        "data": {"name": source.name, "about": source.about, **counts(source)},
        "seed": resolved.run.seed,
        "metrics": metrics,
        "hardware": hardware(),
        "versions": versions(),
    }
    attach(model, replace(model.card, **known))


def write_evaluation(folder: Path, evaluation: Evaluation, resolved: Resolved, say: Say) -> None:
    """`evaluation.json` and, where matplotlib is installed, the two figures."""
    record = {**evaluation.metrics(), "per_class": evaluation.per_class, "confusion": evaluation.confusion.tolist()}
    write_json(folder / "evaluation.json", record)
    if not find_spec("matplotlib"):
        say("No curves.png, no confusion.png: they need matplotlib, as in keras-resnet-zoo[plots].")
        return
    history, chosen = read_history(folder / "history.csv"), resolved.source.validation is not None
    delivered = delivered_epoch(history, chosen, resolved.phases[-1].part.before)
    watched = "validation" if chosen else "test"
    plot_history(history, folder / "curves.png", resolved.title, watched=watched, delivered=delivered)
    plot_confusion(evaluation.confusion, evaluation.class_names, folder / "confusion.png", resolved.title)


def show_predictions(exported: Path, preprocessing: Preprocessing, source: Source, say: Say) -> None:
    """Of the export, in a process that has nothing of ours."""
    raw = replace(preprocessing, crop=None) if preprocessing.resize else preprocessing  # the export crops
    first = source.test[np.arange(min(SHOWN, len(source.test)))]
    pixels = raw_images(first, raw, source.shape[-1])
    wide = max(10, *map(len, source.class_names))
    say(f"{exported}, reloaded in a fresh process, on {len(pixels)} held-out images:")
    [(probabilities, _)] = run_elsewhere([exported], pixels, preprocessing)
    say(f"{'truth':>{wide}}  {'prediction':>{wide}}  probability")
    for label, scores in zip(first.labels, probabilities, strict=True):
        truth, best = source.class_names[label], source.class_names[np.argmax(scores)]
        say(f"{truth:>{wide}}  {best:>{wide}}  {scores.max():>11.3f}")
