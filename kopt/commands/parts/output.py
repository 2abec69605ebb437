"""Print what a command answers: lines for people, or one JSON document for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable

from pydantic_core import to_jsonable_python

from kopt.neutral import visible


def print_answer(answer: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a command's answer.

    Args:
        answer: values, mappings and sequences, for programs.  Numbers that JSON lacks (infinity, NaN) become null.
        lines: the same for people.
        as_json: whether a program reads the answer.
    """
    if as_json:
        print(json.dumps(_finite(to_jsonable_python(answer)), indent=1, allow_nan=False))
    else:
        print("\n".join(lines))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_code(text: str, language: str) -> None:
    """Print code in a language that `rich` knows (`python`, `diff`): in colours on a terminal, plain elsewhere."""
    shown = visible(text).rstrip("\n")
    if not sys.stdout.isatty() or sys.__stdout__ is None:
        print(shown)
        return
    from rich.console import Console
    from rich.syntax import Syntax

    sys.stdout.flush()
    coloured = Syntax(shown, language, theme="ansi_dark", background_color="default").highlight(shown)
    # colours would not pass the neutral stream, through which the text has gone
    Console(file=sys.__stdout__).print(coloured, soft_wrap=True, end="")
