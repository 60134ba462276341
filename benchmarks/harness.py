"""Contenders in a process each, timed in turns, so that what slows the machine slows them alike."""

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

LIBRARIES = ("keras-resnet-zoo", "keras", "tensorflow", "torch", "torchvision", "jax", "numpy")


@dataclass(frozen=True)
class Contender:
    """`make()` prepares, in a process with that environment, what is timed: a call that ends when its work does."""

    name: str
    make: Callable[[], Callable[[], object]]
    environment: Mapping[str, str] = field(default_factory=dict)
    facts: Callable[[], Mapping[str, int]] = dict  # what is counted beside the times
    again: bool = False  # whether every round is prepared anew


@dataclass(frozen=True)
class Benchmark:
    """The first contender is ours; the others' times are divided by its."""

    about: str
    contenders: tuple[Contender, ...]
    rounds: int = 7  # enough for a median and its spread
    warmups: int = 2


class Worker:
    """A contender's process: one line in, one run, its seconds out; or its facts."""

    def __init__(self, benchmark: str, contender: Contender):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", benchmark, "--worker", contender.name],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **contender.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, what: str) -> Any:
        """None where the contender could not be made: its library is missing."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = next((line for line in self.process.stdout if line.startswith(f"{what} ")), None)
        return json.loads(answer.removeprefix(what)) if answer else None

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def work(contender: Contender) -> None:
    """The worker's side."""
    run = contender.make()
    for line in sys.stdin:
        if line == "facts\n":
            print("facts", json.dumps(contender.facts()), flush=True)
            continue
        if contender.again:
            run = contender.make()
        gc.collect()  # what the last round left is not this one's
        start = time.perf_counter()
        run()
        print("seconds", time.perf_counter() - start, flush=True)


def measure(name: str, benchmark: Benchmark) -> tuple[dict[str, list[float]], dict[str, dict[str, int]]]:
    """Seconds of every round, and facts, by contender; those that could not run are left out, and named."""
    workers = {contender.name: Worker(name, contender) for contender in benchmark.contenders}
    times: dict[str, list[float]] = {contender: [] for contender in workers}
    try:
        for turn in range(benchmark.warmups + benchmark.rounds):
            for contender, worker in list(workers.items()):
                seconds = worker.ask("seconds")
                if seconds is None:
                    workers.pop(contender).close()
                    times.pop(contender)
                    print(f"{contender}: could not run here")
                elif turn >= benchmark.warmups:
                    times[contender].append(seconds)
        facts = {contender: worker.ask("facts") for contender, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    return times, facts


def table(times: Mapping[str, list[float]], facts: Mapping[str, Mapping[str, int]]) -> str:
    """Medians in milliseconds; ratios to ours are medians of the rounds' ratios, with the smallest and the largest."""
    ours = next(iter(times.values()))
    counted = list(next(iter(facts.values())))
    lines = [f"| {' | '.join(['contender', 'ms', 'ratio to ours', 'of the rounds', *counted])} |",
             f"| --- | ---: | ---: | --- |{' ---: |' * len(counted)}"]  # fmt: skip
    for contender, theirs in times.items():
        ratios = [other / own for other, own in zip(theirs, ours, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        counts = [f"{facts[contender][count]:,}" for count in counted]
        row = [contender, f"{1000 * median(theirs):.1f}", f"{median(ratios):.2f}", spread, *counts]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def machine() -> dict[str, str | int | None]:
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {"processor": models[0], "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


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
    times, facts = measure(name, benchmark)
    environments = {contender.name: dict(contender.environment) for contender in benchmark.contenders}
    record = {"about": benchmark.about, "machine": machine(), "versions": versions(), "environments": environments,
              "seconds": times, "facts": facts}  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return table(times, facts)
