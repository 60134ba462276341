"""Contenders in a process each, measured in turns, so that what slows the machine slows them alike."""

import gc
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

from keras_resnet.machine import cores, processor

LIBRARIES = ("keras-resnet-zoo", "keras", "tensorflow", "torch", "torchvision", "onnxruntime", "jax", "numpy")
SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
MEGABYTES = {"peak MB": "peak_mb", "of it above the start": "own_mb"}

Measures = dict[str, float]  # of a round


@dataclass(frozen=True)
class Contender:
    """`make()` prepares, in a process with that environment, what is timed: a call that ends when its work does."""

    name: str
    make: Callable[[], Callable[[], object]]
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Callable[[], Mapping[str, int]] = dict  # what is counted beside the measures


@dataclass(frozen=True)
class Benchmark:
    """The first contender is ours; the others' times, or memory, are divided by its."""

    about: str
    contenders: tuple[Contender, ...]
    rounds: int = 7  # enough for a median and its spread
    warmups: int = 2
    passes: int = 1  # calls of a run: where one is short, it would find its weights out of the caches
    fresh: bool = False  # whether every round is a process of its own, whose last run is measured
    memory: bool = False  # whether memory is compared, and not time

    @property
    def compared(self) -> str:
        return "own_mb" if self.memory else "seconds"

    @property
    def columns(self) -> Mapping[str, str]:
        return MEGABYTES if self.memory else {}


def defaults() -> dict[str, str]:
    """The environment without what would change what is measured."""
    return {name: value for name, value in os.environ.items() if name not in SETTINGS}


class Worker:
    """A contender's process: one line in, one run, its measures out; or its facts."""

    def __init__(self, benchmark: str, contender: Contender):
        self.errors = TemporaryFile("w+")  # noqa: SIM115, as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", benchmark, "--worker", contender.name],
            env={**defaults(), "TF_CPP_MIN_LOG_LEVEL": "3", **contender.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip

    def ask(self, what: str) -> Any:
        """For the measures of a "run", or the "facts"; None where it cannot run."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = next((line for line in self.process.stdout if line.startswith(f"{what} ")), None)
        return json.loads(answer.removeprefix(what)) if answer else None

    @property
    def reason(self) -> str:
        """The last line of what it said."""
        self.errors.seek(0)
        return self.errors.read().strip().rpartition("\n")[2]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def work(contender: Contender, passes: int) -> None:
    """The worker's side."""
    run = contender.make()
    before = resident()
    for line in sys.stdin:
        answer = contender.facts() if line == "facts\n" else measured(run, before, passes)
        print(line.strip(), json.dumps(answer), flush=True)


def measured(run: Callable[[], object], before: float, passes: int) -> Measures:
    gc.collect()  # what the last run left is not this one's
    start = time.perf_counter()
    for _ in range(passes):
        run()
    return {"seconds": (time.perf_counter() - start) / passes, "peak_mb": peak(), "own_mb": peak() - before}


def resident() -> float:
    """Megabytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak() -> float:
    """The most megabytes of this process that ever were in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(name: str, benchmark: Benchmark) -> tuple[dict[str, list[Measures]], dict[str, Mapping[str, int]]]:
    """The measures of every round, and the facts, by contender; those that cannot run are left out, and named."""
    workers: dict[str, Worker] = {}
    found: dict[str, list[Measures]] = {contender.name: [] for contender in benchmark.contenders}
    facts: dict[str, Mapping[str, int]] = {}
    try:
        for contender in benchmark.rounds * benchmark.contenders:
            if contender.name not in found:
                continue
            runs = 1 if contender.name in workers else 1 + benchmark.warmups
            worker = workers[contender.name] = workers.get(contender.name) or Worker(name, contender)
            measures = [worker.ask("run") for _ in range(runs)][-1]
            if measures is None:
                found.pop(contender.name)
                print(f"{contender.name}: could not run here ({worker.reason})")
            else:
                found[contender.name].append(measures)
                facts[contender.name] = facts.get(contender.name) or worker.ask("facts")
            if measures is None or benchmark.fresh:
                workers.pop(contender.name).close()
    finally:
        for worker in workers.values():
            worker.close()
    return found, facts


def table(benchmark: Benchmark, found: Mapping[str, list[Measures]], facts: Mapping[str, Mapping[str, int]]) -> str:
    """Medians; ratios to ours are medians of the rounds' ratios, with the smallest and the largest."""
    counted = list(next(iter(facts.values())))
    numbers = [*benchmark.columns, "ms", "ratio to ours"]
    lines = [f"| {' | '.join(['contender', *numbers, 'of the rounds', *counted])} |",
             f"| --- |{' ---: |' * len(numbers)} --- |{' ---: |' * len(counted)}"]  # fmt: skip
    ours = found[benchmark.contenders[0].name]
    for contender, theirs in found.items():
        ratios = [other[benchmark.compared] / own[benchmark.compared] for other, own in zip(theirs, ours, strict=True)]
        cells = [contender, *(f"{median(row[key] for row in theirs):,.0f}" for key in benchmark.columns.values())]
        cells += [f"{1000 * median(row['seconds'] for row in theirs):.1f}", f"{median(ratios):.2f}"]
        cells += [f"{min(ratios):.2f} to {max(ratios):.2f}", *(f"{facts[contender][count]:,}" for count in counted)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def machine() -> dict[str, str | int]:
    return {"processor": processor(), "cores": cores(), "python": platform.python_version()}


def versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def report(name: str, benchmark: Benchmark, folder: Path) -> str:
    """Measures, writes `NAME.json`, and returns the table."""
    found, facts = measure(name, benchmark)
    if benchmark.contenders[0].name not in found:
        sys.exit(f"{name}: nothing was compared, and nothing written.")
    environments = {contender.name: dict(contender.environment) for contender in benchmark.contenders}
    record: dict[str, Any] = {"about": benchmark.about, "machine": machine(), "versions": versions(),
                              "environments": environments, "facts": facts}  # fmt: skip
    for key in ("seconds", *benchmark.columns.values()):
        record[key] = {contender: [row[key] for row in rounds] for contender, rounds in found.items()}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return table(benchmark, found, facts)
