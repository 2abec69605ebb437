"""`kopt unpack`: put an archive's replies into a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kopt.command_line.panel import Panel, Place
from kopt.commands.parts.arguments import DEFAULTS, AsJson, existing_file
from kopt.commands.parts.output import print_answer
from kopt.errors import ConfigError
from kopt.store import CORRUPT, Store

if TYPE_CHECKING:
    from kopt.llm.pack import Unpacked

PLACE = Place(Panel.PROVE, 4)


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="An archive of replies, as kopt pack writes it.")],
    store: Annotated[Path, typer.Option("--store", metavar="FOLDER", help="The store to put the replies into.")] = Path(
        DEFAULTS.store
    ),
    json: AsJson = False,
) -> int:
    """Put an archive's replies into a store; what else it holds stays in it.

    A sound reply that is in the store already stays; one that is torn there is replaced.

    JSON: `archive`, `store`, the number of `replies`, of these those that were there already (`kept`), and the names of
    those that were torn there (`replaced`).

    Example:
        kopt unpack demo.replies.tar.xz --store .store
    """
    from kopt.llm.pack import unpack

    file = existing_file(archive, "an archive of replies")
    done = unpack(file, Store(store))
    if not done.replies:
        raise ConfigError(f"{file} holds no replies: nothing was put into {store}; kopt replay {file} replays the rest")
    answer = {"archive": str(file), "store": str(store), **done.model_dump()}
    print_answer(answer, _lines(done, store), as_json=json)
    return 0


def _lines(done: Unpacked, store: Path) -> Iterator[str]:
    yield f"{counted(done.replies)} put into {store}" + (f" ({done.kept} of them there already)" if done.kept else "")
    if done.replaced:
        names = ", ".join(name[:12] for name in done.replaced[:3]) + (" and others" if done.replaced[3:] else "")
        yield f"{len(done.replaced)} torn there and replaced ({names}); what lay there is in {store}/{CORRUPT}"


def counted(replies: int) -> str:
    """Write a number of replies."""
    return f"{replies} repl{'y' if replies == 1 else 'ies'}"
