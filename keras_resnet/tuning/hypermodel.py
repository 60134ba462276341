"""HyperResNet: a space of networks and recipes, and the one way in which a drawn trial is trained and scored."""

import gc
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from keras_resnet.checks import COUNT, POSITIVE, SEED, Rule, expect, expect_known, expect_rule, one_of, plain
from keras_resnet.data import load_data
from keras_resnet.experiment import Resolved, Run
from keras_resnet.experiment.resolved import network_changes, recipe_for
from keras_resnet.networks import zoo
from keras_resnet.training import RECIPES, Recipe, check_fit, distribute, precision, recipe_of, train
from keras_resnet.training.recipes import optional
from keras_resnet.tuning.budget import BUDGETS, Infeasible, costs_of, excess
from keras_resnet.tuning.oracles import SCORE
from keras_resnet.tuning.spaces import SPACES, Drawn

HELD_OUT = 0.1  # share of the training images that score the trials, where the data have no validation split
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"  # Hyperband's
IS_SPACE = Rule(
    lambda space: callable(space) or (isinstance(space, str) and space in SPACES),
    f"one of {', '.join(map(repr, SPACES))}, or a function from hp to (config, recipe)",
)
_RULES: dict[str, Rule] = {
    "space": IS_SPACE,
    **dict.fromkeys(BUDGETS.values(), optional(POSITIVE)),
    "patience": optional(COUNT),
    "seed": SEED,
    "strategy": one_of("auto", "none", "mirrored"),
}


