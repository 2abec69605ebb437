"""Name the proposers that need no provider, and define what the rewriter leaves to later runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kopt.model.base import Value

REWRITER = "kopt-rewrite"
ECHO = "kopt-echo"
NOBODY = "none"
EMBEDDED = (REWRITER, ECHO)
"""Proposers that need no provider: the rewriter, and one that numbers its parent's source (for dry runs)."""

NEAR_BEST = 1.1
"""Time of a parent relative to the best one's, up to which the rewriter refines it."""

Kind = Literal["products", "reducing", "keeping"]
"""The work that dominates a problem's time: matrix products, reads of memory, or reads and writes alike."""


class MoveEffect(Value):
    """The effect of one transformation in a run, as a logarithm of the parent's time over the child's."""

    move: str
    """Name of the transformation, with a `+` where the parent's lineage had it already."""
    mean: float = Field(ge=-10, le=10)
    deviation: float = Field(gt=0, le=10)
    """Standard deviation of what the run shows of the effect."""
    wasted: float = Field(ge=0, le=1e9)
    """Candidates that failed or whose compiled code was the parent's; a stack of several counts as a part of each."""
    tried: float = Field(gt=0, le=1e9)
    """Candidates in all, counted likewise."""


class RunExperience(Value):
    """What one run found."""

    problem: str
    """Digest of the problem."""
    kind: Kind
    device: str
    judge: str
    """Backend that found the times; what an estimate tells holds for no GPU."""
    effects: tuple[MoveEffect, ...]
    """In the order of their names."""


class EarlierRuns(Value):
    """What earlier runs found, as one run takes it along: `experience.json`."""

    problem: str
    """Digest of the problem of the run that takes it along."""
    kind: Kind
    """Kind of that problem."""
    runs: tuple[RunExperience, ...]
