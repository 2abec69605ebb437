"""Read a rule's command line in its script, and write it in the rule: words `name=value`.

A rule's command names each input and output of the rule by the name that the rule gives it.  The command can be copied
from `snakemake --printshellcmds` and run again by hand:

    python -P workflow/scripts/select.py ranking=... techniques=... selection=... settings='{...}' store=... log=...
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from kopt.errors import error_line
from kopt.jobs.submitted import leave_lines
from kopt.neutral import NeutralFormatter, over_the_live_line
from kopt.store import Store
from kopt.store_use import in_use

S = TypeVar("S", bound=BaseModel)


class Job:
    """Read the words of one rule's command line; a word without `=` belongs to the name before it (a list of files)."""

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
        """Return the one file or folder called `name`."""
        (word,) = self._words[name]
        return Path(word)

    def paths(self, name: str) -> list[Path]:
        """Return the files called `name`, possibly none."""
        return [Path(word) for word in self._words.get(name, [])]

    def text(self, name: str) -> str:
        """Return the one word called `name`."""
        (word,) = self._words[name]
        return word

    def number(self, name: str) -> int:
        """Return the whole number called `name`."""
        return int(self.text(name))

    def settings(self, model: type[S]) -> S:
        """Return the settings of the rule as a value of `model`, the rule's settings class."""
        return model.model_validate_json(self.text("settings"))

    @property
    def store(self) -> Store:
        """Open the run's store."""
        return Store(self.path("store"))


def command_words(
    inputs: Iterable[tuple[str, str | Sequence[str]]],
    outputs: Iterable[tuple[str, str | Sequence[str]]],
    others: Mapping[str, str | Sequence[str]],
) -> str:
    """Write the words of a command line: `name=path` for each named input and output, and `name=value` for the rest.

    Args:
        inputs: names and files of the rule's inputs.
        outputs: names and files of the rule's outputs.
        others: wildcards, and files outside the run's folder.

    Raises:
        ValueError: two words have the same name.
    """
    named = [*inputs, *outputs, *others.items()]
    names = [name for name, _ in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"a rule uses a name twice among inputs, outputs and wildcards: {', '.join(twice)}")
    words = (brace_compressed(name, [value] if isinstance(value, str) else value) for name, value in named)
    return " ".join(filter(None, words))


def brace_compressed(name: str, paths: Sequence[str]) -> str:
    """Write the words `name=path` of many files with braces that bash expands in order: `name=r_{0..8}/a_{0..2}.json`.

    A command must stay short, since Linux limits a command to 128 kB.
    """
    rows = [re.split(r"(\d+)", path) for path in paths]
    for place in range(max(map(len, rows), default=0) - 2, 0, -2):
        rows = _fold(rows, place)
    return " ".join(f"{name}={''.join(row)}" for row in rows)


def _fold(rows: Sequence[list[str]], place: int) -> list[list[str]]:
    """Join neighbouring rows that count up at one place and are equal elsewhere."""
    joined: list[list[str]] = []
    for row in rows:
        others = row[:place], row[place + 1 :]
        first, last = _span(joined[-1][place]) if joined and place < len(joined[-1]) else (0, -2)
        if place < len(row) and row[place] == str(last + 1) and others == (joined[-1][:place], joined[-1][place + 1 :]):
            joined[-1] = [*row[:place], f"{{{first}..{last + 1}}}", *row[place + 1 :]]
        else:
            joined.append(list(row))
    return joined


def _span(number: str) -> tuple[int, int]:
    first, _, last = number.strip("{}").partition("..")
    return int(first), int(last or first)


def run(main: Callable[[Job], None]) -> None:
    """Run a script's `main`, with its log in the file `log`; an error ends it with one line and status 1.

    The line on stderr is the last line of the log too, which also has the traceback.
    """
    leave_lines()
    sys.stdout, sys.stderr = over_the_live_line(sys.stdout), over_the_live_line(sys.stderr)
    job = Job(sys.argv[1:])
    log = job.path("log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers: list[logging.Handler] = [logging.FileHandler(log, mode="w"), _warnings_to_terminal()]
    except OSError as error:
        sys.exit(error_line(error))
    for handler in handlers:
        handler.setFormatter(NeutralFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.raiseExceptions = False  # a log on a full disk ends no job
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    try:
        with in_use(job.path("store"), job.path("run")):
            main(job)
    except Exception as error:
        line = error_line(error)
        logging.getLogger("kopt").exception("failed")
        logging.getLogger("kopt").info(line)
        print(line, file=sys.stderr)
        sys.exit(1)


def _warnings_to_terminal() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.exc_info is None)
    return handler
