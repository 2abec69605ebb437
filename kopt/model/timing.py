"""Define the time of a kernel: measured, or estimated and marked so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import Field

from kopt.model.base import Value
from kopt.model.environment import Conditions, Environment
from kopt.model.verdict import Verdict


class WorkloadEstimate(Value):
    """The estimated time of one main workload, and its parts."""

    workload: str
    ms: float
    """Estimated time of one call, ms."""
    memory_ms: float
    """Time to move the kernel's bytes at the bandwidth that it can reach, ms."""
    compute_ms: float
    """Time to execute the kernel's instructions, ms."""
    launch_ms: float
    """Launch overhead and host operations, ms."""
    floor_ms: float
    """Roofline floor of the problem on this device, ms: no kernel is faster."""
    weight: float = 1.0
    """Weight in the objective."""
    done: float = 1.0
    """Share of the work of every right kernel that the launches do as traced at full size, at most 1: the smallest of
    the shares of inputs read, of outputs written, and of necessary matrix products."""
    least: float = 0.9
    """Share below which work is left out."""
    lacking: str = ""
    """The work of which least is done, in words; empty where all is done."""
    followed: float = 1.0
    """Share of the necessary bytes whose accesses could be followed; the others, which data decides, count as done."""
    outside: str = ""
    """An access outside of its tensor at full size, in words."""
    bound: Literal["memory", "compute", "latency"]
    notes: tuple[str, ...] = ()
    """Causes that slow the kernel down (occupancy, tail wave, spills, narrow loads), in words."""


class Estimated(Value):
    """A time estimated from the build and the workloads; nothing was measured."""

    kind: Literal["estimated"] = "estimated"
    device: str
    workloads: tuple[WorkloadEstimate, ...]

    @property
    def objective_ms(self) -> float:
        """Return the weighted geometric mean of the times over the main workloads, ms."""
        return mean_over(self.workloads, [w.ms for w in self.workloads])

    @property
    def roofline_share(self) -> float:
        """Return the geometric mean over the workloads of floor divided by time, 0 to 1."""
        return mean_over(self.workloads, [w.floor_ms / w.ms for w in self.workloads])


class WorkloadTiming(Value):
    """The measured time of one main workload."""

    workload: str
    median_ms: float
    """Median of the samples, ms."""
    low_ms: float
    """Lower end of the median's 95 % confidence interval, ms."""
    high_ms: float
    """Upper end of the median's 95 % confidence interval, ms."""
    samples_ms: tuple[float, ...]
    """Time of each call, ms, in the order of the calls."""
    processes: int = 1
    """Number of fresh processes that the samples come from: equally many samples of each, one process after another."""
    floor_ms: float
    """Roofline floor of the problem on this device, ms."""
    weight: float = 1.0
    """Weight in the objective."""
    wall_ms: float | None = None
    """Wall time of one replayed call with nothing queued before it, ms, the host's work included."""
    ratio: float | None = None
    """Median ratio of this time to the incumbent's, call by call within one interleaved batch; below 1 is faster.
    None where no incumbent was timed alongside."""
    ratio_low: float | None = None
    """Lower end of the ratio's 95 % confidence interval."""
    ratio_high: float | None = None
    """Upper end of the ratio's 95 % confidence interval."""
    compilations_ms: tuple[float, ...] = ()
    """Median of each compilation, ms, of a baseline that was compiled several times; this timing is the fastest's."""


class Measured(Value):
    """A time measured on a device."""

    kind: Literal["measured"] = "measured"
    device: str
    workloads: tuple[WorkloadTiming, ...]
    environment: Environment | None = None
    """Device, driver and versions that the time is valid for."""
    conditions: tuple[Conditions, ...] = ()
    """The device's state in each batch that the samples come from."""

    @property
    def ratio(self) -> float | None:
        """Return the geometric mean over the workloads of the ratios to the incumbent; None without an incumbent."""
        ratios = [w.ratio for w in self.workloads if w.ratio is not None]
        return mean_over(self.workloads, ratios) if len(ratios) == len(self.workloads) else None

    @property
    def compilations_ms(self) -> tuple[float, ...]:
        """Return the objective of each compilation, ms; empty where there was one compilation or none."""
        columns = zip(*(w.compilations_ms for w in self.workloads), strict=True)
        return tuple(mean_over(self.workloads, column) for column in columns)

    @property
    def objective_ms(self) -> float:
        """Return the geometric mean of the medians over the main workloads, ms."""
        return mean_over(self.workloads, [w.median_ms for w in self.workloads])

    @property
    def interval_ms(self) -> tuple[float, float]:
        """Return the ends of the medians' 95 % confidence intervals, ms: geometric means over the workloads."""
        lows, highs = [w.low_ms for w in self.workloads], [w.high_ms for w in self.workloads]
        return mean_over(self.workloads, lows), mean_over(self.workloads, highs)

    @property
    def roofline_share(self) -> float:
        """Return the geometric mean over the workloads of floor divided by time, 0 to 1."""
        return mean_over(self.workloads, [w.floor_ms / w.median_ms for w in self.workloads])


class Recorded(Value):
    """A time that a recording tells; nothing was measured here."""

    kind: Literal["recorded"] = "recorded"
    objective_ms: float
    """Geometric mean over the main workloads, ms."""
    interval_ms: tuple[float, float]
    """Ends of its 95 % confidence interval, ms."""
    roofline_share: float
    """Roofline floor divided by time, 0 to 1."""


class Launched(NamedTuple):
    """One launch of a call on a GPU."""

    cubin: str
    """Digest of the machine code."""
    grid: tuple[int, int, int]
    """Blocks in x, y and z."""


class Finals(Value):
    """Kernels and baselines verified and timed once more, side by side in fresh processes."""

    timings: dict[str, Measured]
    """Times by the name of the kernel or baseline; samples at equal positions were taken one after the other.  A kernel
    that did not pass is left out."""
    verdicts: dict[str, Verdict]
    """Verdicts by the name of the kernel."""
    launched: dict[str, dict[str, tuple[Launched, ...]]] = Field(default_factory=dict)
    """Launches of one call, in order, by the name of the kernel, then of the main workload."""


def times_by_workload(timing: Estimated | Measured) -> dict[str, float]:
    """Return the time of each workload by name, ms."""
    if isinstance(timing, Measured):
        return {time.workload: time.median_ms for time in timing.workloads}
    return {time.workload: time.ms for time in timing.workloads}


Timing = Annotated[Estimated | Measured, Field(discriminator="kind")]


class Weighted(Protocol):
    """A workload in the objective."""

    @property
    def weight(self) -> float:
        """Weight in the objective."""


def mean_over(workloads: Sequence[Weighted], values: Sequence[float]) -> float:
    """Return the geometric mean of one positive number of each workload, weighted by the workloads."""
    weights = [workload.weight for workload in workloads]
    logarithms = sum(weight * math.log(value) for weight, value in zip(weights, values, strict=True))
    return math.exp(logarithms / sum(weights))
