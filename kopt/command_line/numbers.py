"""Read the numbers of a command line; a number that cannot be is refused before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

Number = TypeVar("Number", int, float)


def count(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def whole_number(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def seconds(text: str) -> float:
    """Parse a finite number of seconds above 0."""
    return _number(text, float, lambda value: 0.0 < value < math.inf, "a number of seconds above 0")


def dollars(text: str) -> float:
    """Parse a finite number of US dollars, at least 0."""
    return _number(text, float, lambda value: 0.0 <= value < math.inf, "a number of US dollars, at least 0")


def _number(text: str, kind: Callable[[str], Number], accepts: Callable[[Number], bool], wanted: str) -> Number:
    with suppress(ValueError):
        if accepts(value := kind(text)):
            return value
    raise ValueError(f"{text!r} is not {wanted}")
