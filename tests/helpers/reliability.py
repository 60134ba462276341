"""Kills commands at seeded moments, and starts pairs of them at once: counts what was lost, mixed or left behind.

PYTHONPATH=tests python -m helpers.reliability kills
PYTHONPATH=tests python -m helpers.reliability pairs

A kill comes at the n-th event of a file (opened, renamed, removed, made) in the command's folder; n is drawn from as
many as an undisturbed command has left. A run is killed five times, then let alone, and compared with one that was
never killed. Every process is a fork of one that has imported everything and computed nothing.
"""

import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import keras_tuner  # noqa: F401, imported before the forks
import numpy as np
import tensorflow as tf  # noqa: F401

from keras_resnet.cli import main
from keras_resnet.experiment import experiment  # noqa: F401
from keras_resnet.serving.export import export  # noqa: F401
from keras_resnet.tuning.search import search  # noqa: F401

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
CHAIN = 5  # kills of one run, at most, before it is let alone
SMALL = ["--stages", "[[4], [8]]", "--stem-filters", "4"]
TRAIN = ["train", *SMALL, "--set", "epochs=5", "steps_per_epoch=3", "--output", "out", "--resume"]
SEARCH = ["search", "--trials", "2", "--max-macs", "400k", "--set", "epochs=2", "steps_per_epoch=2"]
SEARCH += ["--output", "out/search", "--resume"]
MODEL = "model/resnet20-digits/model.keras"
EXPORT = ["export", MODEL, "out", "--overwrite"]


# Processes


def started(arguments, cwd, kill_at=None):
    """The id of a process that runs the command, killed at that event in the folder `out`. It tells how many it had."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    os.chdir(cwd)
    log = os.open(f"{os.getpid()}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["keras-resnet", *arguments]
    inside, count = str(Path(cwd, "out")), 0

    def seen(event, given):
        nonlocal count
        if event in EVENTS and isinstance(given[0], str | Path) and os.path.abspath(given[0]).startswith(inside):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(seen)
    code = 1
    try:
        main(arguments, prog_name="keras-resnet", standalone_mode=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        Path(cwd, f"{os.getpid()}.events").write_text(str(count))
        os._exit(code if isinstance(code, int) else 1)


def ended(process):
    """Its exit status, negative for a signal. What it started dies with it."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    return code


def run(arguments, cwd, kill_at=None):
    process = started(arguments, cwd, kill_at)
    code = ended(process)
    return code, said(process, cwd)


def said(process, cwd):
    return Path(cwd, f"{process}.log").read_text()


def events(cwd):
    return max(int(path.read_text()) for path in Path(cwd).glob("*.events"))


# What a folder holds


def weights(path):
    found = {}
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: np.asarray(value).tobytes() for name, value in found.items()}


def history(path):
    return [{key: row[key] for key in row if key != "seconds"} for row in csv.DictReader(path.open())]


def trained(folder):
    """All of a run that another must have to the bit."""
    return [
        (path.relative_to(folder).parent.name, weights(path), history(path.with_name("history.csv")))
        for path in sorted(folder.rglob("model.keras"))
    ]


def searched(folder):
    """As `trained`, and the trials without their times."""
    trials = json.loads((folder / "search" / "trials.json").read_text())
    return [{**trial, "seconds": 0, "latency_ms": 0} for trial in trials], trained(folder)


def served(folder):
    """Files of the one version and their sizes, the card's apart: it has times."""
    files = [path for path in (folder / "1").rglob("*") if path.is_file() and not path.name.startswith("card.")]
    json.loads((folder / "1" / "card.json").read_text())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files if path.name != "fingerprint.pb"}


def left_behind(folder):
    return [str(path) for path in folder.rglob(".*") if path.name.startswith((".partial-", ".lock", ".aside-"))]


# Kills

KILLS = {  # how many, the command, what it leaves, and whether it is there throughout
    "training": (20, TRAIN, trained, False),
    "search": (15, SEARCH, searched, False),
    "export": (15, EXPORT, served, True),
}


def prepared(folder, kind):
    """A working folder in which the command can start."""
    folder.mkdir()
    if kind == "export":
        assert run(["train", *SMALL, "--set", "epochs=1", "steps_per_epoch=1", "--output", "model"], folder)[0] == 0
        assert run(EXPORT, folder)[0] == 0
    return folder


