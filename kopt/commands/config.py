"""`kopt config`: print all settings with their defaults, or write the files generated from them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kopt import config_docs
from kopt.artifact import write_text
from kopt.commands.parts.arguments import ROOT

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("config", help="print all settings with their defaults")
    parser.add_argument("--write", action="store_true", help="write the generated files into the checkout")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the defaults as YAML, or write every generated file."""
    if options.write:
        for path, text in config_docs.files().items():
            write_text(ROOT / path, text)
    else:
        print(config_docs.default_yaml(), end="")
    return 0
