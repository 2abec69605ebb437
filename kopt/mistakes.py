"""Say in plain words what is wrong with a value that a model of pydantic refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any  # the context of a fault holds whatever its kind of fault tells

from kopt.errors import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NUMBER, _TEXT, _LIST = "must be a number", "must be text", "must be a list"
_MAPPING = "must be a mapping of keys to values"
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no key here",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": _TEXT,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
}
"""What to say, by pydantic's kind of fault."""
_CHOICES = ("literal_error", "enum")


def in_words(fault: ErrorDetails) -> str:
    """Say what is wrong with a value, without its place: `must be a whole number`."""
    words = _WORDS.get(fault["type"])
    if words is None:
        return fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    context: Mapping[str, Any] = fault.get("ctx", {})
    if fault["type"] not in _CHOICES:
        return words.format_map({name: _number(value) for name, value in context.items()})
    expected = str(context["expected"])
    known = [part.strip(" '\"") for part in expected.replace(" or ", ", ").split(",")]
    return words.format(expected=", ".join(known)) + nearest(str(fault.get("input", "")), known)


def _number(value: Any) -> Any:
    """Return a whole number without its decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def with_place(fault: ErrorDetails) -> str:
    """Say where a fault is and what it is: `workloads.main: is missing`."""
    return f"{'.'.join(map(str, fault['loc']))}: {in_words(fault)}".removeprefix(": ")
