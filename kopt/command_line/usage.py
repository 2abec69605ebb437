"""Write an error of a command's words in one line, in the words of whoever typed them."""

from __future__ import annotations

from typer import TyperException

from kopt.errors import nearest

PROGRAM = "kopt"

SETTING = "NAME=VALUE"
"""How help calls a word that is a setting of a run."""


def usage_fault(error: TyperException, command: str) -> str:
    """Describe what is wrong with a command line, and how to get help.

    Args:
        error: raised where the words were parsed.
        command: name of the command whose words they are; empty: none.
    """
    option = getattr(error, "option_name", "")
    if option and hasattr(error, "possibilities"):  # the class of an unknown option is private to typer
        message = f"there is no option {option}{_remedy(option, error)}"
    else:
        message = error.format_message().replace("Value error, ", "").strip().removesuffix(".")
    program = f"{PROGRAM} {command}".rstrip()
    more = " " if message.endswith("?") else "; "
    return f"{message[:1].lower()}{message[1:]}{more}{program} --help says more"


def _remedy(option: str, error: TyperException) -> str:
    """Say what to write in place of an unknown option: a setting of this name, or an option of a similar name."""
    from kopt.config import Config

    setting = option.lstrip("-").replace("-", "_")
    context = getattr(error, "ctx", None)
    if context and setting in Config.model_fields:
        for param in context.command.params:
            if (param.metavar or "").startswith(SETTING):
                before = "" if param.param_type_name == "argument" else f"{param.opts[0]} "
                return f": it is a setting, write {before}{setting}=VALUE"
    return nearest(option, getattr(error, "possibilities", None) or ())