class HyperResNet(keras_tuner.HyperModel):
    """A space of networks and recipes, for `keras_resnet.search` or for any of keras-tuner's tuners.

    Args:
        space: One of `keras_resnet.tuning.SPACES`, "width_depth", "shortcut_order", "cardinality", "regularization" or
            "optimizer", which change `network` and `recipe`; or a function from keras-tuner's `hp` to (config,
            recipe), such as `lambda hp: (ResNetConfig(stages=((hp.Int("width", 8, 64),),)), "fast")`.
        data: As `keras_resnet.load_data` takes it. Trials are scored on its validation split alone.
        network: Name of the row that a ready space changes.
        recipe: A row or a name of `keras_resnet.RECIPES` that a ready space changes; by default one for such data.
        changes: Fields of that recipe to change first, such as {"epochs": 10}.
        max_params: Most variables of a network, norms' statistics included.
        max_macs: Most multiply-adds for one image.
        max_latency_ms: Most milliseconds for one image, forward, compiled, on this machine: the median of 20 passes.
        patience: A trial ends after so many epochs without a lower validation loss. None: half of the recipe's epochs,
            because the learning rates of recipes fall late.
        validation: Share or number of the training images to hold out. By default a tenth, if the data have no
            validation split.
        data_dir: Where TFDS keeps its sets.
        on_error: "raise" or "skip", for images that cannot be decoded.
        seed: Of the initial weights and of the order of the images.
        strategy: Devices that share a trial's batch: "none", "mirrored" or "auto".

    Raises:
        ValueError: If an argument is invalid.
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
        for name, rule in _RULES.items():
            expect_rule(rule, name, given[name])
        for name in ("network", "recipe", "changes"):
            expect(isinstance(space, str) or not given[name], name, "None where the space makes the rows", given[name])
        if network is not None:
            expect_known("network", zoo.NETWORKS, network)
        self.devices = distribute.strategy(strategy)
        expect(distribute.workers(self.devices)[1] == 1, "strategy", "the devices of one machine", strategy)
        self.precision = precision.fastest(self.devices)  # of recipes that leave it to the devices
        self.space = space if isinstance(space, str) else getattr(space, "__name__", type(space).__name__)
        self.budget = {cost: plain(given[name]) for cost, name in BUDGETS.items() if given[name] is not None}
        self.patience = plain(patience)
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

    def around(self, space: Callable[..., Drawn], recipe: Any, changes: Mapping[str, Any]) -> Callable[[Any], Drawn]:
        """The ready space, from the base network under the recipe's own changes of it."""
        run = replace(self.base, recipe=recipe, changes=changes)
        base_recipe = recipe_for(run, self.source, distribute.replicas(self.devices))
        config, recipe = settled(self.base.row, base_recipe)
        return partial(space, config=config, recipe=recipe)

    def draw(self, hp: keras_tuner.HyperParameters) -> Drawn:
        """The rows; what the recipe sets of the network is in the network's, but for what is drawn by that name."""
        drawn = self.rows(hp)
        is_pair = isinstance(drawn, tuple) and len(drawn) == 2 and isinstance(drawn[0], tuple(zoo.FAMILIES))
        expect(is_pair, "space", "a function that returns a row of a network and a recipe", drawn)
        config, recipe = settled(drawn[0], recipe_of(drawn[1]), [known.name for known in hp.space])
        return config, replace(recipe, precision=self.precision) if recipe.precision == precision.AUTO else recipe

    def resolved(self, config: zoo.Config, recipe: Recipe, epochs: int | None = None) -> Resolved:
        """What these rows are as a run, of the recipe's epochs or of so many: a command `keras-resnet train`."""
        recipe = replace(recipe, epochs=epochs or recipe.epochs)
        network, changed = nearest(zoo.NETWORKS, config, self.base.network)
        name, changes = nearest(RECIPES, recipe)
        run = replace(self.base, network=network, config=changed, recipe=name, changes=changes)
        return Resolved(run, self.source, recipe, config)

    def network(self, resolved: Resolved) -> keras.Model:
        gc.collect()  # the last trial's: models are cycles, and their memory is not Python's to see
        return resolved.build(self.devices)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The untrained network, that ends in logits."""
        return self.network(self.resolved(*self.draw(hp)))

    def check(self) -> None:
        """Raises now what would fail in every trial."""
        resolved = self.resolved(*self.draw(keras_tuner.HyperParameters()))
        check_fit(self.network(resolved), self.source, resolved.recipe)

    def costs(self, model: keras.Model) -> dict[str, float]:
        return costs_of(model, self.budget)

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *data: Any,
        epochs: int | None = None,
        initial_epoch: int = 0,
        callbacks: Collection[keras.callbacks.Callback] = (),
        verbose: Any = 0,
        **others: Any,
    ) -> dict[str, float]:
        """What keras-tuner's own tuners call: a whole schedule of the epochs that they ask for, from the start."""
        expect_honoured(hp, epochs, initial_epoch, [*map(type, data), *others])
        if initial_epoch:  # keras-tuner's Hyperband has loaded the weights of the rung before
            model.set_weights(self.build(hp).get_weights())
        resolved = self.resolved(*self.draw(hp), hp.values.get(EPOCHS, epochs))
        return self.scored(model, resolved, callbacks=callbacks, verbose=verbose)

    def scored(
        self,
        model: keras.Model,
        resolved: Resolved,
        folder: Path | None = None,
        *,
        costs: Mapping[str, float] | None = None,
        note: Callable[[Mapping[str, float]], None] = lambda costs: None,
        **fitting: Any,
    ) -> dict[str, float]:
        """One drawn trial: its costs are held against the budget, and it is trained and scored.

        Args:
            model: Untrained.
            resolved: What it is trained by.
            folder: Where the training resumes from; None keeps nothing.
            costs: Where they are known already.
            note: Told the costs before anything comes of them.
            fitting: `callbacks` and `verbose`, as in Keras' `fit`.

        Returns:
            `SCORE`, "val_loss", "epochs" and "seconds".

        Raises:
            Infeasible: If a cost is over the budget.
        """
        costs = costs or self.costs(model)
        note(costs)
        if over := excess(costs, self.budget):
            raise Infeasible(over)
        return self.trained(model, resolved, folder, **fitting)

    def trained(
        self,
        model: keras.Model,
        resolved: Resolved,
        folder: Path | None,
        callbacks: Collection[keras.callbacks.Callback] = (),
        verbose: Any = 0,
    ) -> dict[str, float]:
        """By `keras_resnet.train`; the scores are those of the weights that it delivers."""
        patience, resume = self.patience or max(1, resolved.recipe.epochs // 2), folder is not None
        callbacks = [keras.callbacks.EarlyStopping("val_loss", patience=patience), *callbacks]
        fitting = {"seed": resolved.run.seed, "resume": resume, "callbacks": callbacks, "verbose": verbose}
        history = train(model, self.source, resolved.recipe, folder, **fitting)
        best = min(history, key=lambda epoch: epoch["val_loss"])
        seconds = sum(epoch["seconds"] for epoch in history)
        return {SCORE: best[SCORE], "val_loss": best["val_loss"], "epochs": len(history), "seconds": seconds}

    @property
    def asked(self) -> dict[str, Any]:
        """What a search must have in common with the one that it resumes."""
        config, recipe = self.draw(keras_tuner.HyperParameters())
        base, first = replace(self.base, strategy="none"), (asdict(config), asdict(recipe))
        given = {"space": self.space, "base": asdict(base), "first": first}
        return as_json({**given, "budget": self.budget, "patience": self.patience})

    def recorded(self, before: dict[str, Any]) -> dict[str, Any]:
        """What the search that is resumed was asked. It keeps its precision, and may lack fields that are new."""
        rows = self.draw(keras_tuner.HyperParameters())
        first = [defaults(row) | record for row, record in zip(rows, before["first"], strict=True)]
        self.precision = first[1]["precision"]
        return as_json({**before, "first": first})


def settled(config: zoo.Config, recipe: Recipe, drawn: Collection[str] = ()) -> Drawn:
    """What the recipe sets of the network, but for those fields, in the network's row."""
    changes = {key: value for key, value in network_changes(recipe, config).items() if key not in drawn}
    return replace(config, **changes), replace(recipe, network={})


def expect_honoured(hp: keras_tuner.HyperParameters, epochs: Any, initial_epoch: Any, others: list[Any]) -> None:
    """Ends the search, where keras-tuner would end one trial after the other."""
    passed_on = "callbacks, epochs and verbose alone: the data and the recipe are the hypermodel's"
    try:
        expect(not others, "search", passed_on, others)
        expect_rule(optional(COUNT), "epochs", epochs)
        expect(initial_epoch in (0, hp.values.get(INITIAL_EPOCH)), "initial_epoch", "0", initial_epoch)
    except ValueError as error:
        raise keras_tuner.errors.FatalValueError(str(error)) from error


def nearest(table: Mapping[str, Any], row: Any, first: str | None = None) -> tuple[str, dict[str, Any]]:
    """The known row that has most fields in common with this one, and the others of this one, as JSON has them."""
    names = [name for name in ([first] if first else []) + list(table) if type(table[name]) is type(row)]
    ours, theirs = as_json(asdict(row)), {name: as_json(asdict(table[name])) for name in names}
    differing = {name: {key: ours[key] for key in ours if ours[key] != theirs[name][key]} for name in names}
    name = min(names, key=lambda name: len(differing[name]))
    return name, differing[name]


def defaults(row: Any) -> dict[str, Any]:
    return {known.name: known.default for known in fields(row) if known.default is not MISSING}


def as_json(record: Any) -> Any:
    """As JSON returns it."""
    return json.loads(json.dumps(record))
