"""How long a kernel takes: measured, or estimated, which it says."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from kopt.model.base import Value
from kopt.model.environment import Conditions, Environment
from kopt.model.verdict import Verdict


class WorkloadEstimate(Value):
    """The estimate of one main workload, with its parts in milliseconds."""

    workload: str
    ms: float
    memory_ms: float
    """Time to move the bytes that the kernel moves at the rate it can reach."""
    compute_ms: float
    launch_ms: float
    """Launch overhead and host operations."""
    floor_ms: float
    """Roofline floor of the problem on this device: no kernel is faster."""
    done: float = 1.0
    """Share of the problem's work that the launches do as traced at full size, at most 1: the least of inputs' bytes
    read, matrix products, and the time before it was raised to the floor over the floor."""
    bound: Literal["memory", "compute", "latency"]
    notes: tuple[str, ...] = ()
    """What the estimate held against the kernel (occupancy, tail wave, spills, narrow loads), in words."""


class Estimated(Value):
    """A time worked out from the build and the workload; nothing was measured."""

    kind: Literal["estimated"] = "estimated"
    device: str
    workloads: tuple[WorkloadEstimate, ...]

    @property
    def objective_ms(self) -> float:
        """Geometric mean over the main workloads, ms."""
        return geometric_mean([w.ms for w in self.workloads])

    @property
    def roofline_share(self) -> float:
        """Geometric mean over the workloads of floor over time, 0 to 1."""
        return geometric_mean([w.floor_ms / w.ms for w in self.workloads])


class WorkloadTiming(Value):
    """The measurement of one main workload."""

    workload: str
    median_ms: float
    low_ms: float
    """Lower end of the 95 % confidence interval of the median."""
    high_ms: float
    samples_ms: tuple[float, ...]
    processes: int = 1
    """Fresh processes that the samples come from, equally many of each, one process after the other."""
    floor_ms: float
    wall_ms: float | None = None
    """Wall time of one replayed call with nothing before it, the host's work included."""
    ratio: float | None = None
    """Median ratio of this time to the incumbent's, call by call within one interleaved batch; under 1 is faster."""
    ratio_low: float | None = None
    """Lower end of the ratio's 95 % confidence interval."""
    ratio_high: float | None = None


class Measured(Value):
    """A time measured on a device."""

    kind: Literal["measured"] = "measured"
    device: str
    workloads: tuple[WorkloadTiming, ...]
    environment: Environment | None = None
    """What the time is valid for."""
    conditions: tuple[Conditions, ...] = ()
    """The device's state in each batch that the samples come from."""

    @property
    def ratio(self) -> float | None:
        """Geometric mean over the workloads of the ratios to the incumbent; None when there was none."""
        ratios = [w.ratio for w in self.workloads if w.ratio is not None]
        return geometric_mean(ratios) if len(ratios) == len(self.workloads) else None

    @property
    def objective_ms(self) -> float:
        """Geometric mean of the medians over the main workloads, ms."""
        return geometric_mean([w.median_ms for w in self.workloads])

    @property
    def interval_ms(self) -> tuple[float, float]:
        """Geometric means over the workloads of the ends of the medians' 95 % intervals, ms."""
        lows, highs = [w.low_ms for w in self.workloads], [w.high_ms for w in self.workloads]
        return geometric_mean(lows), geometric_mean(highs)

    @property
    def roofline_share(self) -> float:
        """Geometric mean over the workloads of floor over time, 0 to 1."""
        return geometric_mean([w.floor_ms / w.median_ms for w in self.workloads])


class Finals(Value):
    """Kernels and baselines verified and timed anew, side by side in fresh processes."""

    timings: dict[str, Measured]
    """By name: samples at equal positions were taken one after the other.  What did not pass is not there."""
    verdicts: dict[str, Verdict]
    """By name, of the kernels."""


Timing = Annotated[Estimated | Measured, Field(discriminator="kind")]


def geometric_mean(values: list[float]) -> float:
    """Geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))
