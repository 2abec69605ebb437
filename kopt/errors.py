"""Define the one tree of errors that kopt raises; each message says what is wrong, where, and what to do.

A candidate that fails is not an error but data (`kopt.model`); errors are for bad input and broken machines.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any  # the context of a fault holds whatever its kind of fault tells

from kopt.neutral import one_line

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LONGEST_LINE = 4000
"""Most characters of the line of an error."""


class KoptError(Exception):
    """Base of every error that kopt raises on purpose; the message is one line for the user."""


class ConfigError(KoptError):
    """A setting is unknown, malformed, or contradicts another setting."""


class ProblemError(KoptError):
    """A problem folder is incomplete, or its reference or seed kernel is unusable."""


class SeedError(KoptError):
    """No seed kernel can be made from a reference."""


class TaxonomyError(KoptError):
    """The technique taxonomy is malformed."""


class StoreError(KoptError):
    """The store cannot be read or written."""


class CorruptArtifact(StoreError):
    """A file of kopt's own is torn, altered, or of another schema."""


class TableError(KoptError):
    """A table on disk is torn, has another schema than its reader expects, or has a row that contradicts itself."""


class WorkerDied(KoptError):
    """A process that runs kopt's own code ended without an answer."""


class NotDone(WorkerDied):
    """A process was ended because it took longer than its limit."""


class DeviceError(KoptError):
    """There is no usable device, or the description of a device is wrong."""


class NothingPasses(DeviceError):
    """No kernel passes when it is verified once more at the end."""


class NoReply(KoptError):
    """A reply that the run cannot go on without is pending, was not recorded, or needs a key or credit."""


class NotRecorded(KoptError):
    """A replay needs a measurement that its recording does not hold."""


MEANT = {"gpu": "cuda", "cpu": "interpret", "interpreter": "interpret", "pytorch": "module", "torch": "module"}
"""The known name that people mean by a word which is spelt more like another one: `gpu` is like `dry_gpu`."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the known name most like an unknown one; empty when none is like it."""
    known = list(known)
    meant = MEANT.get(name.lower())
    close = [meant] if meant in known else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def nearest_and(name: str, known: Iterable[str], more: str) -> str:
    """Return the hint of `nearest`, then more words: `; did you mean ...? presets are ...`, or `; presets are ...`."""
    hint = nearest(name, known)
    return f"{hint} {more}" if hint else f"; {more}"


REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EDQUOT: "free some space there, or ask for a larger quota",
    errno.EROFS: "it is mounted read-only: name another folder",
    errno.EACCES: "change its permissions, or name another folder",
    errno.EPERM: "change its permissions, or name another folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "free some memory",
}
"""What to do about an error of the operating system, by its number."""


def system_error(error: OSError) -> str:
    """Describe in one line an error of the operating system: what, where, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{error.strerror or error}{f': {remedy}, then run the same command again' if remedy else ''}"


def error_line(error: Exception) -> str:
    """Write the one line, neutral for a terminal, with which a command, a job or a search ends at an error.

    A `KoptError` and an error of the operating system say what to do; any other is a fault of kopt, named by its class.
    """
    if isinstance(error, KoptError):
        text = str(error)
    else:
        text = system_error(error) if isinstance(error, OSError) else f"unexpected {type(error).__name__}: {error}"
    return f"kopt: error: {one_line(text, LONGEST_LINE)}"


_NUMBER, _TEXT, _LIST = "must be a number", "must be text", "must be a list"
_MAPPING = "must be a mapping of keys to values"
_WANTED = {
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
"""Requirements on a value in words, e.g. `must be a whole number`, by the name of the error that pydantic reports.

Braces stand for values that pydantic reports with the error.
"""
_CHOICES = ("literal_error", "enum")
_PATTERNS = {
    r"^[A-Za-z0-9_.-]*$": "may hold letters, digits, _ . and - alone",
    r"^[A-Za-z0-9_.-]+$": "must be a name of letters, digits, _ . and -",
    r"^[A-Za-z0-9_.]*$": "may hold letters, digits, _ and . alone",
}
"""Requirements in words by the pattern that a text must match."""


def fault_in_words(fault: ErrorDetails) -> str:
    """Say what is wrong with a value that pydantic refused, without its place: `must be a whole number`."""
    words = _WANTED.get(fault["type"])
    if fault["type"] == "string_pattern_mismatch":
        words = _PATTERNS.get(fault.get("ctx", {}).get("pattern", ""))
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
    return f"{'.'.join(map(str, fault['loc']))}: {fault_in_words(fault)}".removeprefix(": ")
