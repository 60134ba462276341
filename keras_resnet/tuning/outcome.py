"""What a search leaves: its tables, and its best network exported."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from keras_resnet.checks import ReportedError
from keras_resnet.experiment import Run, experiment
from keras_resnet.files import completed, write_json
from keras_resnet.modelcard import Card
from keras_resnet.tuning.budget import limit_text
from keras_resnet.tuning.hypermodel import HyperResNet
from keras_resnet.tuning.oracles import Budgeted
from keras_resnet.tuning.records import Record, Say, costs_text, front, records, summary_line, write_front

TRIALS = "trials"  # the folder of the trials in that of the search


@dataclass(frozen=True)
class Search:
    """What a search found. Records are dicts as in `trials.json`."""

    folder: Path
    trials: list[Record]  # in the order in which they were drawn
    front: list[Record]  # the Pareto front, the best first
    best: Record
    card: Card  # of the best, as exported; its metrics are those of the test


class SearchError(ReportedError, RuntimeError):
    """A search that found nothing, with the reasons."""


def concluded(hypermodel: HyperResNet, oracle: Budgeted, folder: Path, retrain: bool, say: Say) -> Search:
    """Writes the tables, and exports the best."""
    trials = records(folder / TRIALS)
    trained = with_status("COMPLETED", trials)
    trained.sort(key=lambda record: (-record["score"], record["macs"]))
    write_json(folder / "trials.json", trials)
    best = front(trained)
    write_front(folder, trained, best, f"{hypermodel.space} on {hypermodel.source.name}", say)
    if not trained or oracle.gave_up:
        raise SearchError(reasons(trials, hypermodel.budget, oracle.in_a_row))
    if len(trained) < oracle.wanted:
        say(f"{len(trained)} of {oracle.wanted} trials were completed: the others failed, or the space has no more.")
    say(f"The best is {summary_line(trained[0])}")
    return Search(folder, trials, best, trained[0], exported(hypermodel, folder, trained[0], retrain, say))


def with_status(status: str, trials: list[Record]) -> list[Record]:
    return [record for record in trials if record["status"] == status]


def reasons(trials: list[Record], budget: Mapping[str, float], in_a_row: int) -> str:
    """Why there is nothing, or no more."""
    done, failed, over = (with_status(status, trials) for status in ("COMPLETED", "FAILED", "INFEASIBLE"))
    lines = [f"The search ended with {len(done)} completed trials, {len(failed)} failed."]
    if over:
        smallest = min(over, key=lambda record: max(record.get(cost, 0) / most for cost, most in budget.items()))
        limits = ", ".join(limit_text(cost, budget) for cost in budget)
        lines.append(
            f"{len(over)} draws were over the budget, {in_a_row} of them in a row at the end: {limits}. "
            f"The smallest network drawn has {costs_text(smallest)}: {smallest['command']}"
        )
    return "\n".join([*lines, *map(summary_line, failed)])


def exported(hypermodel: HyperResNet, folder: Path, best: Record, retrain: bool, say: Say) -> Card:
    """The best trial's run, as the command `train` would have left it; trained again where that is asked for."""
    run, output = Run(**best["run"]), folder / f"{'retrained' if retrain else 'best'}-{best['trial']}"
    target = output / f"{run.network}-{hypermodel.source.name}"
    if retrain:
        held_out = run.validation if best["recipe"]["schedule"] == "plateau" else None  # which steers by it
        run = replace(run, validation=held_out, changes={**run.changes, "epochs": best["recipe"]["epochs"]})
    elif not target.exists():
        output.mkdir(exist_ok=True)
        with completed(target) as partial_path:
            shutil.copytree(folder / TRIALS / f"trial_{best['trial']}" / "run", partial_path)
    experiment(run, output, resume=True, say=say, data=hypermodel.data)
    return Card.from_json((target / "card.json").read_text())
