"""`kopt unpack`: put an archive's replies into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, AsJson, existing_file
from kopt.commands.parts.output import print_answer
from kopt.store import Store

PLACE = Place(Panel.PROVE, 4)


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="An archive of replies, as kopt pack writes it.")],
    store: Annotated[Path, typer.Option("--store", metavar="FOLDER", help="The store to put the replies into.")] = Path(
        DEFAULTS.store
    ),
    json: AsJson = False,
) -> int:
    """Put an archive's replies into a store.

    JSON: `archive`, `store` and the number of `replies`.

    Example:
        kopt unpack demo.replies.tar --store .store
    """
    from kopt.llm.pack import unpack

    file = existing_file(archive, "an archive of replies")
    count = unpack(file, Store(store))
    answer = {"archive": str(file), "store": str(store), "replies": count}
    print_answer(answer, [f"{count} replies put into {store}"], as_json=json)
    return 0
