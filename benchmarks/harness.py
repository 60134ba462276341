"""Contenders in a process each, timed in turns, so that what slows the machine slows them alike."""

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

LIBRARIES = ("keras-resnet-zoo", "keras", "tensorflow", "torch", "torchvision", "onnxruntime", "jax", "numpy")


@dataclass(frozen=True)
class Contender:
    """`make()` prepares, in a process with that environment, what is timed: a call that ends when its work does."""

    name: str
    make: Callable[[], Callable[[], object]]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """The first contender is ours; the others' times are divided by its."""

    about: str
    contenders: tuple[Contender, ...]
    rounds: int = 7  # enough for a median and its spread
    warmups: int = 2


class Worker:
    """A contender's process: one line in, one run, its seconds out."""

    def __init__(self, benchmark: str, contender: Contender):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", benchmark, "--worker", contender.name],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **contender.environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def seconds(self) -> float | None:
        """None where the contender could not be made: its library is missing."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("run\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        answer = next((line for line in self.process.stdout if line.startswith("seconds ")), None)
        return float(answer.split()[1]) if answer else None

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def work(contender: Contender) -> None:
    """The worker's side."""
    run = contender.make()
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print("seconds", time.perf_counter() - start, flush=True)


def measure(name: str, benchmark: Benchmark) -> dict[str, list[float]]:
    """Seconds of every round by contender; those that could not run are left out, and named."""
    workers = {contender.name: Worker(name, contender) for contender in benchmark.contenders}
    times: dict[str, list[float]] = {contender: [] for contender in workers}
    try:
        for turn in range(benchmark.warmups + benchmark.rounds):
            for contender, worker in list(workers.items()):
                seconds = worker.seconds()
                if seconds is None:
                    workers.pop(contender).close()
                    times.pop(contender)
                    print(f"{contender}: could not run here")
                elif turn >= benchmark.warmups:
                    times[contender].append(seconds)
    finally:
        for worker in workers.values():
            worker.close()
    return times


def table(times: Mapping[str, list[float]]) -> str:
    """Medians in milliseconds; ratios to ours are medians of the rounds' ratios, with the smallest and the largest."""
    ours = next(iter(times.values()))
    lines = ["| contender | ms | ratio to ours | of the rounds |", "| --- | ---: | ---: | --- |"]
    for contender, theirs in times.items():
        ratios = [other / own for other, own in zip(theirs, ours, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(f"| {contender} | {1000 * median(theirs):.1f} | {median(ratios):.2f} | {spread} |")
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
    times = measure(name, benchmark)
    environments = {contender.name: dict(contender.environment) for contender in benchmark.contenders}
    record = {"about": benchmark.about, "machine": machine(), "versions": versions(), "environments": environments,
              "seconds": times}  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return table(times)
