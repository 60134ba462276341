"""Searches over networks' rows and recipes with keras-tuner, under budgets that hold for every trial."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_tuner.errors import FatalError

from keras_resnet.checks import COUNT, FLAG, expect, expect_rule, one_of, plain
from keras_resnet.files import expect_new_search, locked, read_state, write_json
from keras_resnet.tuning.hypermodel import HyperResNet
from keras_resnet.tuning.oracles import TUNERS
from keras_resnet.tuning.outcome import TRIALS, Search, concluded
from keras_resnet.tuning.records import Say, records
from keras_resnet.tuning.trials import Trials

ADDRESS = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")
RULES = {"trials": COUNT, "tuner": one_of(*TUNERS), "resume": FLAG, "retrain": FLAG}


def search(
    space: str | Callable[[Any], tuple[Any, Any]],
    data: Any,
    folder: str | Path,
    *,
    trials: int = 10,
    tuner: str = "random",
    resume: bool = False,
    retrain: bool = False,
    say: Say = print,
    **options: Any,
) -> Search | None:
    """Trains networks of a space on the data, within budgets, and exports the best.

    A network over the budget is not trained and does not count. The score is the accuracy on the validation split, in
    the epoch of its lowest loss. The test split only measures the exported model. `folder` then has:

    - `search.json`: what was asked for.
    - `trials.json`: a record for each trial, with status, rows, score, costs and reason.
    - `pareto.csv` and, if matplotlib is installed, `pareto.png`: the trials that no other trial beats.
    - `trials/`: keras-tuner's files, and each training.
    - `best-N/` or `retrained-N/`: the best trial's run, as `keras-resnet train` leaves one.

    Several processes share a search and a folder if `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT` are set: keras-tuner's chief and its workers.

    Args:
        space: See `keras_resnet.HyperResNet`.
        data: As `keras_resnet.load_data` takes it.
        folder: A path where nothing exists yet, or the search to resume.
        trials: How many networks to train. A resumed search may have more.
        tuner: "random", "bayesian", "hyperband" or "grid". The rungs of "hyperband" train from the start, with whole
            schedules of fewer epochs.
        resume: Continue the search in the folder, if there is one. Ended trials are kept. Killed trials go on after
            their last epoch.
        retrain: Train the best network again for all epochs of the recipe, also on the images that the search itself
            held out. The schedule "plateau" needs these images, and does not train on them. A validation split that
            comes with the data is never trained on.
        say: Called with each line of the report.
        **options: Those of `keras_resnet.HyperResNet`: network, recipe, budgets, validation, seed, ...

    Returns:
        The outcome; None for a worker that is not the chief.

    Raises:
        ValueError: If an argument is invalid, before anything is built.
        InUseError: An OSError, if another process writes into the folder and is no worker of the same search.
        DiskFullError: An OSError, if there is no room. What was there stays whole.
        DamagedError: A ValueError, if a file of the search cannot be read. It says what to do.
        SearchError: A RuntimeError with the reasons, if no trial was completed or 1,000 draws in a row were over the
            budget.
    """
    given, folder = locals(), Path(folder)
    for name, rule in RULES.items():
        expect_rule(rule, name, given[name])
    worker, several = keras_tuner_role()
    expect(resume or not several, "resume", "True with several workers, which share one folder", resume)
    expect_new_search(folder, resume)
    with locked(folder, worker):
        present = {path.name for path in folder.glob("[!.]*")}  # of workers that came before the chief, TRIALS is
        expect({"search.json", TRIALS} & present or not present, "folder", "the folder of a search", str(folder))
        hypermodel = HyperResNet(space, data, **options)
        hypermodel.check()
        return search_in(folder, hypermodel, plain(trials), tuner, retrain, say, bool(worker))


def search_in(
    folder: Path, hypermodel: HyperResNet, trials: int, tuner: str, retrain: bool, say: Say, worker: bool
) -> Search | None:
    """Goes on with what the folder has, which no other search writes to."""
    asked = {**hypermodel.asked, "tuner": tuner}
    if (folder / "search.json").exists():
        before = read_state(folder / "search.json", lambda path: hypermodel.recorded(json.loads(path.read_bytes())))
        asked = {**hypermodel.asked, "tuner": tuner}
        expect(asked == before, "resume", f"the search that is in {folder}, of {before}", asked)
    (folder / TRIALS).mkdir(parents=True, exist_ok=True)
    records(folder / TRIALS)  # says now which of them cannot be read
    if not worker:
        write_json(folder / "search.json", asked)
    epochs, seed = asked["first"][1]["epochs"], hypermodel.base.seed % 2**31 + 1  # keras-tuner takes 0 for none
    oracle = TUNERS[tuner](trials, epochs, folder / TRIALS, seed=seed)
    try:
        Trials(hypermodel, oracle, folder, say, worker).search()
    except FatalError as error:
        raise error.__cause__ or error from None
    return None if worker else concluded(hypermodel, oracle, folder, retrain, say)


def keras_tuner_role() -> tuple[str, bool]:
    """The id of this process where it is a worker of keras-tuner's, and whether there are several processes."""
    address, _, tuner_id = ADDRESS
    given = {name: os.environ[name] for name in ADDRESS if os.environ.get(name)}
    several = address in given
    expect(not several or len(given) == len(ADDRESS), address, f"set with {' and '.join(ADDRESS[1:])}", given)
    return given[tuner_id] if several and "chief" not in given[tuner_id] else "", several
