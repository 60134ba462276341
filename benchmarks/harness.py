"""Contenders in a process each, measured in turns, so that what slows the machine slows them alike."""

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

MEASURES = "measures "  # what a worker's answer begins with
MEGABYTES = {"peak MB": "peak_mb", "of it above the start": "own_mb"}
LIBRARIES = ("keras-resnet-zoo", "keras", "tensorflow", "torch", "jax", "numpy")


Rounds = list[dict[str, float]]


@dataclass(frozen=True)
class Contender:
    """`make()` prepares, in a process with that environment, what is timed: a call that ends when its work does."""

    name: str
    make: Callable[[], Callable[[], object]]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """The first contender is ours; the others' times, or memory, are divided by its."""

    about: str
    contenders: tuple[Contender, ...]
    rounds: int = 7  # enough for a median and its spread
    warmups: int = 2
    memory: bool = False  # a round is a process of its own, whose peak is measured at the end of its timed run


class Worker:
    """A contender's process: one line in, one run, its measures out."""

    def __init__(self, benchmark: str, contender: Contender):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", benchmark, "--worker", contender.name],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **contender.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def measures(self) -> dict[str, float] | None:
        """Of one more run; None where the contender could not be made: its library is missing."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = next((line for line in self.process.stdout if line.startswith(MEASURES)), None)
        return json.loads(answer.removeprefix(MEASURES)) if answer else None

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def work(contender: Contender) -> None:
    """The worker's side."""
    run = contender.make()
    before = resident()
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        found = {"seconds": time.perf_counter() - start, "peak_mb": peak(), "own_mb": peak() - before}
        print(MEASURES + json.dumps(found), flush=True)


def resident() -> float:
    """Megabytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak() -> float:
    """The most megabytes of this process that ever were in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(name: str, benchmark: Benchmark) -> dict[str, Rounds]:
    """The measures of every round by contender; those that could not run are left out, and named."""
    started = {contender.name: Worker(name, contender) for contender in benchmark.contenders if not benchmark.memory}
    found: dict[str, Rounds] = {contender.name: [] for contender in benchmark.contenders}
    try:
        for turn in range(benchmark.rounds + (0 if benchmark.memory else benchmark.warmups)):
            for contender in benchmark.contenders:
                if contender.name not in found:
                    continue
                measures = alone(name, contender, benchmark) if benchmark.memory else started[contender.name].measures()
                if measures is None:
                    found.pop(contender.name)
                    print(f"{contender.name}: could not run here")
                elif benchmark.memory or turn >= benchmark.warmups:
                    found[contender.name].append(measures)
    finally:
        for worker in started.values():
            worker.close()
    return found


def alone(name: str, contender: Contender, benchmark: Benchmark) -> dict[str, float] | None:
    """The measures of the run behind the warm-ups, in a process of its own."""
    worker = Worker(name, contender)
    try:
        return [worker.measures() for _ in range(benchmark.warmups + 1)][-1]
    finally:
        worker.close()


def table(found: Mapping[str, Rounds], memory: bool = False) -> str:
    """Medians; ratios to ours are medians of the rounds' ratios, with the smallest and the largest."""
    columns = MEGABYTES if memory else {}
    unit = "own_mb" if memory else "seconds"
    heads = ["contender", *columns, "ms a step" if memory else "ms", "ratio to ours", "of the rounds"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 2)} --- |"]
    ours = next(iter(found.values()))
    for contender, theirs in found.items():
        ratios = [other[unit] / own[unit] for other, own in zip(theirs, ours, strict=True)]
        cells = [f"{median(row[key] for row in theirs):,.0f}" for key in columns.values()]
        cells += [f"{1000 * median(row['seconds'] for row in theirs):.1f}", f"{median(ratios):.2f}"]
        lines.append(f"| {' | '.join([contender, *cells])} | {min(ratios):.2f} to {max(ratios):.2f} |")
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
    found = measure(name, benchmark)
    environments = {contender.name: dict(contender.environment) for contender in benchmark.contenders}
    record = {"about": benchmark.about, "machine": machine(), "versions": versions(), "environments": environments}
    for key in ("seconds", *(MEGABYTES.values() if benchmark.memory else ())):
        record[key] = {contender: [row[key] for row in rounds] for contender, rounds in found.items()}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return table(found, benchmark.memory)