def kills(kind, seed, folder):
    """(kills, commands resumed after them, differing ends, instants without a whole version, files left behind)"""
    wanted, command, holds, throughout = KILLS[kind]
    draw, start = random.Random(seed), prepared(folder / "start", kind)
    shutil.copytree(start, folder / "whole")
    code, text = run(command, folder / "whole")
    assert code == 0, text
    expected, total = holds(folder / "whole" / "out"), events(folder / "whole")
    done, ends, differing, missing, left = 0, 0, [], [], []
    while done < wanted:
        here, left_to_do = Path(shutil.copytree(start, folder / f"chain{ends}")), total
        for _ in range(CHAIN):
            moment = draw.randint(1, left_to_do)
            code, text = run(command, here, moment)
            if code != -signal.SIGKILL:
                break
            done, left_to_do = done + 1, max(left_to_do - moment, total // 4)
            if throughout and (not (here / "out" / "1").is_dir() or holds(here / "out") != expected):
                missing.append(done)
        code, text = run(command, here)
        ends += 1
        if code or holds(here / "out") != expected:
            differing.append((ends, code, text[-2000:]))
        left += left_behind(here / "out")
        print(
            f"{kind}: {done} kills, {ends} ends, {len(differing)} differ, {time.monotonic() - begun:.0f} s", flush=True
        )
    for trouble in (*differing, *left):
        print(trouble)
    return done, ends, len(differing), len(missing), len(left)


# Pairs

NEW = TRAIN[:-1]
PAIRS = {  # two commands, and how many of both may end well
    "two trainings resume one run": (TRAIN, TRAIN, 1),
    "two new trainings of one name": (NEW, NEW, 2),
    "two searches in one folder": (SEARCH, SEARCH, 1),
    "two exports replace one version": (EXPORT, EXPORT, 1),
    "two exports add a version": ([*EXPORT[:3], "--version", "next"], [*EXPORT[:3], "--version", "next"], 1),
    "two conversions to one file": (
        ["convert", "cifar10", "resnet20", "out/a.keras"],
        ["convert", "cifar10", "resnet20", "out/a.keras"],
        1,
    ),
    "two figures of one name": (
        ["inspect", "drawing", MODEL, "--output", "out/a.png"],
        ["inspect", "drawing", MODEL, "--output", "out/a.png"],
        1,
    ),
    "a resumed training that has ended, and an export of its model": (
        ["train", *SMALL, "--set", "epochs=1", "steps_per_epoch=1", "--output", "model", "--resume"],
        EXPORT,
        2,
    ),
}


def pair(name, folder):
    """(how many ended well, how many were refused in one line that says why, files left behind)"""
    first, second, _ = PAIRS[name]
    folder = Path(shutil.copytree(folder / "start", folder / name.replace(" ", "-")))
    (folder / "out").mkdir(exist_ok=True)
    processes = [started(arguments, folder) for arguments in (first, second)]
    codes = [ended(process) for process in processes]
    texts = [said(process, folder) for process in processes]
    well = [code == 0 for code in codes]
    told = [error_lines(text) == 1 for code, text in zip(codes, texts, strict=True) if code]
    for code, text in zip(codes, texts, strict=True):
        if code:
            print(f"{name}: {text.strip().splitlines()[-1]}", flush=True)
    return sum(well), sum(told), len(left_behind(folder / "out"))


def error_lines(text):
    return sum(line.startswith("Error: ") for line in text.splitlines()) if "Traceback" not in text else -1


def main_kills(folder):
    print("| command | kills | resumed to the end | ends that differ | without a whole version | left behind |")
    rows = {kind: kills(kind, seed, new(folder / kind)) for seed, kind in enumerate(KILLS)}
    for kind, row in rows.items():
        print(f"| {kind} | {' | '.join(map(str, row))} |")
    return any(any(row[2:]) for row in rows.values())


def main_pairs(folder):
    prepared(folder / "start", "export")
    rows = {name: pair(name, folder) for name in PAIRS}
    print("| at once | ended well | refused in one line | left behind |")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(map(str, row))} |")
    return any(row != (PAIRS[name][2], 2 - PAIRS[name][2], 0) for name, row in rows.items())


def new(folder):
    folder.mkdir()
    return folder


if __name__ == "__main__":
    begun = time.monotonic()
    with TemporaryDirectory() as scratch:
        short = {"kills": main_kills, "pairs": main_pairs}[sys.argv[1]](Path(scratch))
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(int(short))
