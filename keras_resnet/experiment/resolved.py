"""What the names of a run stand for: the data, the recipe, the network's row and the size of its images."""

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any, NamedTuple

import keras

from keras_resnet.checks import expect, expect_known
from keras_resnet.data import Source, load_data
from keras_resnet.experiment.run import Run
from keras_resnet.networks import zoo
from keras_resnet.training import Part, Recipe, precision
from keras_resnet.training.fitting import with_possible_batch

FROZEN = "frozen"  # the folder of the first half, below the run's
SMALL = 64  # pixels up to which images are trained on as CIFAR's are


class Phase(NamedTuple):
    """A part of a training."""

    recipe: Recipe
    frozen: str | None  # up to which part of the network
    part: Part


@dataclass(frozen=True)
class Resolved:
    """A run, and what its names stand for."""

    run: Run
    source: Source
    recipe: Recipe
    config: zoo.Config  # the network's row, with the changes of the recipe and of the run

    @classmethod
    def of(cls, run: Run, data: Source | None = None, replicas: int = 1) -> "Resolved":
        """Raises a ValueError for unknown names and values out of range.

        Args:
            run: The settings.
            data: Where they are loaded already; before anything is held out.
            replicas: Which share a batch.
        """
        source = load_data(data or run.data, data_dir=run.data_dir, validation=run.validation, on_error=run.on_error)
        recipe = recipe_for(run, source, replicas)
        return cls(run, source, recipe, zoo.row(run.row, **changes_by_recipe(run, recipe)))

    def in_precision(self, policy: str) -> "Resolved":
        """The same, where the recipe leaves the precision to the devices."""
        return replace(self, recipe=replace(self.recipe, precision=policy))

    @property
    def title(self) -> str:
        return f"{self.run.network} on {self.source.name}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """As asked for; or the images' own; or, if these differ, are cut or the weights had others, the network's."""
        height, width, channels = self.source.shape
        if self.run.size is not None:
            return self.run.size, self.run.size, channels
        if height and width and self.recipe.view is None and not self.run.weights:
            return height, width, channels
        return *self.config.input_shape[:2], channels

    def build(self, strategy: Any) -> keras.Model:
        """The network under the strategy, that ends in logits. Weights set fields of the row that nobody asked for."""
        by_name = self.run.network, {**changes_by_recipe(self.run, self.recipe), **self.run.config}
        network, changes = by_name if self.run.weights else (self.config, {})
        keras.utils.set_random_seed(self.run.seed)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(precision.resolved(self.recipe.precision, strategy))
        try:
            with strategy.scope() if strategy else nullcontext():
                return zoo.build(
                    network,
                    name=self.run.network,
                    classes=self.source.classes,
                    input_shape=self.input_shape,
                    weights=self.run.weights,
                    classifier_activation=None,
                    remat=self.run.remat,
                    **changes,
                )
        finally:
            keras.config.set_dtype_policy(before)

    @property
    def phases(self) -> list[Phase]:
        """One; or two halves, the second of all layers at a tenth of the learning rate."""
        recipe, frozen = self.recipe, self.run.freeze
        if frozen is None:
            return [Phase(recipe, None, Part())]
        expect(recipe.epochs > 1, "epochs", "at least 2, for two halves", recipe.epochs)
        first = ceil(recipe.epochs / 2)
        second = replace(recipe, epochs=recipe.epochs - first, lr=recipe.lr / 10)
        return [
            Phase(replace(recipe, epochs=first), frozen, Part(FROZEN, 0, recipe.epochs)),
            Phase(second, None, Part("", first)),
        ]

    @property
    def decided(self) -> str:
        """What a training is about to do, and why."""
        recipe, source = self.recipe, self.source
        name, why = recipe_and_why(self.run, source)
        changed = "".join(f", {key}={value}" for key, value in self.run.changes.items())
        first = self.phases[0].recipe.epochs
        frozen = f" (the first {first} with all up to {self.run.freeze} frozen)" if self.run.freeze else ""
        validation = f"{len(source.validation):,} validate and choose the epoch, " if source.validation else ""
        watched = "" if source.validation else " and are watched, the last epoch is kept"
        return (
            f"recipe {name} ({why}){changed}; {recipe.epochs} epochs{frozen}, batches of {recipe.batch_size}, "
            f"learning rate {recipe.lr:g} ({recipe.schedule}), images of {'x'.join(map(str, self.input_shape))}, "
            f"{recipe.precision}. Data: {source.about}; {len(source.train):,} images train, {validation}"
            f"{len(source.test):,} test{watched}."
        )


def recipe_for(run: Run, source: Source, replicas: int = 1) -> Recipe:
    """The one that is named, or the one for such data, changed. A batch that nobody set fits the data."""
    recipe = run.changed(recipe_and_why(run, source)[0])
    is_set = "batch_size" in run.changes or isinstance(run.recipe, Recipe)  # a search takes rows too
    return recipe if is_set else with_possible_batch(recipe, len(source.train), replicas)


def recipe_and_why(run: Run, source: Source) -> tuple[str, str]:
    """Its name, and what it was chosen by."""
    height, width, _ = source.shape
    small = height and width and max(height, width) <= SMALL
    by_size = ("fast", f"for images of up to {SMALL} pixels") if small else ("bag_of_tricks", "for larger images")
    return run.recipe_and_why or by_size


def changes_by_recipe(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Fields of the network's row that the recipe sets and the run does not."""
    return {name: value for name, value in network_changes(recipe, run.row).items() if name not in run.config}


def network_changes(recipe: Recipe, config: zoo.Config) -> dict[str, Any]:
    """What the recipe sets of such a row: it may name what only some families have."""
    for key in recipe.network:
        expect_known("recipe.network", [f.name for family in zoo.FAMILIES for f in fields(family)], key)
    own = [f.name for f in fields(config)]
    return {name: value for name, value in recipe.network.items() if name in own}
