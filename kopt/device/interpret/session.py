"""What the interpreter is to do in a process, what it has done, and how it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kopt.device.interpret.launch_record import InterpretedCall
    from kopt.device.interpret.races import Races

Place = Literal["host", "interpreter", "kernel"]
"""Whose Python runs: the candidate's around its launches, the interpreter's own that moves arguments, or a kernel's."""


class OutOfBounds(Exception):
    """A kernel reads or writes outside the tensors that were passed to it."""


class Unsupported(Exception):
    """A kernel uses what a GPU has and the interpreter has not."""


@dataclass
class Session:
    """What the interpreter is to do in this process, and what it has done."""

    ghost: bool = False
    """Leave launches out."""
    turn: int = 0
    """Which of its configurations an autotuner takes, counted round."""
    launches: int = 0
    """Launches so far, those left out included."""
    place: Place = "host"
    """Whose Python runs."""
    record: InterpretedCall | None = None
    """Where what the candidate does is recorded."""
    races: Races | None = None
    """What watches the accesses of the present launch."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First address and end of every tensor of the present launch."""

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """What runs inside is whose."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before


SESSION = Session()
