"""Define how far a run is: what a person who asks for its status is told, apart from the words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kopt.model.base import Value
from kopt.model.cost import Cost
from kopt.model.trial import StopReason


class RoundCounts(Value):
    """Counts of one round's candidates, so far."""

    round: int
    complete: bool
    """Whether the round has selected its parents."""
    slots: int
    proposed: int
    """Candidates with a kernel, repairs included."""
    built: int
    """Candidates that were built, duplicates included."""
    duplicates: int
    judged: int
    """Candidates that were judged, or share the verdict of a duplicate."""
    passed: int
    """Slots with a new kernel that passed."""
    repaired: int = 0
    """Those of them whose kernel is a repair."""
    failures: dict[str, int] = Field(default_factory=dict)
    """Candidates by what went wrong (`syntax error`, `wrong result`, ...), most frequent first."""
    best_ms: float | None = None
    """Time of the fastest parent at the end of the round, ms; None while the round goes on."""


class BestSoFar(Value):
    """The fastest kernel that passed."""

    name: str
    model: str
    description: str
    ms: float
    interval: tuple[float, float] | None = None
    """95 % confidence interval, ms; None for an estimate."""
    estimated: bool
    roofline_share: float
    seed_ms: float
    selected: bool
    """Whether it was ranked beside the other kernels of its round; else it may still turn out slower."""
    ample_ms: float = 0.0
    """Time to move every element of every tensor once, or to do the reference's arithmetic, ms; 0 where not known."""

    @property
    def speedup(self) -> float:
        """Time of the seed kernel over this kernel's; above 1 it is faster."""
        return self.seed_ms / self.ms


class RunStatus(Value):
    """How far a run is."""

    run: str
    folder: str
    problem: str
    preset: str
    proposers: tuple[str, ...]
    judge: str
    device: str
    """Name of the device that times are for; empty before it is known."""
    state: Literal["going on", "stopped", "failed", "finished"]
    known: bool
    """Whether the state is known; else it follows from the age of the newest file."""
    host: str
    """Machine on which the search was started last; empty where no start is recorded."""
    round: int
    """The round that is worked on, or the last."""
    rounds: int
    """Rounds that the settings ask for, round 0 not counted."""
    attempt: int
    phase: str
    """Name of the first step that is not done; empty when everything is done."""
    doing: str
    """The phase in words."""
    chunks: tuple[int, int]
    """Files of the phase's step that are done, and all of them."""
    steps_done: int
    steps: int
    counts: tuple[RoundCounts, ...]
    """By round, from round 1."""
    best: BestSoFar | None
    baselines: dict[str, float]
    """Times of PyTorch's own ways, ms, estimated or measured as the best kernel's is."""
    stopped_early: StopReason | None
    cost: Cost | None
    """What the language models cost so far; None in a run that asked none."""
    budget_usd: float | None
    began: float | None
    """Time of the last start, seconds since 1970."""
    seconds: float | None
    """Time from the last start to the end, or to now, s."""
    left_seconds: float | None = None
    """Estimate of the time until the end, by the steps since the last start, s; None where it is not known."""
    quiet_seconds: float
    """Time since the last change of a file of the run, s."""
    error: str
    """The error that ended the search; empty where no log names one."""
    log: str
    """The log that names it."""
    command: str
    """What to type to go on; empty where it is not known."""
    locked: bool
    """Whether Snakemake's lock on the run is left from a process that was killed."""

    @property
    def best_baseline(self) -> tuple[str, float] | None:
        """Name and time of PyTorch's fastest way; None where none was timed."""
        return min(self.baselines.items(), key=lambda pair: pair[1]) if self.baselines else None
