"""What an argument may be, and the one error that says so."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite
from numbers import Integral, Real
from typing import Any, NamedTuple
from unicodedata import category


class Rule(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str  # how it reads in the error


class ArgumentError(ValueError):
    """An argument is not what it may be.

    The command line tells it in the words of its options. Other arguments in `expected` thus stand as Python writes
    them, between backticks: `resume=True`.
    """

    argument = ""
    expected = ""
    received: object = None


class ReportedError(Exception):
    """What went wrong without a bug: the command line shows its message alone, and no traceback."""


class LossError(ReportedError, FloatingPointError):
    """A loss is not a finite number."""


def invalid(argument: str, expected: str, received: object) -> ArgumentError:
    """The error that names the argument, what was expected and what was received."""
    expected = printable(expected)
    message = f"Invalid value for argument `{argument}`. Expected {expected}. Received: {argument}={received!r}"
    return with_parts(ArgumentError(message), argument, expected, received)


UNPRINTABLE = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # Unicode's controls, formats, halves of pairs, ends of lines


def printable(text: object) -> str:
    """The text with what would steer a terminal written out, such as \\x1b, but for ends of lines.

    >>> printable("cat\x1b[2J")
    'cat\\\\x1b[2J'
    """
    return "".join(
        character if character == "\n" or category(character) not in UNPRINTABLE else ascii(character)[1:-1]
        for character in str(text)
    )


def with_parts(error: ArgumentError, argument: str, expected: str, received: object) -> ArgumentError:
    error.argument, error.expected, error.received = argument, expected, received
    return error


def expect(holds: object, argument: str, expected: str, received: object) -> None:
    """Raises that error unless it `holds`."""
    if not holds:
        raise invalid(argument, expected, received)


def expect_rule(rule: Rule, argument: str, received: object) -> None:
    expect(rule.holds(plain(received)), argument, rule.expected, received)


def expect_rules(rules: dict[str, Rule], owner: Any) -> None:
    """Makes the fields' numbers Python's, and raises an error unless every field keeps its rule."""
    make_plain(owner)
    for field, rule in rules.items():
        expect_rule(rule, field, getattr(owner, field))


def make_plain(owner: Any) -> None:
    """The numbers in the fields of a frozen dataclass become Python's."""
    for field in fields(owner):
        object.__setattr__(owner, field.name, plain(getattr(owner, field.name)))


def plain(value: Any) -> Any:
    """NumPy's numbers, and those of arrays without axes, as Python's; also those in lists, tuples and mappings.

    >>> import numpy as np
    >>> plain({"classes": np.int64(10), "drops": (np.float32(0.5),)})
    {'classes': 10, 'drops': (0.5,)}
    """
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def expect_known(argument: str, names: Collection[str], received: object, what: str = "a known name") -> None:
    """As `expect`, for names from a long list: the error shows the nearest ones."""
    near, known = nearest(received, names), sorted(names)
    shown = f"the nearest are {listed(near)}" if near else f"such as {listed(known if len(known) < 20 else known[:5])}"
    expect(isinstance(received, str) and received in names, argument, f"{what}; {shown}", received)


def listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def unknown(argument: str, near: Sequence[str], received: object, owner: str) -> ArgumentError:
    """The error for an argument that the owner does not have: it shows what may have been meant."""
    others = f"; did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
    message = f"Unknown argument `{argument}` of {owner}{others or '.'} Received: {argument}={received!r}"
    return with_parts(ArgumentError(message), argument, f"no value, for {owner} has none{others}", received)


def nearest(typed: object, names: Iterable[str]) -> list[str]:
    """The names that begin so, or else those that resemble it."""
    names, start = list(dict.fromkeys(names)), str(typed).lower()
    begun = [name for name in names if name.startswith(start)]
    return (begun or get_close_matches(start, names, n=3, cutoff=0.5))[:20]


def is_integer(value: object) -> bool:
    return isinstance(value, (int, Integral)) and not isinstance(value, bool)  # int first: an ABC takes long


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def at_least(least: int) -> Rule:
    return Rule(lambda value: is_integer(value) and value >= least, f"an integer, at least {least}")


def between(least: int, most: int) -> Rule:
    """Most is far above what anybody needs: beyond it a number is a mistake."""
    return Rule(
        lambda value: is_integer(value) and least <= value <= most, f"an integer, at least {least} and at most {most:,}"
    )


def one_of(*keys: object) -> Rule:
    return Rule(
        lambda value: isinstance(value, Hashable) and value in keys and not isinstance(value, bool),
        f"one of {', '.join(map(repr, keys))}",
    )


def is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and len(value) > 0 and all(map(holds, value))


COUNT = at_least(1)
SEED = Rule(lambda value: is_integer(value) and 0 <= value < 2**32, "an integer from 0 to 2**32 - 1")
RATE = Rule(lambda value: is_number(value) and 0 <= value < 1, "a rate in [0, 1)")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number above 0")
NUMBER = Rule(is_number, "a number")
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
