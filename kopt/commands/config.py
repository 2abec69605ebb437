"""`kopt config`: print all settings with their defaults, or write the files generated from them."""

from __future__ import annotations

from typing import Annotated

import typer

from kopt import config_docs
from kopt.artifact import write_text
from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import ROOT, AsJson
from kopt.commands.parts.output import print_answer
from kopt.config import Config
from kopt.errors import ConfigError
from kopt.project import is_installed

PLACE = Place(Panel.HOUSE, 2)


def run(
    write: Annotated[bool, typer.Option("--write", help="Write the generated files into the checkout.")] = False,
    json: AsJson = False,
) -> int:
    """Print all settings with their defaults.

    With --write, write the files of the checkout that are generated from them.

    JSON: settings by name; with --write the paths `written`.

    Examples:
        kopt config
        kopt config --json
    """
    if write and is_installed():
        raise ConfigError("--write is for a checkout of kopt: an upgrade would replace what it writes here")
    if write:
        files = {ROOT / path: text for path, text in config_docs.files().items()}
        for path, text in files.items():
            write_text(path, text)
        print_answer({"written": [str(path) for path in files]}, (f"{path} is written" for path in files), as_json=json)
    else:
        print_answer(Config(), [config_docs.default_yaml().removesuffix("\n")], as_json=json)
    return 0
