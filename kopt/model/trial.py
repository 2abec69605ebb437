"""Define the rows of the run's tables, and the summary of a round.

Tables are flat; nested values (builds, verdicts, timings, vectors) lie in the store, and a row names them by digest.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal, Protocol, Self

from pydantic import model_validator

from kopt.model.base import Value


class KernelRow(Protocol):
    """A row about one kernel."""

    @property
    def kernel(self) -> str:
        """Digest of the source."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the compiled behaviour; empty for a kernel without one."""


def behaviour(row: KernelRow) -> str:
    """Return the digest that equal kernels share: the fingerprint, or the source's digest of a kernel without one."""
    return row.fingerprint or row.kernel


class BuildRow(Value):
    """A row of `builds.parquet`: whether one candidate compiled, and which earlier kernel it equals."""

    round: int
    attempt: int
    slot: int
    kernel: str
    """Digest of the source; empty when the slot has no kernel."""
    status: Literal["built", "failed", "none"]
    phase: str = ""
    reason: str = ""
    fingerprint: str = ""
    """Fingerprint of the compiled behaviour; empty for a kernel without one, which equals no other kernel."""
    form: str = ""
    """Digest of the source without comments, layout and names (`kopt.jobs.source_form`); empty without a kernel."""
    build: str = ""
    """Store digest of the build's key."""
    duplicate_of: str = ""
    """Name of this run's first candidate with the same fingerprint and the same form (`r1a0s3`), whose verdict this
    candidate shares; empty if this row is the first."""
    chunk: int = -1
    """Number of the chunk that judges the kernel; -1 when there is nothing to judge."""


class EvaluationRow(Value):
    """A row of `evaluation_<chunk>.parquet`: verdict and time of one unique kernel.

    A table has the same columns in all rows, so that a row cannot be the union `kopt.model.judged.Judged` which it is
    made from; a validator holds the row to what the union makes unwritable.

    Raises:
        ValidationError: a row that passed without a time, or one that did not pass with a time.
    """

    round: int
    attempt: int
    slot: int
    kernel: str
    fingerprint: str
    verdict: Literal["passed", "incorrect", "failed", "screened"]
    """`screened`: not judged, since its estimate is clearly above the best kernel's (setting `screen`)."""
    phase: str = ""
    reason: str = ""
    judge: str
    time_ms: float | None = None
    """Objective: geometric mean over the main workloads, ms; None unless the verdict is `passed`."""
    low_ms: float | None = None
    """Lower end of the 95 % confidence interval of `time_ms`, ms; None unless the time was measured."""
    high_ms: float | None = None
    """Upper end of the 95 % confidence interval of `time_ms`, ms; None unless the time was measured."""
    estimated: bool = True
    """Whether the time is an estimate."""
    roofline_share: float | None = None
    """Roofline floor divided by time, 0 to 1; None unless the verdict is `passed`."""
    build: str = ""
    """Store digest of the build's key."""
    evaluation: str = ""
    """Store digest of the verdict's key."""

    @model_validator(mode="after")
    def _has_a_time_if_it_passed(self) -> Self:
        if self.verdict == "passed" and (self.time_ms is None or self.roofline_share is None):
            raise ValueError(f"kernel {self.kernel[:12]} passed and has no time")
        if self.time_ms is not None and not 0 < self.time_ms < math.inf:
            raise ValueError(f"kernel {self.kernel[:12]} has an impossible time, {self.time_ms} ms")
        times = (self.time_ms, self.low_ms, self.high_ms, self.roofline_share)
        if self.verdict != "passed" and times != (None,) * 4:
            raise ValueError(f"kernel {self.kernel[:12]} did not pass ({self.verdict}) and has a time")
        return self


