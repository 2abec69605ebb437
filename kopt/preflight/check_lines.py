"""Define what a check of a problem says: lines, each for a requirement or a fact, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from kopt.errors import KoptError
from kopt.model.base import Value
from kopt.sandbox.caged_call import tell

SEED = "seed"
"""Name of the line that says whether a seed kernel can be made."""


class Line(Value):
    """A requirement, or a fact, and what was found."""

    name: str
    state: Literal["ok", "fails", "note"]
    text: str


class Told(Value):
    """A message that a check sends from the cage while the check goes on."""

    doing: str = ""
    """Name of the requirement that is looked at from now on."""
    line: Line | None = None
    """A line that is known."""


class Report(Value):
    """All lines of a check."""

    lines: tuple[Line, ...]

    @property
    def judgeable(self) -> bool:
        """Whether every requirement holds."""
        return all(line.state != "fails" for line in self.lines)

    @property
    def searchable(self) -> bool:
        """Whether every requirement of a search holds, too: it needs a seed kernel."""
        return self.judgeable and all(line.state == "ok" for line in self.lines if line.name == SEED)


def line_in_words(line: Line) -> str:
    """Describe a line for the terminal, on one line whatever a reference says."""
    return f"{line.state:<6} {line.name:<10} {line.text}".replace("\n", " ")


def end_in_words(report: Report, name: str) -> str:
    """Say whether the problem can be judged and searched."""
    if failed := [line.name for line in report.lines if line.state == "fails"]:
        return f"{name} cannot be judged: {', '.join(failed)}"
    return f"{name} can be judged" if report.searchable else f"{name} can be judged; a search needs kernel.py first"


class Lines(list[Line]):
    """The lines of a check that are known, each told when it is added."""

    def __init__(self, problem: str) -> None:
        """Begin without lines.

        Args:
            problem: name of the problem, which lines leave out.
        """
        super().__init__()
        self._problem = problem

    def add(self, name: str, state: Literal["ok", "fails", "note"], text: str) -> None:
        """Add a line."""
        self.append(Line(name=name, state=state, text=text.removeprefix(f"{self._problem}: ")))
        tell(Told(line=self[-1]).model_dump_json())

    def holds(self, name: str, find: Callable[[], str]) -> bool:
        """Look at a requirement, add its line, and return whether it holds.

        Args:
            name: name of the requirement.
            find: returns what is said where it holds; raises KoptError where it does not.
        """
        tell(Told(doing=name).model_dump_json())
        try:
            text = find()
        except KoptError as error:
            self.add(name, "fails", str(error))
            return False
        self.add(name, "ok", text)
        return True
