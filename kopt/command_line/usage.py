"""Write an error of a command's words in one line, in the words of whoever typed them."""

from __future__ import annotations

from collections.abc import Sequence

from typer import TyperException

from kopt.discovery import module_names
from kopt.errors import nearest

PROGRAM = "kopt"

COMMANDS = "kopt.commands"
"""The package whose modules are the commands."""


def usage_fault(error: TyperException, words: Sequence[str]) -> str:
    """Describe what is wrong with a command line, and how to get help.

    Args:
        error: raised where the words were parsed.
        words: the command line.
    """
    option, known = getattr(error, "option_name", ""), getattr(error, "possibilities", None)
    if known is not None or type(error).__name__ == "NoSuchOption":
        message = f"there is no option {option}{nearest(option, known or ())}"
    else:
        message = error.format_message().replace("Value error, ", "").strip().removesuffix(".")
    command = f" {words[0]}" if words and words[0] in module_names(COMMANDS) else ""
    return f"{message[:1].lower()}{message[1:]}; {PROGRAM}{command} --help says more"
