"""How a rule calls its script: `name=value` words in, one clear line out when something is wrong.

A rule's command can be copied from `snakemake --printshellcmds` and run again by hand:

    python workflow/scripts/select.py ranking=... techniques=... settings='{...}' log=...
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from pydantic import BaseModel

from kopt.errors import KoptError
from kopt.store import Store

V = TypeVar("V", bound=BaseModel)


class Job:
    """The words of one rule's command line.  A word without `=` belongs to the name before it (a list of files)."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words: dict[str, list[str]] = {}
        values: list[str] = []
        for word in words:
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                values = self._words.setdefault(name, [])
                word = value
            if word:
                values.append(word)

    def path(self, name: str) -> Path:
        """The one file or folder called `name`."""
        (word,) = self._words[name]
        return Path(word)

    def paths(self, name: str) -> list[Path]:
        """The files called `name`, possibly none."""
        return [Path(word) for word in self._words.get(name, [])]

    def text(self, name: str) -> str:
        """The one word called `name`."""
        (word,) = self._words[name]
        return word

    def number(self, name: str) -> int:
        """The whole number called `name`."""
        return int(self.text(name))

    @property
    def settings(self) -> Any:
        """The settings that the rule named; asking for another one is an AttributeError."""
        return json.loads(self.text("settings"), object_hook=lambda fields: SimpleNamespace(**fields))

    def setting(self, name: str, model: type[V]) -> V:
        """The setting called `name` as the value that it was made from."""
        return model.model_validate(json.loads(self.text("settings"))[name])

    @property
    def store(self) -> Store:
        """The run's store."""
        return Store(self.path("store"))


def brace_compressed(name: str, paths: Sequence[str]) -> str:
    """The words `name=path` of many files, as bash unfolds them in this order: `name=r_{0..8}/a_{0..2}.json`.

    A command must stay short, since the system takes 128 kB of it at most.
    """
    rows = [re.split(r"(\d+)", path) for path in paths]
    for place in range(max(map(len, rows), default=0) - 2, 0, -2):
        rows = _fold(rows, place)
    return " ".join(f"{name}={''.join(row)}" for row in rows)


def _fold(rows: Sequence[list[str]], place: int) -> list[list[str]]:
    """The rows with each run of neighbours that count up at one place, and are else equal, as one."""
    found: list[list[str]] = []
    for row in rows:
        others = row[:place], row[place + 1 :]
        first, last = _span(found[-1][place]) if found and place < len(found[-1]) else (0, -2)
        if place < len(row) and row[place] == str(last + 1) and others == (found[-1][:place], found[-1][place + 1 :]):
            found[-1] = [*row[:place], f"{{{first}..{last + 1}}}", *row[place + 1 :]]
        else:
            found.append(list(row))
    return found


def _span(number: str) -> tuple[int, int]:
    first, _, last = number.strip("{}").partition("..")
    return int(first), int(last or first)


def run(main: Callable[[Job], None]) -> None:
    """Run a script's `main`, with its log in the file `log`; an error of ours ends it with one line and status 1."""
    job = Job(sys.argv[1:])
    log = job.path("log")
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[logging.FileHandler(log, mode="w"), _warnings_to_terminal()],
    )
    try:
        main(job)
    except KoptError as error:
        logging.getLogger("kopt").exception("failed")
        sys.exit(f"kopt: error: {error}")


def _warnings_to_terminal() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.exc_info is None)
    return handler
