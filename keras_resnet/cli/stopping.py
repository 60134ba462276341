"""Ctrl-C and SIGTERM end a command in order, and it says how to go on."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

TYPED = "keras_resnet.typed"  # in a context: the arguments as they were typed


class Terminated(BaseException):
    """SIGTERM came. No error, so that nobody handles it as one."""


@contextmanager
def stoppable(ctx: click.Context) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        code = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        click.echo(f"\n{signal.strsignal(code)}. {how_to_go_on(ctx)}", err=True)
        sys.exit(128 + code)
    finally:
        signal.signal(signal.SIGTERM, before)


def terminated(*_: Any) -> None:
    raise Terminated


def how_to_go_on(ctx: click.Context) -> str:
    """The command as it was typed, with `--resume`, where it has that option."""
    typed = ctx.meta[TYPED]
    if not any(param.name == "resume" for param in ctx.command.params):
        return "Nothing is left half written."
    again = typed if "--resume" in typed else [*typed, "--resume"]
    return f"To go on after the last whole epoch: {shlex.join([*ctx.command_path.split(), *again])}"
