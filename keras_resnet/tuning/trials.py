"""The records of a search's trials: dicts as in their files, what they read like, and their Pareto front."""

import csv
import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keras_resnet.analysis.plots import plot_front
from keras_resnet.files import replaced

BUDGETS = {"params": "max_params", "macs": "max_macs", "latency_ms": "max_latency_ms"}  # of the costs
RECORD = "record.json"
Record = dict[str, Any]


def records(folder: Path) -> list[Record]:
    """Of all trials, in their order."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"trial_*/{RECORD}")]
    return sorted(found, key=lambda record: int(record["trial"]))


def line(record: Mapping[str, Any]) -> str:
    if record["status"] != "COMPLETED":
        return f"trial {record['trial']}: {record['status']} {record.get('reason', '')}"
    return (f"trial {record['trial']}: {record['score']:.2%}, {described(record)}, {record['epochs']} epochs in "
            f"{record['seconds']:.0f} s")  # fmt: skip


def described(record: Mapping[str, Any]) -> str:
    names = {"params": "params", "macs": "MACs", "latency_ms": "ms"}
    return ", ".join(f"{shown(record[cost])} {name}" for cost, name in names.items() if cost in record)


def front(trials: list[Record]) -> list[Record]:
    """Those that no other trial equals or beats in score, params, MACs and latency, and beats in one."""
    points = {record["trial"]: (-record["score"], *(record[cost] for cost in BUDGETS)) for record in trials}

    def dominated(point) -> bool:
        return any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point
                   for other in points.values())  # fmt: skip

    return [record for record in trials if not dominated(points[record["trial"]])]


def shown(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.3g}"


def write_front(folder: Path, trained: list[Record], best: list[Record], title: str, say: Callable) -> None:
    """`pareto.csv` and, where matplotlib is installed, `pareto.png`."""
    columns = {"trial": "trial", "accuracy": "score", **{cost: cost for cost in BUDGETS}}
    with replaced(folder / "pareto.csv") as path, open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows([record[key] for key in columns.values()] for record in best)
    if not find_spec("matplotlib"):
        say("No pareto.png: it needs matplotlib, as in keras-resnet-zoo[plots].")
    elif trained:
        plot_front(trained, best, folder / "pareto.png", title)
