"""Search over networks' rows and recipes with keras-tuner, under budgets that hold for every trial."""

import gc
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner

from keras_resnet.checks import COUNT, FLAG, POSITIVE, Rule, expect, expect_known, expect_rule, is_integer, one_of
from keras_resnet.data import load_data
from keras_resnet.experiment import Run, build, experiment, network_changes, recipe_for
from keras_resnet.files import completed, write_json
from keras_resnet.graph.complexity import complexity
from keras_resnet.modelcard import Card
from keras_resnet.networks import zoo
from keras_resnet.training import RECIPES, Recipe, check_fit, distribute, recipe_of, train
from keras_resnet.training.recipes import optional
from keras_resnet.tuning.oracles import SCORE, TUNERS
from keras_resnet.tuning.spaces import SPACES, Drawn
from keras_resnet.tuning.trials import BUDGETS, RECORD, Record, described, front, line, records, shown, write_front

HELD_OUT = 0.1  # share of the training images that score the trials, where the data have no validation split
WARMUPS, REPETITIONS = 3, 20  # forward passes of one image, before and while they are timed
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"  # Hyperband's
STATUSES = {"COMPLETED": "COMPLETED", "FAILED": "FAILED", "INFEASIBLE": "INVALID"}  # keras-tuner's
IS_SPACE = Rule(lambda space: callable(space) or (isinstance(space, str) and space in SPACES),
                f"one of {', '.join(map(repr, SPACES))}, or a function from hp to (config, recipe)")  # fmt: skip
_RULES: dict[str, Rule] = {
    **dict.fromkeys(BUDGETS.values(), optional(POSITIVE)),
    "patience": optional(COUNT),
    "seed": Rule(lambda seed: is_integer(seed) and 0 <= seed < 2**32, "an integer from 0 to 2**32 - 1"),
    "strategy": one_of("auto", "none", "mirrored"),
}


class Infeasible(Exception):  # noqa: N818
    """A network over the budget: keras-tuner's INVALID."""


