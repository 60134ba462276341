"""What an argument may be, and the one error that says so."""

from collections.abc import Callable, Collection, Hashable
from difflib import get_close_matches
from math import isfinite
from numbers import Integral, Real
from typing import Any, NamedTuple


class Rule(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str  # how it reads in the error


class ArgumentError(ValueError):
    """An argument is not what it may be."""


def invalid(argument: str, expected: str, received: object) -> ArgumentError:
    """The error that names the argument, what was expected and what was received."""
    return ArgumentError(
        f"Invalid value for argument `{argument}`. Expected {expected}. Received: {argument}={received!r}"
    )


def expect(holds: object, argument: str, expected: str, received: object) -> None:
    """Raises that error unless it `holds`."""
    if not holds:
        raise invalid(argument, expected, received)


def expect_rule(rule: Rule, argument: str, received: object) -> None:
    expect(rule.holds(received), argument, rule.expected, received)


def expect_rules(rules: dict[str, Rule], owner: object) -> None:
    """Every field that has a rule keeps it."""
    for field, rule in rules.items():
        expect_rule(rule, field, getattr(owner, field))


def expect_known(argument: str, names: Collection[str], received: object) -> None:
    """As `expect`, for names from a long list: the error shows the nearest ones."""
    typed = str(received).lower()
    begun = [name for name in names if name.startswith(typed)]
    nearest = begun or get_close_matches(typed, names, n=3, cutoff=0.5) or sorted(names)
    expected = f"a known name; the nearest are {', '.join(map(repr, nearest[:20]))}"
    expect(isinstance(received, str) and received in names, argument, expected, received)


def is_integer(value: object) -> bool:
    return isinstance(value, (int, Integral)) and not isinstance(value, bool)  # int first: an ABC takes long


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def at_least(least: int) -> Rule:
    return Rule(lambda value: is_integer(value) and value >= least, f"an integer, at least {least}")


def one_of(*keys: object) -> Rule:
    return Rule(
        lambda value: isinstance(value, Hashable) and value in keys and not isinstance(value, bool),
        f"one of {', '.join(map(repr, keys))}",
    )


def is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and len(value) > 0 and all(map(holds, value))


COUNT = at_least(1)
RATE = Rule(lambda value: is_number(value) and 0 <= value < 1, "a rate in [0, 1)")
POSITIVE = Rule(lambda value: is_number(value) and value > 0, "a number above 0")
NUMBER = Rule(is_number, "a number")
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
