"""Rows of the run's tables, and the summary of a round.

Tables are flat; nested values (builds, verdicts, timings, vectors) lie in the store, and a row names them by digest.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol

from kopt.model.base import Value


class KernelRow(Protocol):
    """A row about one kernel."""

    @property
    def kernel(self) -> str:
        """Digest of the source."""

    @property
    def fingerprint(self) -> str:
        """Digest of the compiled behaviour; empty for a kernel that could not be fingerprinted."""


def behaviour(row: KernelRow) -> str:
    """Return the digest under which a row's kernel is the same as another: its fingerprint, or its source's digest.

    A kernel without a fingerprint is the same as none but itself.
    """
    return row.fingerprint or row.kernel


class BuildRow(Value):
    """A row of `builds.parquet`: the build of one candidate, and whether its kernel came before."""

    round: int
    attempt: int
    slot: int
    kernel: str
    """Digest of the source; empty when there was no kernel."""
    status: Literal["built", "failed", "none"]
    phase: str = ""
    reason: str = ""
    fingerprint: str = ""
    """Digest of the compiled behaviour; empty for a kernel that was not built."""
    build: str = ""
    """Store digest of the build's key."""
    duplicate_of: str = ""
    """Name of the first candidate of this run with the same behaviour (`r1a0s3`); empty if this is the first."""
    chunk: int = -1
    """Number of the evaluation chunk in which the kernel is judged; -1 when there is nothing to judge."""


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
    """Objective: geometric mean over the main workloads, ms; None unless the kernel passed."""
    low_ms: float | None = None
    """Lower end of the objective's 95 % interval; None for an estimate."""
    high_ms: float | None = None
    """Upper end of the objective's 95 % interval; None for an estimate."""
    estimated: bool = True
    """Whether the time is an estimate."""
    roofline_share: float | None = None
    """Roofline floor over time, 0 to 1."""
    build: str = ""
    """Store digest of the build's key."""
    evaluation: str = ""
    """Store digest of the verdict's key."""


class TimedKernel(Value):
    """A correct kernel with its time: the fields that rows of the pool and of the selection share."""

    kernel: str
    fingerprint: str
    origin: str
    """Name of the first candidate with this kernel (`r0a0s0` is the seed)."""
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
    """Position in the pool by time, from 0."""


class TechniqueRow(Value):
    """A row of `techniques.parquet`: the techniques of one ranked kernel."""

    kernel: str
    fingerprint: str
    techniques: tuple[str, ...]
    """Names in the taxonomy's order."""
    classified: bool
    """False when the classifier gave no answer, so that the kernel is its own cluster."""
    cluster: str
    """Names joined by `+`; `none` without techniques; the kernel's digest when it is not classified."""
    new: bool
    """Whether this round classified the kernel; False when the store held its techniques."""


class SelectionRow(TimedKernel):
    """A row of `selection.parquet`: a parent of the next round, in order of selection."""

    rank: int
    """Position in order of selection, from 0."""
    techniques: tuple[str, ...]
    cluster: str


class StopReason(StrEnum):
    """Why the search ended before its last round."""

    ROOFLINE = "roofline"
    """The best kernel reached the configured share of the roofline."""
    BUDGET = "budget"
    """The budget for language models is spent, and slots were left out."""
    NO_IMPROVEMENT = "no_improvement"
    """No round improved the best kernel for as long as the configuration allows."""


class RoundSummary(Value):
    """The summary of a round: `round.json`, and the line on the terminal."""

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
    """Size of the pool before kernels of equal fingerprint are merged."""
    pool: int
    """Size of the pool after kernels of equal fingerprint were merged."""
    clusters: int
    """Distinct technique vectors in the pool; 0 with clustering off."""
    classified: int
    """Number of kernels that this round classified."""
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
    """Name of the first candidate with this behaviour; empty if this is the first."""
    verdict: Literal["passed", "incorrect", "failed", "duplicate", "none"]
    """`failed` includes failed builds; a `duplicate` shares the verdict of the first candidate."""
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
