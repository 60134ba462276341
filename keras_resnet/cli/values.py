"""Values as they are typed on the command line."""

import json
from ast import literal_eval
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import click

SUFFIXES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


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


class Number(click.ParamType):
    """An integer where it is one, else a float."""

    name = "NUMBER"

    def convert(self, value, param, ctx):
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        return int(number) if number.is_integer() else number


class Amount(click.ParamType):
    """An integer, also with k, M or G behind it."""

    name = "NUMBER[k|M|G]"

    def convert(self, value, param, ctx):
        text = str(value)
        digits, factor = (text[:-1], SUFFIXES[text[-1]]) if text[-1:] in SUFFIXES else (text, 1)
        try:
            return round(float(digits) * factor)
        except (OverflowError, ValueError):
            self.fail(f"{value!r} is not a number such as 500k or 5M", param, ctx)


def settings(given: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE ... as a dict; the values are JSON, Python literals or else strings."""
    values: dict[str, Any] = {}
    for setting in given:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{setting!r} is not KEY=VALUE")
        if key in values:
            raise click.BadParameter(f"{key} is given twice")
        values[key] = value_of(text)
    return values


def value_of(text: str) -> Any:
    for parse in (json.loads, literal_eval):
        with suppress(ValueError, SyntaxError):
            return parse(text)
    return text


def recipe_changes(given: Iterable[str], precision: str | None) -> dict[str, Any]:
    """Fields of the recipe: what `--set` and `--precision` change."""
    return settings([*given, *([f"precision={precision}"] if precision else [])])
