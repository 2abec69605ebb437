"""What the interpreter is to do in a process, what it has done, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    launching: bool = False
    """A launch is being interpreted: what torch does now is the interpreter's."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """First address and end of every tensor of the present launch."""


SESSION = Session()
