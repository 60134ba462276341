"""The command `keras-resnet`: list, summary, train, convert, predict."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import keras
import numpy as np

from keras_resnet import zoo
from keras_resnet._version import __version__
from keras_resnet.card import PREPROCESSINGS, card
from keras_resnet.checks import ArgumentError, expect
from keras_resnet.complexity import complexity
from keras_resnet.files import completed
from keras_resnet.model import load_model, portable
from keras_resnet.predict import decode_predictions, likeliest, probabilities, read_image
from keras_resnet.predict import preprocessing as preprocessing_of


class ConfigOption(click.Option):
    """An option that changes one field of a network's row."""


def config_options() -> list[ConfigOption]:
    """One for every field of any family's row; of a field that several have, with the keys of all."""
    rows: dict[str, list[tuple[str, Any]]] = {}
    for config in zoo.BUILDERS:
        for field in fields(config):
            rows.setdefault(field.name, []).append((config.__name__, field.type))
    del rows["image_size"]  # the published size, not that of a run
    return [config_option(name, *zip(*families, strict=True)) for name, families in rows.items()]


def config_option(name: str, families: tuple[str, ...], annotations: tuple[Any, ...]) -> ConfigOption:
    flag, text = f"--{name.replace('_', '-')}", f"Field of {', '.join(families)}."
    if annotations[0] is bool:
        return ConfigOption([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    return ConfigOption([flag], type=option_type(annotations), default=None, help=text)


def option_type(annotations: tuple[Any, ...]) -> Any:
    if get_origin(annotations[0]) is Literal:
        return click.Choice(list(dict.fromkeys(key for literal in annotations for key in get_args(literal))))
    return JsonList() if get_origin(annotations[0]) is tuple else annotations[0]


class JsonList(click.ParamType):
    name = "JSON"

    def convert(self, value, param, ctx):
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, list):
            self.fail(f"{value!r} is not a list such as [[16, 16], [32, 32]]", param, ctx)
        return parsed


class Command(click.Command):
    """Our own errors become its."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except ArgumentError as error:
            raise click.UsageError(str(error)) from error
        except (FloatingPointError, OSError) as error:
            raise click.ClickException(str(error)) from error


class ZooCommand(Command):
    """A command with an option for every field of a row."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.params += config_options()

    def invoke(self, ctx):
        given = {param.name: ctx.params.pop(param.name) for param in self.params if isinstance(param, ConfigOption)}
        ctx.params["config_changes"] = {name: value for name, value in given.items() if value is not None}
        return super().invoke(ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main():
    """Residual networks for Keras, exact to the published parameter and multiply-add."""


@main.command("list")
@click.argument("pattern", default="*")
@click.option("--count", is_flag=True, help="Build each network and count its parameters and multiply-adds.")
def list_networks(pattern, count):
    """List the networks whose names match PATTERN, such as 'resnext*'."""
    found = zoo.names(pattern)
    if not found:
        raise click.UsageError(f"No network matches {pattern!r}. `keras-resnet list` shows all.")
    wide = max(map(len, found))
    for name in found:
        size = "x".join(map(str, zoo.NETWORKS[name].input_shape))
        cost = f"  {counted(name)}" if count else ""
        click.echo(f"{name:{wide}}  {size:>9}{cost}  {zoo.paper(name)}")


def counted(name: str) -> str:
    costs = complexity(zoo.build(name))
    return f"{costs.trainable_params:>11,} params  {costs.macs:>14,} MACs"


@main.command(cls=ZooCommand)
@click.argument("name")
@click.option("--size", type=int, help="Height and width of the images in pixels; the published ones by default.")
@click.option("--classes", type=int, help="Outputs; the published number by default.")
def summary(name, size, classes, config_changes):
    """Show the layers, parameters and multiply-adds of network NAME, with any field of its row changed."""
    shape = None if size is None else (size, size, 3)
    click.echo(complexity(zoo.build(name, classes=classes, input_shape=shape, **config_changes)))


@main.command(cls=ZooCommand)
@click.option("--network", default="resnet20", show_default=True, help="One of `keras-resnet list`.")
@click.option("--data", default="digits", show_default=True, help="The built-in handwritten digits.")
@click.option("--epochs", type=int, help="The recipe's by default.")
@click.option("--batch-size", type=int, help="The recipe's by default.")
@click.option("--learning-rate", type=float, help="The recipe's by default.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default="saved_models", show_default=True,
              help="The run gets a new folder in here.")  # fmt: skip
def train(network, data, seed, output, config_changes, **recipe_changes):
    """Train a network, export it, and show that the export predicts.

    Without arguments: a ResNet-20 on 1,797 real handwritten digits, in about a minute, without a download.
    """
    backend = keras.config.backend()
    expect(
        backend == "tensorflow", "KERAS_BACKEND", "'tensorflow', which reads the data and writes the export", backend
    )
    from keras_resnet.experiment import experiment  # needs TensorFlow, which a list or a summary does not

    given = {name: value for name, value in recipe_changes.items() if value is not None}
    experiment(network, data, output, seed=seed, recipe_changes=given, config_changes=config_changes)


@main.command(cls=ZooCommand)
@click.argument("source")
@click.argument("name")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--classes", type=int, help="Outputs; another number than the source's starts a new classifier.")
@click.option("--size", type=int, help="Height and width of the images in pixels; the published ones by default.")
def convert(source, name, out, classes, size, config_changes):
    """Load SOURCE, another project's weights, into network NAME, and save it as OUT, a .keras file.

    SOURCE is imagenet, hf://owner/repo, or a file of torch, safetensors, Caffe or Keras. The fields of the network's
    row that the weights imply need not be given.
    """
    expect(out.suffix == ".keras" and out.parent.is_dir(), "out", "a path in a folder, that ends in .keras", str(out))
    shape = None if size is None else (size, size, 3)
    with completed(out) as path:
        model = zoo.build(name, weights=source, classes=classes, input_shape=shape, **config_changes)
        portable(model).save(path)
    known = card(model)
    click.echo(f"{out}: {name}, {model.count_params():,} parameters, weights of {known.weights}")
    click.echo(f"Reads images by {known.preprocessing or 'a preprocessing that the source does not tell'}")


@main.command(cls=Command)
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--preprocessing", type=click.Choice(list(PREPROCESSINGS)), help="Where the model's card does not say.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes an image.")
def predict(model, images, preprocessing, top):
    """Name what is in IMAGES with MODEL, a .keras file."""
    network = load_model(model)
    prepare = preprocessing_of(network, preprocessing)
    pixels = [read_image(image, network.input_shape[-1]) for image in images]
    found = np.concatenate([probabilities(network, prepare(image[None])) for image in pixels])
    for image, best in zip(images, named(found, top, network), strict=True):
        click.echo(image)
        for _, name, probability in best:
            click.echo(f"  {probability:6.1%}  {name}")


def named(found, top, network):
    """By number where the names cannot be had."""
    try:
        return decode_predictions(found, top, network)
    except ConnectionError as error:
        click.echo(f"{error}. Classes are shown by number.", err=True)
        return likeliest(found, top)
