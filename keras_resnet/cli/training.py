"""Commands about training: train, evaluate and check."""

import click

from keras_resnet.cli.options import (
    Command,
    ZooCommand,
    data_dir,
    data_option,
    figure_option,
    known_data,
    model_argument,
    on_error,
    output_option,
    preprocessing,
    recipe,
    seed,
    size,
    split,
    strategy_option,
    validation_option,
)
from keras_resnet.cli.start import start_tensorflow
from keras_resnet.cli.values import recipe_changes
from keras_resnet.experiment import Run


@click.command(cls=ZooCommand)
@click.argument("network", required=False)
@data_option(default="digits", show_default=True)
@on_error
@validation_option("to choose the epoch")
@recipe
@click.option("--weights", help="Start from these weights: imagenet, a tag, a file or hf://owner/repo.")
@click.option(
    "--freeze",
    metavar="PART",
    help="Freeze up to this part for the first half of the epochs, then train everything at a tenth of the learning "
    "rate. Parts: stem, a stage such as stage3, head.",
)
@size
@seed
@click.option("--remat", is_flag=True, help="Compute each block again in the backward pass: less memory, longer steps.")
@strategy_option("auto", "none", "mirrored", "multi_worker")
@output_option("Where the run gets a folder of its own.", default="saved_models", show_default=True)
@click.option("--resume", is_flag=True, help="Resume this run of this network and data, or start it.")
def train(network, more, changes, precision, output, resume, config_changes, **given):
    """Train NETWORK, evaluate and export it, and show that the export predicts.

    Without arguments: a ResNet-20 on 1,797 real handwritten digits, in about a minute, without a download.
    """
    if network and "=" in network:  # behind --set without a network
        network, more = None, (network, *more)
    changes = recipe_changes((*changes, *more), precision)
    run = Run(network=network or "resnet20", changes=changes, config=config_changes, **given)
    run.check()
    start_tensorflow()
    from keras_resnet.experiment import experiment

    experiment(run, output, resume=resume)


@click.command(cls=Command)
@model_argument("model")
@data_option(required=True)
@on_error
@split
@preprocessing
@click.option("--view", type=click.Choice(["center", "ten_crop", "multi_scale"]), default="center", show_default=True)
@figure_option("--confusion", "A PNG of the confusion matrix.")
def evaluate(model, data, data_dir, on_error, split, preprocessing, view, confusion):
    """Measure MODEL, a .keras file, on --data: top-1, top-5, loss, and every class."""
    start_tensorflow()
    from keras_resnet.analysis.plots import plot_confusion
    from keras_resnet.data import load_data
    from keras_resnet.networks.loading import load_model
    from keras_resnet.training import evaluate

    network, source = load_model(model), load_data(data, data_dir=data_dir, on_error=on_error)
    evaluation = evaluate(network, source, split, preprocessing, view=view)
    click.echo(evaluation)
    if confusion:
        plot_confusion(evaluation.confusion, evaluation.class_names, confusion, f"{network.name} on {data}")


@click.command(cls=Command)
@click.argument("data", callback=known_data)
@data_dir
@click.pass_context
def check(ctx, data, data_dir):
    """Decode every image of DATA, and name those that cannot be read."""
    start_tensorflow()
    from keras_resnet.data import check, load_data

    report = check(load_data(data, data_dir=data_dir, on_error="ignore"))
    click.echo(report)
    ctx.exit(1 if report.unreadable else 0)
