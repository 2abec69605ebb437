"""What a chunk's timed calls come to: samples by workload and subject, intervals, ratios, times that cannot be."""

from __future__ import annotations

import statistics as stats
from dataclasses import dataclass, field

from kopt import statistics
from kopt.device.cuda.verdicts import Samples, failure
from kopt.device.hardware.environment import environment
from kopt.device.hardware.measured import MeasuredDevice
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions
from kopt.model.problem import Dtype, ProblemFacts, WorkloadFacts
from kopt.model.timing import Measured, WorkloadTiming, geometric_mean
from kopt.model.verdict import Failed
from kopt.roofline import compute_floor_ms, floor_ms, memory_floor_ms

INCUMBENT = "incumbent"
"""Name of the subject that ratios are to."""
REUSE = 1.15
"""How much longer the quickest call may take on inputs that it has not been called with before."""
TICK_MS = 0.003
"""Resolution of the clock, with room: short calls differ by that much."""


@dataclass
class Times:
    """Everything that was timed side by side on one device."""

    facts: ProblemFacts
    found: MeasuredDevice
    samples: Samples = field(default_factory=dict)
    unseen: Samples = field(default_factory=dict)
    """The same of calls on inputs that no call had before."""
    wall_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """Wall time of one call by name and workload."""
    conditions: list[Conditions] = field(default_factory=list)
    """State of the device, one per stage."""
    processes: int = 1
    """Timer processes that the samples come from, equally many calls of each, one process after the other."""

    def add(self, times: Samples) -> None:
        """Add the calls of one stage."""
        _extend(self.samples, times)

    def add_unseen(self, times: Samples) -> None:
        """Add calls on inputs that no call had before."""
        _extend(self.unseen, times)

    def forget(self, name: str) -> None:
        """Leave a subject out of what was timed: its times mean nothing."""
        for by_name in self.samples.values():
            by_name.pop(name, None)

    def names(self) -> list[str]:
        """Whatever was timed, in order of name."""
        return sorted({name for times in self.samples.values() for name in times})

    def combined(self, name: str) -> list[float]:
        """One time per position: the geometric mean over the workloads, ms."""
        columns = zip(*(by_name[name] for by_name in self.samples.values()), strict=True)
        return [geometric_mean(list(column)) for column in columns]

    def measured(self, name: str) -> Measured:
        """Medians, intervals and ratios of a subject that was timed on every workload."""
        return Measured(
            device=self.found.device.name,
            workloads=tuple(self._workload(name, facts) for facts in self.facts.workloads),
            environment=environment(self.found.device.name, self.found.uuid, self.found.driver),
            conditions=tuple(self.conditions),
        )

    def under_floor(self, timing: Measured) -> Failed | None:
        """The verdict on a time that no device can reach; None when it can."""
        for one, facts in zip(timing.workloads, self.facts.workloads, strict=True):
            least = least_ms(facts, self.found.device, self.facts.dtype)
            if one.median_ms <= least:
                return failure(
                    Phase.ROOFLINE,
                    f"{one.median_ms:.4f} ms on {one.workload} is at or under {least:.4f} ms, which bytes and "
                    "operations of the problem take at this device's measured rates: the work was not done",
                )
        return None

    def unseen_shares(self) -> dict[str, dict[str, float]]:
        """Shortest time on new inputs over the median on known ones, by workload and name.

        Who must compute anew is slow on each of them; a single call may be slow for any reason.
        """
        return {
            workload: {
                name: round(min(values) / stats.median(self.samples[workload][name]), 4)
                for name, values in by_name.items()
            }
            for workload, by_name in self.unseen.items()
        }

    def reused(self, name: str) -> Failed | None:
        """The verdict on a kernel that is slow on inputs it has not been called with before; None when it is not."""
        for workload, by_name in self.unseen.items():
            known, new = stats.median(self.samples[workload][name]), min(by_name.get(name, [0.0]))
            if new > REUSE * known + TICK_MS:
                return failure(
                    Phase.REUSE,
                    f"{known:.4f} ms on {workload} on inputs that it was called with before, at least {new:.4f} ms on "
                    "new ones: what it computed in earlier calls is used again",
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
            floor_ms=floor_ms(facts, self.found.device, self.facts.dtype),
            wall_ms=self.wall_ms.get(name, {}).get(facts.workload),
            ratio=ratio.middle if ratio else None,
            ratio_low=ratio.low if ratio else None,
            ratio_high=ratio.high if ratio else None,
        )


def _extend(mine: Samples, times: Samples) -> None:
    for workload, by_name in times.items():
        for name, values in by_name.items():
            mine.setdefault(workload, {}).setdefault(name, []).extend(values)


def least_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """The roofline floor with the output left out as far as the L2 cache can hold it: it is written back later."""
    in_cache = min(facts.output.bytes, device.l2_bytes) / facts.bytes
    return max(memory_floor_ms(facts, device) * (1.0 - in_cache), compute_floor_ms(facts, device, dtype))
