"""The records of a search's trials: dicts as in their files, what they read like, and their Pareto front."""

import csv
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_resnet.analysis.plots import plot_front
from keras_resnet.files import read_json, replaced
from keras_resnet.tuning.budget import BUDGETS, number_text

RECORD = "record.json"
UNITS = {"params": "params", "macs": "MACs", "latency_ms": "ms"}
COLUMNS = {"trial": "trial", "accuracy": "score", **{cost: cost for cost in BUDGETS}}  # of pareto.csv -> of a record
Record = dict[str, Any]
Say = Callable[[str], None]


def read_record(folder: Path) -> Record:
    """Of the trial in that folder; empty where it has not been run."""
    path = folder / RECORD
    return read_json(path) if path.exists() else {}


def records(folder: Path) -> list[Record]:
    """Of all trials, in their order."""
    known = filter(None, map(read_record, folder.glob("trial_*")))
    return sorted(known, key=lambda record: int(record["trial"]))


def summary_line(record: Mapping[str, Any]) -> str:
    if record["status"] != "COMPLETED":
        return f"trial {record['trial']}: {record['status']} {record.get('reason', '')}"
    score, trained = f"{record['score']:.2%}", f"{record['epochs']} epochs in {record['seconds']:.0f} s"
    return f"trial {record['trial']}: {score}, {costs_text(record)}, {trained}"


def costs_text(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{number_text(record[cost])} {unit}" for cost, unit in UNITS.items() if cost in record)


def front(trials: list[Record]) -> list[Record]:
    """Those that no other trial equals or beats in score, params, MACs and latency, and beats in one."""
    points = {record["trial"]: (-record["score"], *(record[cost] for cost in BUDGETS)) for record in trials}

    def beats(other: tuple[float, ...], point: tuple[float, ...]) -> bool:
        return other != point and all(a <= b for a, b in zip(other, point, strict=True))

    return [record for record in trials if not any(beats(other, points[record["trial"]]) for other in points.values())]


def write_front(
    folder: Path, trained: list[Record], best: list[Record], title: str, say: Callable[[str], None]
) -> None:
    """`pareto.csv` and, where matplotlib is installed, `pareto.png`."""
    with replaced(folder / "pareto.csv") as path, open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows([record[key] for key in COLUMNS.values()] for record in best)
    if not find_spec("matplotlib"):
        say("No pareto.png: it needs matplotlib, as in keras-resnet-zoo[plots].")
    elif trained:
        plot_front(trained, best, folder / "pareto.png", title)
