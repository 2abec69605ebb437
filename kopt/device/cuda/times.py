"""Keep the samples of a chunk's timed calls, and make intervals, ratios and refusals of them."""

from __future__ import annotations

import statistics as stats
from dataclasses import dataclass, field

from kopt import statistics
from kopt.device.cuda.verdicts import Samples, failure
from kopt.device.hardware.measured import MeasuredDevice
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions, Environment
from kopt.model.problem import Dtype, ProblemFacts, WorkloadFacts
from kopt.model.timing import Measured, WorkloadTiming, geometric_mean
from kopt.model.verdict import Failed
from kopt.roofline import compute_floor_ms, floor_ms, memory_floor_ms

INCUMBENT = "incumbent"
"""Name of the subject that ratios refer to."""
REUSE = 1.15
"""Largest ratio allowed of the fastest call on new inputs to the median on known ones."""
TICK_MS = 0.003
"""Resolution of the clock, generously, ms: short calls differ by that much."""


@dataclass
class Times:
    """All times that were taken side by side on one device."""

    facts: ProblemFacts
    gpu: MeasuredDevice
    environment: Environment
    """Device and versions for which the times are valid."""
    samples: Samples = field(default_factory=dict)
    """Times of calls on inputs that rotate."""
    unseen: Samples = field(default_factory=dict)
    """Times of calls on inputs that no call had before."""
    wall_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """Wall time of one call, ms, by name and workload."""
    conditions: list[Conditions] = field(default_factory=list)
    """State of the device, one per stage."""
    processes: int = 1
    """Timer processes that the samples come from, one process after the other, with equally many calls in each."""

    def add(self, times: Samples) -> None:
        """Add the times of one stage."""
        _extend(self.samples, times)

    def add_unseen(self, times: Samples) -> None:
        """Add times on inputs that no call had before."""
        _extend(self.unseen, times)

    def forget(self, name: str) -> None:
        """Drop the samples of a subject whose times mean nothing."""
        for by_name in self.samples.values():
            by_name.pop(name, None)

    def names(self) -> list[str]:
        """Return the names of all subjects that were timed, sorted."""
        return sorted({name for times in self.samples.values() for name in times})

    def combined(self, name: str) -> list[float]:
        """Return the geometric mean over the workloads of the times at each position, ms."""
        columns = zip(*(by_name[name] for by_name in self.samples.values()), strict=True)
        return [geometric_mean(list(column)) for column in columns]

    def measured(self, name: str) -> Measured:
        """Compute medians, intervals and ratios of a subject that was timed on every workload."""
        return Measured(
            device=self.gpu.device.name,
            workloads=tuple(self._workload(name, facts) for facts in self.facts.workloads),
            environment=self.environment,
            conditions=tuple(self.conditions),
        )

    def under_floor(self, timing: Measured) -> Failed | None:
        """Refuse a time that this device cannot reach; None when the time is possible."""
        for measured, facts in zip(timing.workloads, self.facts.workloads, strict=True):
            least = least_ms(facts, self.gpu.device, self.facts.dtype)
            if measured.median_ms <= least:
                return failure(
                    Phase.ROOFLINE,
                    f"{measured.median_ms:.4f} ms on {measured.workload} is at or under {least:.4f} ms, which bytes "
                    "and operations of the problem take at this device's measured rates: the work was not done",
                )
        return None

    def unseen_shares(self) -> dict[str, dict[str, float]]:
        """Return the shortest time on new inputs over the median on known ones, by workload and name.

        A kernel that uses earlier results again is slow on all new inputs; a single call may be slow for any reason.
        """
        return {
            workload: {
                name: round(min(values) / stats.median(self.samples[workload][name]), 4)
                for name, values in by_name.items()
            }
            for workload, by_name in self.unseen.items()
        }

    def reused(self, name: str) -> Failed | None:
        """Refuse a kernel that is slow on inputs that it has not been called with before; None when it is not slow."""
        for workload, by_name in self.unseen.items():
            known_ms, new_ms = stats.median(self.samples[workload][name]), min(by_name.get(name, [0.0]))
            if new_ms > REUSE * known_ms + TICK_MS:
                return failure(
                    Phase.REUSE,
                    f"{known_ms:.4f} ms on {workload} on inputs that it was called with before, at least "
                    f"{new_ms:.4f} ms on new ones: what it computed in earlier calls is used again",
                )
        return None

    def _workload(self, name: str, facts: WorkloadFacts) -> WorkloadTiming:
        samples = self.samples[facts.workload]
        middle, low, high = statistics.median_interval(samples[name], processes=self.processes)
        ratio = None
        if INCUMBENT in samples and name != INCUMBENT:
            ratio = statistics.ratio_interval(samples[name], samples[INCUMBENT], processes=self.processes)
        return WorkloadTiming(
            workload=facts.workload,
            median_ms=middle,
            low_ms=low,
            high_ms=high,
            samples_ms=tuple(samples[name]),
            processes=self.processes,
            floor_ms=floor_ms(facts, self.gpu.device, self.facts.dtype),
            wall_ms=self.wall_ms.get(name, {}).get(facts.workload),
            ratio=ratio.middle if ratio else None,
            ratio_low=ratio.low if ratio else None,
            ratio_high=ratio.high if ratio else None,
        )


def _extend(samples: Samples, times: Samples) -> None:
    for workload, by_name in times.items():
        for name, values in by_name.items():
            samples.setdefault(workload, {}).setdefault(name, []).extend(values)


def least_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Return the roofline floor, ms, less the part of the output that may still lie in the L2 cache."""
    in_cache = min(facts.output_bytes, device.l2_bytes) / max(facts.bytes, 1)
    return max(memory_floor_ms(facts, device) * max(1.0 - in_cache, 0.0), compute_floor_ms(facts, device, dtype))
