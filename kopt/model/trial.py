"""Rows of the run's tables, and what a round came to.

Tables are flat; what is nested (builds, verdicts, timings, vectors) lies in the store, and a row names it by digest.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from kopt.model.base import Value


class BuildRow(Value):
    """A row of `builds.parquet`: what the CPU stage made of one candidate, and which kernel it turned out to be."""

    round: int
    attempt: int
    slot: int
    kernel: str
    """Digest of the source; empty when there was no candidate."""
    status: Literal["built", "failed", "none"]
    phase: str = ""
    reason: str = ""
    fingerprint: str = ""
    """Empty for a kernel that could not be fingerprinted: it is its own singleton."""
    build: str = ""
    """Store digest of the build's key."""
    duplicate_of: str = ""
    """Name of the earlier candidate of this run with the same fingerprint (`r1a0s3`), or empty if this is the first."""
    chunk: int = -1
    """Evaluation chunk that judges it; -1 when there is nothing to judge."""


class EvaluationRow(Value):
    """A row of `evaluation_<chunk>.parquet`: verdict and time of one unique kernel."""

    round: int
    attempt: int
    slot: int
    kernel: str
    fingerprint: str
    verdict: Literal["passed", "incorrect", "failed"]
    phase: str = ""
    reason: str = ""
    judge: str
    time_ms: float | None = None
    """Objective: geometric mean over the main workloads, ms; None unless it passed."""
    low_ms: float | None = None
    high_ms: float | None = None
    estimated: bool = True
    roofline_share: float | None = None
    build: str = ""
    evaluation: str = ""
    """Store digest of the verdict's and timing's key."""


class TimedKernel(Value):
    """A correct kernel with its time: what a row of the pool and a row of the selection share."""

    kernel: str
    fingerprint: str
    origin: str
    """Name of the candidate that first brought this kernel (`r0a0s0` is the seed)."""
    model: str
    time_ms: float
    low_ms: float | None = None
    high_ms: float | None = None
    estimated: bool
    roofline_share: float
    build: str = ""
    evaluation: str = ""


class RankRow(TimedKernel):
    """A row of `ranking.parquet`: a member of the pool in order of time."""

    position: int


class TechniqueRow(Value):
    """A row of `techniques.parquet`: the techniques of one ranked kernel."""

    kernel: str
    fingerprint: str
    techniques: tuple[str, ...]
    """Names in the taxonomy's order."""
    classified: bool
    """False when the classifier gave no answer: the kernel is its own cluster."""
    cluster: str
    """Names joined by `+`, `none` when it uses none, or the kernel's own digest when it is not classified."""
    new: bool
    """True when this round classified it, False when the store knew it."""


class SelectionRow(TimedKernel):
    """A row of `selection.parquet`: a parent of the next round, in order of selection."""

    rank: int
    """From 0, in order of selection."""
    techniques: tuple[str, ...]
    cluster: str


class StopReason(StrEnum):
    """Why the search ended before its last round."""

    ROOFLINE = "roofline"
    """The best kernel reached the wanted share of the roofline."""
    BUDGET = "budget"
    """The budget for language models is spent: slots were left out."""
    NO_IMPROVEMENT = "no_improvement"


class RoundSummary(Value):
    """What a round came to: `round.json`, and the line on the terminal."""

    round: int
    slots: int
    """Slots in use; 0 when the search had stopped."""
    proposed: int
    built: int
    unique: int
    correct: int
    faster: int
    """Correct kernels that beat the previous best."""
    pool_before_dedup: int
    pool: int
    """Pool after merging equal fingerprints."""
    clusters: int
    """Distinct technique vectors in the pool; 0 with clustering off."""
    classified: int
    """Kernels that this round classified."""
    best_kernel: str
    best_ms: float
    best_model: str
    best_origin: str
    estimated: bool
    roofline_share: float
    seed_ms: float
    improved: bool
    rounds_without_improvement: int
    stopped: StopReason | None = None


class Trial(Value):
    """A row of `trials.parquet`: one slot and attempt of the run, losers included."""

    name: str
    """`r<round>a<attempt>s<slot>`."""
    round: int
    attempt: int
    slot: int
    parent: str
    """Kernel digest of the parent, or empty."""
    model: str
    bottleneck: int
    sample: int
    status: Literal["proposed", "none", "skipped"]
    description: str
    kernel: str
    fingerprint: str
    duplicate_of: str
    """Name of the first candidate with this fingerprint, when it is not this one."""
    verdict: Literal["passed", "incorrect", "failed", "duplicate", "none"]
    """`failed` covers builds too; `duplicate` kernels share the verdict of the first."""
    phase: str
    reason: str
    time_ms: float | None
    low_ms: float | None
    high_ms: float | None
    estimated: bool | None
    roofline_share: float | None
    techniques: tuple[str, ...]
    cluster: str
    selected_rank: int | None
    """Rank in this round's selection, None when it was not selected."""
    cost_usd: float
