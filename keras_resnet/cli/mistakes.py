"""Errors of the package in the words of the command line: options in place of arguments."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

import click

from keras_resnet.checks import ArgumentError, ReportedError
from keras_resnet.cli.values import settings
from keras_resnet.training.recipes import Recipe

ALIASES = {  # argument of a function -> parameters of commands that give it, where the names differ
    "folder": ("output",),
    "image": ("images",),
    "input_shape": ("size",),
    "kind": ("strategy",),
    "network": ("name",),
    "path": ("model", "models", "out", "output"),
    "until": ("freeze",),
    "weights": ("source",),
}
RECIPE = {field.name for field in fields(Recipe)} | {"set"}
OF_RECIPE = "recipe."  # before a field that is an argument of commands too
IN_BACKTICKS = re.compile(r"`(\w+)(?:=([^`]*))?`")  # an argument, perhaps with a value, as Python writes it


class Mistake(click.ClickException):
    """One line, without the usage: the line says which option to change."""

    exit_code = 2


@contextmanager
def shown(ctx: click.Context) -> Iterator[None]:
    """Shows in one line what the user can mend. Anything else is a bug, and Python shows its traceback."""
    try:
        yield
    except ArgumentError as error:
        raise Mistake(told(error, ctx)) from error
    except (ReportedError, OSError) as error:
        raise click.ClickException(in_options(str(error), ctx)) from error


@contextmanager
def warned(ctx: click.Context) -> Iterator[None]:
    """Shows a warning in one line too, without the place in the code."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any) -> None:
            if category is UserWarning:
                click.echo(f"Warning: {in_options(str(message), ctx)}", err=True)
            else:
                before(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def told(error: ArgumentError, ctx: click.Context, param: click.Parameter | None = None) -> str:
    """What the error says, of the option or argument that was typed."""
    param = param or parameter(error.argument, ctx, error.received)
    if param is None:
        return in_options(str(error), ctx)
    key = f" {error.argument.removeprefix(OF_RECIPE)}" if param.name == "changes" and error.argument != "set" else ""
    expected = in_options(re.sub("^None,?( or)? ", "", error.expected), ctx)
    return f"Invalid value for '{typed(param)}{key}': expected {expected}. Received: {error.received!r}"


def parameter(argument: str, ctx: click.Context, received: Any = None) -> click.Parameter | None:
    """The one that gives the argument: among several, the one with the value that was received."""
    field = argument.removeprefix(OF_RECIPE).partition(".")[0]
    names = ["changes"] if field in RECIPE else []
    if not argument.startswith(OF_RECIPE):
        names = [field, *ALIASES.get(field, ()), *names]
    giving = [param for name in names for param in ctx.command.params if param.name == name]
    same = [param for param in giving if str(value(param, field, ctx)) == str(received)]
    return next(iter(same or giving), None)


def value(param: click.Parameter, argument: str, ctx: click.Context) -> Any:
    """What was typed for the argument."""
    if param.name == "changes":
        with suppress(click.BadParameter):
            return settings((*ctx.params.get("changes", ()), *ctx.params.get("more", ()))).get(argument)
    return {**ctx.params, **ctx.params.get("config_changes", {})}.get(param.name)


def typed(param: click.Parameter) -> str:
    """How the parameter stands on the command line."""
    return param.opts[-1] if isinstance(param, click.Option) else (param.name or "").upper()


def in_options(text: str, ctx: click.Context) -> str:
    """The text with options in place of the arguments between backticks that the command has an option for."""

    def option(match: re.Match[str]) -> str:
        name, given = match.groups()
        param = parameter(name, ctx)
        if param is None or given == "False":
            return match[0]
        if param.name == "changes":
            return f"--set {name}={given}" if given else f"--set {name}"
        return typed(param) if given in (None, "True") else f"{typed(param)} {given.strip(chr(39))}"

    return IN_BACKTICKS.sub(option, text)
