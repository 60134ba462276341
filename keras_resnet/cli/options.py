"""What the commands share: types of options, and the options that several have."""

from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from keras_resnet.checks import ArgumentError
from keras_resnet.cli.mistakes import Mistake, shown, told, warned
from keras_resnet.cli.stopping import TYPED, stoppable
from keras_resnet.cli.values import JsonList, Number
from keras_resnet.data.names import kind_of
from keras_resnet.files import expect_model_file, expect_new_figure, expect_writable
from keras_resnet.modelcard import PREPROCESSINGS, card
from keras_resnet.networks import zoo
from keras_resnet.training.recipes import PRECISIONS

DATA = "digits (built in), a TFDS dataset such as cifar10, or a folder of images with a subfolder for each class."


class Command(click.Command):
    """A command that shows the package's errors as its own."""

    def parse_args(self, ctx, args):
        ctx.meta[TYPED] = list(args)
        with shown(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx):
        with shown(ctx), stoppable(ctx), warned(ctx):
            return super().invoke(ctx)


# Any field of a network's row


class ZooCommand(Command):
    """A command with an option for every field of a row; those that are given become `config_changes`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.params += config_options()

    def invoke(self, ctx):
        given = {param.name: ctx.params.pop(param.name) for param in self.params if isinstance(param, ConfigOption)}
        ctx.params["config_changes"] = {name: value for name, value in given.items() if value is not None}
        return super().invoke(ctx)


class ConfigOption(click.Option):
    """An option that changes one field of a network's row."""


def config_options() -> list[ConfigOption]:
    """One for every field of any family's row. Where families share a field, it takes the values of all."""
    annotations: dict[str, dict[str, Any]] = {}
    for family in zoo.FAMILIES:
        for field in fields(family):
            annotations.setdefault(field.name, {})[family.__name__] = field.type
    del annotations["image_size"]  # the published size, not that of a run
    return [config_option(name, families) for name, families in annotations.items()]


def config_option(name: str, families: dict[str, Any]) -> ConfigOption:
    flag, text = f"--{name.replace('_', '-')}", f"Field of {', '.join(families)}."
    kinds = list(families.values())
    if kinds[0] is bool:
        return ConfigOption([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    return ConfigOption([flag], type=option_type(kinds), default=None, help=text)


def option_type(annotations: list[Any]) -> Any:
    if get_origin(annotations[0]) is Literal:
        return click.Choice(list(dict.fromkeys(key for literal in annotations for key in get_args(literal))))
    return JsonList() if get_origin(annotations[0]) is tuple else annotations[0]


# Options that several commands have


def checked(check: Callable[[Any], object]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that refuses a value, or one of several, before Keras is imported."""

    def callback(ctx, param, value):
        try:
            for one in value if isinstance(value, tuple) else (value,):
                if one is not None:
                    check(one)
        except ArgumentError as error:
            raise Mistake(told(error, ctx, param)) from error
        return value

    return callback


writable = checked(lambda path: expect_writable(path, "path"))


def together(*options: Callable) -> Callable:
    """Several options as one decorator, in their order."""
    return lambda function: reduce(lambda decorated, option: option(decorated), reversed(options), function)


def data_option(text: str = DATA, **settings: Any) -> Callable:
    """`--data`, and where TFDS keeps its datasets."""
    return together(click.option("--data", help=text, callback=known_data, **settings), data_dir)


def known_data(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """A callback that refuses names of no folder and of no dataset."""
    return checked(lambda name: kind_of(name, ctx.params.get("data_dir")))(ctx, param, value)


def file_option(name: str, text: str, **settings: Any) -> Callable:
    return click.option(name, type=FILE, help=text, **settings)


def figure_option(name: str, text: str, **settings: Any) -> Callable:
    """A figure to write: where one cannot be written, an error says so at once."""
    new = checked(lambda path: expect_new_figure(path, name.removeprefix("--")))
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), help=text, callback=new, **settings)


def expect_model(path: Path) -> None:
    """Refuses a file that is no model, or whose card cannot be read."""
    expect_model_file(path)
    card(path)


def model_argument(name: str, **settings: Any) -> Callable:
    """One `.keras` file, or several."""
    return click.argument(name, type=FILE, callback=checked(expect_model), **settings)


def validation_option(text: str) -> Callable:
    return click.option("--validation", type=Number(), help=f"Share or number of training images to hold out {text}.")


def strategy_option(*names: str) -> Callable:
    text = "How devices and machines share a batch."
    return click.option("--strategy", type=click.Choice(names), default="auto", show_default=True, help=text)


def output_option(text: str, **settings: Any) -> Callable:
    """`--output`, a folder that can be made."""
    folder = click.Path(file_okay=False, path_type=Path)
    return click.option("--output", type=folder, help=text, callback=writable, **settings)


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

data_dir = click.option("--data-dir", is_eager=True, help="Where TFDS keeps its datasets.")  # eager: --data needs it
on_error = click.option(
    "--on-error",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    show_default=True,
    help="Images that cannot be decoded: name them in an error, or leave them out.",
)
split = click.option("--split", type=click.Choice(["test", "validation", "train"]), default="test", show_default=True)
preprocessing = click.option(
    "--preprocessing",
    type=click.Choice(list(PREPROCESSINGS)),
    help="How the model reads images, if its card does not say.",
)
classes = click.option("--classes", type=click.IntRange(1), help="Number of classes; by default the published one.")
size = click.option("--size", type=int, help="Height and width of the images in pixels.")
seed = click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)


recipe = together(
    click.option("--recipe", help="One of keras_resnet.RECIPES, such as fast; the default depends on the data."),
    click.option(
        "--set", "changes", multiple=True, metavar="KEY=VALUE ...", help="Change the recipe: epochs=20 lr=0.1"
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="Of the computations: auto is mixed_bfloat16 where the processor or GPU multiplies it, else float32.",
    ),
    click.argument("more", nargs=-1, metavar=""),
)
