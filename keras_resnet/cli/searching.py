"""The command search."""

import os
from contextlib import nullcontext
from pathlib import Path

import click

from keras_resnet.cli.options import (
    Command,
    data_option,
    on_error,
    output_option,
    recipe,
    seed,
    strategy_option,
    validation_option,
)
from keras_resnet.cli.start import start_tensorflow
from keras_resnet.cli.values import Amount, recipe_changes
from keras_resnet.experiment import Run
from keras_resnet.files import expect_new_search, locked


@click.command(cls=Command)
@data_option(default="digits", show_default=True)
@on_error
@validation_option("to score the trials")
@click.option(
    "--space",
    type=click.Choice(["width_depth", "shortcut_order", "cardinality", "regularization", "optimizer"]),
    default="width_depth",
    show_default=True,
    help="What the trials differ in.",
)
@click.option("--network", help="The network that the space changes; resnet20 by default.")
@click.option("--max-params", type=Amount(), help="Most parameters of a network.")
@click.option("--max-macs", type=Amount(), help="Most multiply-adds for one image.")
@click.option("--max-latency-ms", type=float, help="Most milliseconds for one image, on this machine.")
@click.option("--trials", type=int, default=10, show_default=True, help="Networks to train.")
@click.option(
    "--tuner",
    type=click.Choice(["random", "bayesian", "hyperband", "grid"]),
    default="random",
    show_default=True,
    help="How the networks are chosen.",
)
@click.option(
    "--patience",
    type=int,
    help="Epochs without a lower validation loss that end a trial; by default half of the recipe's epochs.",
)
@recipe
@seed
@strategy_option("auto", "none", "mirrored")
@output_option("The search's folder; by default searches/SPACE-DATA.")
@click.option("--resume", is_flag=True, help="Resume the search in the folder, or start it.")
@click.option(
    "--retrain",
    is_flag=True,
    help="Train the best network again for all epochs, also on the images that the search held out.",
)
def search(data, space, network, recipe, more, changes, precision, output, resume, **given):
    """Train networks of a space within budgets, and export the best.

    Without arguments: ten widths and depths of ResNet-20 on the built-in digits, in minutes.
    """
    changes = recipe_changes((*changes, *more), precision)
    folder = output or Path("searches", f"{space}-{Path(data).name}")
    Run(network=network or "resnet20", data=data, recipe=recipe, changes=changes).check()
    expect_new_search(folder, resume)
    with locked(folder) if alone() else nullcontext():
        start_tensorflow()
        from keras_resnet.tuning.search import search

        search(space, data, folder, network=network, recipe=recipe, changes=changes, resume=resume, **given)


def alone() -> bool:
    """Whether no other process shares the search, each under its id."""
    return not os.environ.get("KERASTUNER_TUNER_ID")