class TimedKernel(Value):
    """A correct kernel with its time: the columns that the pool and the selection share."""

    kernel: str
    fingerprint: str
    origin: str
    """Name of the candidate that first had this kernel (`r0a0s0` is the seed)."""
    model: str
    """Name of the language model or other proposer that made the candidate."""
    time_ms: float
    """Objective: geometric mean over the main workloads, ms."""
    low_ms: float | None = None
    """Lower end of the 95 % confidence interval of `time_ms`, ms; None for an estimate."""
    high_ms: float | None = None
    """Upper end of the 95 % confidence interval of `time_ms`, ms; None for an estimate."""
    estimated: bool
    """Whether the time is an estimate."""
    roofline_share: float
    """Roofline floor divided by time, 0 to 1."""
    build: str = ""
    """Store digest of the build's key."""
    evaluation: str = ""
    """Store digest of the verdict's key."""


class ScreenRow(Value):
    """A row of `screen.parquet`: whether a unique kernel is judged, by its estimate."""

    slot: int
    ratio: float
    """Estimated time relative to the best kernel's."""
    bound: float | None
    """Largest ratio of a kernel that is judged for its estimate; None where too few kernels were measured."""
    fate: Literal["judged", "sampled", "skipped"]
    """`sampled`: beyond the bound, and judged to show what the screen costs."""


class RankRow(TimedKernel):
    """A row of `ranking.parquet`: a kernel of the pool, in order of time."""

    position: int
    """Position in the order, from 0."""


class TechniqueRow(Value):
    """A row of `techniques.parquet`: the techniques that one ranked kernel uses."""

    kernel: str
    fingerprint: str
    techniques: tuple[str, ...]
    """Names in the taxonomy's order."""
    classified: bool
    """False when the classifier gave no answer: the kernel is its own cluster."""
    cluster: str
    """Names joined by `+`, `none` for no technique, or the kernel's own digest when it is not classified."""
    new: bool
    """True when this round classified the kernel, False when an earlier round did."""


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
    """The budget for language models is spent, and slots were left out."""
    NO_IMPROVEMENT = "no_improvement"
    """The settings' number of rounds in a row found no faster kernel."""


class RoundSummary(Value):
    """The counts and the best kernel of one round: `round.json`, and the round's line on the terminal."""

    round: int
    slots: int
    """Slots of the round; 0 when the search had stopped."""
    proposed: int
    built: int
    unique: int
    correct: int
    faster: int
    """Correct kernels that are faster than the best of the previous round."""
    pool_before_dedup: int
    """Kernels in the pool before those of equal fingerprint are merged."""
    pool: int
    """Kernels in the pool after those of equal fingerprint are merged."""
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
    screened: int = 0
    """Kernels that were not judged, since their estimates are clearly above the best kernel's."""
    repaired: int = 0
    """Correct kernels that are repairs: the slot's first kernel failed."""


class Trial(Value):
    """A row of `trials.parquet`: one slot and attempt of the run, whether selected or not."""

    name: str
    """`r<round>a<attempt>s<slot>`."""
    round: int
    attempt: int
    slot: int
    parent: str
    """Kernel digest of the parent; empty for the seed."""
    model: str
    bottleneck: int
    sample: int
    status: Literal["proposed", "none", "skipped"]
    description: str
    kernel: str
    fingerprint: str
    duplicate_of: str
    """Name of the first candidate with this fingerprint and form of the source; empty if this trial is the first."""
    verdict: Literal["passed", "incorrect", "failed", "screened", "duplicate", "none"]
    """`failed` covers builds too; a `screened` kernel was not judged; a `duplicate` shares the verdict of the trial
    that it duplicates."""
    phase: str
    reason: str
    time_ms: float | None
    """Time, ms, of this kernel or of the first that it duplicates; None when that did not pass."""
    low_ms: float | None
    high_ms: float | None
    estimated: bool | None
    roofline_share: float | None
    """Roofline floor divided by time, 0 to 1."""
    techniques: tuple[str, ...]
    cluster: str
    selected_rank: int | None
    """Rank in this round's selection; None when the kernel was not selected."""
    cost_usd: float