class HyperResNet(keras_tuner.HyperModel):
    """A space of networks and recipes, for `keras_resnet.search` or for any of keras-tuner's tuners.

    Args:
        space: One of `keras_resnet.tuning.SPACES`, "width_depth", "shortcut_order", "cardinality", "regularization" or
            "optimizer", which change `network` and `recipe`; or a function from keras-tuner's `hp` to (config,
            recipe), such as `lambda hp: (ResNetConfig(stages=((hp.Int("width", 8, 64),),)), "fast")`.
        data: As `keras_resnet.load_data` takes it. Trials are scored on its validation split alone.
        network: Name of the row that a ready space changes.
        recipe: A row or a name of `keras_resnet.RECIPES` that a ready space changes; by the data where none is given.
        changes: Fields of that recipe to change first, such as {"epochs": 10}.
        max_params: Most variables of a network, norms' statistics included.
        max_macs: Most multiply-adds for one image.
        max_latency_ms: Most milliseconds for one image, forward, compiled, on this machine: the median of 20 passes.
        patience: Epochs without a lower validation loss that end a trial. None: half of the recipe's, because the
            rates of recipes fall late.
        validation: Share or number of the training images to hold out; where the data have no validation split, a
            tenth by default.
        data_dir: Where TFDS keeps its sets.
        on_error: "raise" or "skip": what is done about images that cannot be decoded.
        seed: Of the weights' start and of the images' order.
        strategy: Devices that share a trial's batch: "none", "mirrored" or "auto".

    Raises:
        ValueError: For arguments that may not be so.
    """

    def __init__(
        self,
        space: str | Callable[[Any], tuple[Any, Any]],
        data: Any,
        *,
        network: str | None = None,
        recipe: Recipe | str | None = None,
        changes: Mapping[str, Any] | None = None,
        max_params: float | None = None,
        max_macs: float | None = None,
        max_latency_ms: float | None = None,
        patience: int | None = None,
        validation: float | None = None,
        data_dir: str | Path | None = None,
        on_error: str = "raise",
        seed: int = 0,
        strategy: str = "none",
    ):
        given = locals()
        for name, rule in {"space": IS_SPACE, **_RULES}.items():
            expect_rule(rule, name, given[name])
        for name in ("network", "recipe", "changes"):
            expect(isinstance(space, str) or not given[name], name, "None where the space makes the rows", given[name])
        if network is not None:
            expect_known("network", zoo.NETWORKS, network)
        self.devices = distribute.strategy(strategy)
        expect(distribute.workers(self.devices)[1] == 1, "strategy", "the devices of one machine", strategy)
        self.space = space if isinstance(space, str) else getattr(space, "__name__", type(space).__name__)
        self.budget = {cost: given[name] for cost, name in BUDGETS.items() if given[name] is not None}
        self.patience = patience
        self.data = load_data(data, data_dir=data_dir, on_error=on_error)
        if self.data.validation is None and validation is None:
            validation = HELD_OUT
        self.source = load_data(self.data, validation=validation)
        self.base = Run(
            network=network or "resnet20",
            data=data if isinstance(data, str) else self.data.name,
            data_dir=str(data_dir) if data_dir else None,
            on_error=on_error,
            validation=validation,
            seed=seed,
            strategy=strategy,
        )
        self.rows = space if callable(space) else self.around(SPACES[space], recipe, changes or {})
        super().__init__(name=self.space)

    def around(self, space, recipe, changes) -> Callable[[Any], Drawn]:
        """The ready space, from the base network under the recipe's own changes of it."""
        found = recipe_for(replace(self.base, recipe=recipe, changes=changes), self.source)
        config, recipe = settled(zoo.row(self.base.network), found)
        return partial(space, config=config, recipe=recipe)

    def draw(self, hp) -> Drawn:
        """The rows; what the recipe sets of the network is in the network's, but for what is drawn by that name."""
        drawn = self.rows(hp)
        expect(isinstance(drawn, tuple) and len(drawn) == 2 and isinstance(drawn[0], tuple(zoo.BUILDERS)), "space",
               "a function that returns a row of a network and a recipe", drawn)  # fmt: skip
        return settled(drawn[0], recipe_of(drawn[1]), [known.name for known in hp.space])

    def run(self, config: zoo.Config, recipe: Recipe, epochs: int | None = None) -> Run:
        """The command `keras-resnet train` that such a trial is, of the recipe's epochs or of so many."""
        network, changed = nearest(zoo.NETWORKS, config, self.base.network)
        name, changes = nearest(RECIPES, replace(recipe, epochs=epochs or recipe.epochs))
        return replace(self.base, network=network, config=changed, recipe=name, changes=changes)

    def network(self, run: Run) -> keras.Model:
        gc.collect()  # the last trial's: models are cycles, and their memory is not Python's to see
        return build(run, recipe_for(run, self.source), self.source, self.devices)

    def build(self, hp) -> keras.Model:
        """The untrained network, that ends in logits."""
        return self.network(self.run(*self.draw(hp)))

    def check(self) -> None:
        """Raises now what would fail in every trial."""
        run = self.run(*self.draw(keras_tuner.HyperParameters()))
        check_fit(self.network(run), self.source, recipe_for(run, self.source))

    def costs(self, model: keras.Model) -> dict[str, float]:
        """Parameters, multiply-adds, and, where these are within the budget, milliseconds."""
        counted = complexity(model)
        found: dict[str, float] = {"params": counted.params, "macs": counted.macs}
        return found if self.excess(found) else {**found, "latency_ms": latency_ms(model)}

    def excess(self, costs: Mapping[str, Any]) -> str:
        """What is over the budget; nothing where all is within."""
        over = [cost for cost, most in self.budget.items() if cost in costs and costs[cost] > most]
        return ", ".join(f"{cost} {shown(costs[cost])} > {BUDGETS[cost]}={shown(self.budget[cost])}" for cost in over)

    def fit(self, hp, model, *data, callbacks=(), epochs=None, initial_epoch=0, verbose=0, **others):
        """What keras-tuner's own tuners call: a whole schedule of the epochs that they ask for, from the start."""
        expect_honoured(hp, epochs, initial_epoch, [*map(type, data), *others])
        if excess := self.excess(self.costs(model)):
            raise Infeasible(excess)
        if initial_epoch:  # keras-tuner's Hyperband has loaded the weights of the rung before
            model.set_weights(self.build(hp).get_weights())
        run = self.run(*self.draw(hp), hp.values.get(EPOCHS, epochs))
        return self.trained(model, run, None, callbacks, verbose)

    def trained(self, model: keras.Model, run: Run, folder: Path | None, callbacks=(), verbose=0) -> dict[str, float]:
        """By `keras_resnet.train`; the scores are those of the weights that it delivers."""
        recipe = recipe_for(run, self.source)
        patience = self.patience or max(1, recipe.epochs // 2)
        stop = keras.callbacks.EarlyStopping("val_loss", patience=patience)
        history = train(model, self.source, recipe, folder, seed=run.seed, resume=folder is not None,
                        callbacks=[stop, *callbacks], verbose=verbose)  # fmt: skip
        best = min(history, key=lambda row: row["val_loss"])
        return {SCORE: best[SCORE], "val_loss": best["val_loss"], "epochs": len(history),
                "seconds": sum(row["seconds"] for row in history)}  # fmt: skip

    @property
    def asked(self) -> dict[str, Any]:
        """What a search must have in common with the one that it resumes."""
        config, recipe = self.draw(keras_tuner.HyperParameters())
        return plain({"space": self.space, "base": asdict(replace(self.base, strategy="none")),
                      "first": [asdict(config), asdict(recipe)], "budget": self.budget,
                      "patience": self.patience})  # fmt: skip


def settled(config: zoo.Config, recipe: Recipe, drawn: Collection[str] = ()) -> Drawn:
    """What the recipe sets of the network, but for those fields, in the network's row."""
    changes = {key: value for key, value in network_changes(recipe, config).items() if key not in drawn}
    return replace(config, **changes), replace(recipe, network={})


def expect_honoured(hp, epochs: Any, initial_epoch: Any, others: list[Any]) -> None:
    """Ends the search, where keras-tuner would end one trial after the other."""
    try:
        expect(not others, "search", "callbacks, epochs and verbose alone: the data and the recipe are the "
               "hypermodel's", others)  # fmt: skip
        expect_rule(optional(COUNT), "epochs", epochs)
        expect(initial_epoch in (0, hp.values.get(INITIAL_EPOCH)), "initial_epoch", "0", initial_epoch)
    except ValueError as error:
        raise keras_tuner.errors.FatalValueError(str(error)) from error


def nearest(table: Mapping[str, Any], row: Any, first: str | None = None) -> tuple[str, dict[str, Any]]:
    """The known row that has most fields in common with this one, and the others of this one, as JSON has them."""
    names = [name for name in ([first] if first else []) + list(table) if type(table[name]) is type(row)]
    ours, theirs = plain(asdict(row)), {name: plain(asdict(table[name])) for name in names}
    differing = {name: {key: ours[key] for key in ours if ours[key] != theirs[name][key]} for name in names}
    name = min(names, key=lambda name: len(differing[name]))
    return name, differing[name]


def plain(record: Any) -> Any:
    """As JSON returns it."""
    return json.loads(json.dumps(record))


def latency_ms(model: keras.Model) -> float:
    """Of one image through the compiled network on this machine, the median."""
    images = tf.zeros((1, *model.input_shape[1:]))
    forward = tf.function(lambda images: model(images, training=False))

    def seconds() -> float:
        start = time.perf_counter()
        forward(images).numpy()
        return time.perf_counter() - start

    return 1000 * median([seconds() for _ in range(WARMUPS + REPETITIONS)][WARMUPS:])


class Trials(BaseTuner):
    """Runs what the oracle draws, each trial in a folder of its own with a record of ours."""

    def __init__(self, hypermodel: HyperResNet, oracle: Any, folder: Path, say: Callable[[str], None]):
        self.ours, self.say = hypermodel, say
        super().__init__(oracle, hypermodel.draw, directory=str(folder), project_name="trials")
        self.save()

    def save(self):
        if not self._is_worker():
            self.oracle.save()

    def _get_tuner_fname(self):
        """The oracle's, so that whoever goes on with the search reads it: alone or as chief, by any id."""
        return str(Path(self.project_dir, "oracle.json"))

    def _try_run_and_update_trial(self, trial, *_, **__):
        """As keras-tuner's, without the traceback that it prints of every draw over the budget."""
        record = self.recorded(trial.trial_id, trial.hyperparameters)
        if record["status"] == "COMPLETED":
            self.oracle.update_trial(trial.trial_id, {SCORE: record["score"]})
        trial.status, trial.message = STATUSES[record["status"]], record.get("reason")

    def recorded(self, trial: str, hp) -> Record:
        """The trial's record, also in its folder."""
        folder, record = Path(self.get_trial_dir(trial)), {"trial": trial, "status": "RUNNING", "values": {**hp.values}}
        try:
            self.scored(hp, folder, record)
        except Infeasible as error:
            record.update(status="INFEASIBLE", reason=str(error))
        except Exception as error:
            record.update(status="FAILED", reason=f"{type(error).__name__}: {error}")
        finally:
            write_json(folder / RECORD, record)
        self.say(line(record))
        return record

    def scored(self, hp, folder: Path, record: Record) -> None:
        config, recipe = self.ours.draw(hp)
        run = self.ours.run(config, recipe, hp.values.get(EPOCHS))
        record.update(config=plain(asdict(config)), recipe=plain(asdict(recipe)), run=plain(asdict(run)),
                      command=run.command)  # fmt: skip
        model = self.ours.network(run)
        record.update(self.known_costs(record) or self.ours.costs(model))
        if excess := self.ours.excess(record):
            raise Infeasible(excess)
        write_json(folder / RECORD, record)
        found = self.ours.trained(model, run, folder / "run")
        record.update(status="COMPLETED", score=found[SCORE], epochs=found["epochs"], seconds=found["seconds"])

    def known_costs(self, record: Mapping[str, Any]) -> dict[str, float]:
        """Of the same network in another trial, or before a kill: what was within the budget stays within."""
        same = (known for known in records(Path(self.project_dir)) if known.get("config") == record["config"])
        return next(({cost: known[cost] for cost in BUDGETS} for known in same if "latency_ms" in known), {})


@dataclass(frozen=True)
class Search:
    """What a search found. Records are dicts as in `trials.json`."""

    folder: Path
    trials: list[Record]  # in the order in which they were drawn
    front: list[Record]  # the Pareto front, the best first
    best: Record
    card: Card  # of the best, as exported; its metrics are those of the test


class SearchError(RuntimeError):
    """A search that found nothing, with the reasons."""


def search(space: str | Callable[[Any], tuple[Any, Any]], data: Any, folder: str | Path, *, trials: int = 10,
           tuner: str = "random", resume: bool = False, retrain: bool = False,
           say: Callable[[str], None] = print, **options: Any) -> Search | None:  # fmt: skip
    """Trains networks of a space on the data, within budgets, and exports the best.

    A network over the budget is not trained and does not count. The score is the accuracy on the validation split, in
    the epoch of its lowest loss; the test measures the exported model alone. `folder` then has `search.json` (what was
    asked for), `trials.json` (a record a trial: status, rows, score, costs, reason), `pareto.csv` and, where matplotlib
    is installed, `pareto.png`, `trials/` (keras-tuner's files and each training), and `best-N/` or `retrained-N/`, the
    best trial's run as `keras-resnet train` leaves one.

    With `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` set, keras-tuner's chief and workers
    share the search, and a folder that all see.

    Args:
        space: See `keras_resnet.HyperResNet`.
        data: As `keras_resnet.load_data` takes it.
        folder: Where nothing exists yet, or a search to resume.
        trials: Networks to train. A resumed search may have more.
        tuner: "random", "bayesian", "hyperband" (its rungs train from the start, with whole schedules of fewer epochs)
            or "grid".
        resume: Continue the search of the folder, if there is one: ended trials are kept, killed ones go on after
            their last epoch.
        retrain: Train the best again for all the recipe's epochs, also on the images that the search held out itself
            (but under "plateau", which steers by them). A validation split that comes with the data stays apart.
        say: Told what happens.
        **options: Those of `keras_resnet.HyperResNet`: network, recipe, budgets, validation, seed, ...

    Returns:
        What was found; None for a worker that is not the chief.

    Raises:
        ValueError: Before anything is built, for arguments that may not be so.
        SearchError: A RuntimeError with the reasons, where no trial was completed, or 1,000 draws in a row were over
            the budget.
    """
    given, folder = locals(), Path(folder)
    for name, rule in {"trials": COUNT, "tuner": one_of(*TUNERS), "resume": FLAG, "retrain": FLAG}.items():
        expect_rule(rule, name, given[name])
    worker, several = place()
    expect(resume or not several, "resume", "True with several workers, which share one folder", resume)
    expect(resume or not folder.exists(), "folder", "a path where nothing exists yet, or resume=True", str(folder))
    there = {path.name for path in folder.glob("[!.]*")}  # of workers that came before the chief, "trials" is
    expect("search.json" in there or there <= {"trials"}, "folder", "the folder of a search", str(folder))
    hypermodel = HyperResNet(space, data, **options)
    hypermodel.check()
    asked = {**hypermodel.asked, "tuner": tuner}
    if (folder / "search.json").exists():
        before = json.loads((folder / "search.json").read_text())
        expect(asked == before, "resume", f"the search that is in {folder}, of {before}", asked)
    folder.mkdir(parents=True, exist_ok=True)
    if not worker:
        write_json(folder / "search.json", asked)
    epochs = asked["first"][1]["epochs"]
    oracle = TUNERS[tuner](trials, epochs, seed=hypermodel.base.seed % 2**31 + 1)  # keras-tuner takes 0 for none
    runner = Trials(hypermodel, oracle, folder, say)
    runner.search()
    return None if worker else concluded(hypermodel, oracle, folder, retrain, say)


def place() -> tuple[bool, bool]:
    """Whether this process is a worker of keras-tuner's, and whether there are several processes."""
    names = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    several = names[0] in found
    expect(not several or len(found) == len(names), names[0], f"set with {' and '.join(names[1:])}", found)
    return several and "chief" not in found[names[2]], several


def concluded(hypermodel: HyperResNet, oracle: Any, folder: Path, retrain: bool, say) -> Search:
    """The tables, and the best exported."""
    trials = records(folder / "trials")
    trained = sorted((record for record in trials if record["status"] == "COMPLETED"),
                     key=lambda record: (-record["score"], record["macs"]))  # fmt: skip
    write_json(folder / "trials.json", trials)
    best = front(trained)
    write_front(folder, trained, best, f"{hypermodel.space} on {hypermodel.source.name}", say)
    if not trained or oracle.gave_up:
        raise SearchError(reasons(hypermodel, trials, oracle.in_a_row))
    if len(trained) < oracle.wanted:
        say(f"{len(trained)} of {oracle.wanted} trials were completed: the others failed, or the space has no more.")
    say(f"The best is {line(trained[0])}")
    return Search(folder, trials, best, trained[0], exported(hypermodel, folder, trained[0], retrain, say))


def reasons(hypermodel: HyperResNet, trials: list[Record], in_a_row: int) -> str:
    """Why there is nothing, or no more."""
    budget = ", ".join(f"{BUDGETS[cost]}={shown(most)}" for cost, most in hypermodel.budget.items())
    count = {status: [r for r in trials if r["status"] == status] for status in ("COMPLETED", "FAILED", "INFEASIBLE")}
    lines = [f"The search ended with {len(count['COMPLETED'])} completed trials, {len(count['FAILED'])} failed."]
    if over := count["INFEASIBLE"]:
        smallest = min(over, key=lambda r: max(r.get(cost, 0) / most for cost, most in hypermodel.budget.items()))
        lines.append(f"{len(over)} draws were over the budget, {in_a_row} of them in a row at the end: {budget}. The "
                     f"smallest network drawn has {described(smallest)}: {smallest['command']}")  # fmt: skip
    return "\n".join([*lines, *map(line, count["FAILED"])])


def exported(hypermodel: HyperResNet, folder: Path, best: Mapping[str, Any], retrain: bool, say) -> Card:
    """The best trial's run, as the command `train` would have left it; trained again where that is asked for."""
    run, output = Run(**best["run"]), folder / f"{'retrained' if retrain else 'best'}-{best['trial']}"
    target = output / f"{run.network}-{hypermodel.source.name}"
    if retrain:
        held = run.validation if best["recipe"]["schedule"] == "plateau" else None  # which steers by it
        run = replace(run, validation=held, changes={**run.changes, "epochs": best["recipe"]["epochs"]})
    elif not target.exists():
        output.mkdir(exist_ok=True)
        with completed(target) as partial_path:
            shutil.copytree(folder / "trials" / f"trial_{best['trial']}" / "run", partial_path)
    experiment(run, output, resume=True, say=say, data=hypermodel.data)
    return Card.from_json((target / "card.json").read_text())
