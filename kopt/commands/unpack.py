"""`kopt unpack`: put an archive's replies into a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.commands.parts.arguments import existing_file
from kopt.config import Config
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.commands.parts.arguments import Commands


def add_parser(commands: Commands) -> None:
    """Declare the command's words."""
    parser = commands.add_parser("unpack", help="put an archive's replies into a store")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--store", type=Path, default=Path(Config().store), help="the store to put them into")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Unpack the archive and print how many replies it holds."""
    from kopt.llm.pack import unpack

    archive = existing_file(options.archive, "an archive of replies")
    print(f"{unpack(archive, Store(options.store))} replies put into {options.store}")
    return 0
