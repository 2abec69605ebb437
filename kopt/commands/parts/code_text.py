"""Print code and differences: with colours on a terminal, plain elsewhere; either way neutral."""

from __future__ import annotations

import sys

from kopt.neutral import visible


def print_code(text: str, language: str) -> None:
    """Print a text of a language that `rich` knows, such as `python` or `diff`."""
    shown = visible(text).rstrip("\n")
    if not sys.stdout.isatty() or sys.__stdout__ is None:
        print(shown)
        return
    from rich.console import Console
    from rich.syntax import Syntax

    sys.stdout.flush()
    syntax = Syntax(shown, language, theme="ansi_dark", background_color="default", word_wrap=True)
    Console(file=sys.__stdout__).print(syntax)  # colours would not pass the neutral stream
