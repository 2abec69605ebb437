"""Keep the samples of a chunk's timed calls, and make intervals, ratios and refusals of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from kopt import statistics
from kopt.device.cuda.results.verdicts import failure
from kopt.device.hardware.measured import MeasuredDevice
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions, Environment
from kopt.model.problem import Dtype, ProblemFacts, WorkloadFacts
from kopt.model.timing import Measured, WorkloadTiming, mean_over
from kopt.model.verdict import Failed
from kopt.roofline import compute_floor_ms, floor_ms, memory_floor_ms

Samples = dict[str, dict[str, list[float]]]
"""Times of single calls, ms, by workload and name of the subject."""
INCUMBENT = "incumbent"
"""Name of the subject that ratios refer to."""


@dataclass
class Times:
    """All times that were taken side by side on one device."""

    facts: ProblemFacts
    gpu: MeasuredDevice
    environment: Environment
    """Device and versions for which the times are valid."""
    samples: Samples = field(default_factory=dict)
    """Times of calls on inputs that rotate."""
    wall_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """Wall time of one call, ms, by name and workload."""
    conditions: list[Conditions] = field(default_factory=list)
    """State of the device, one per stage."""
    processes: int = 1
    """Timer processes that the samples come from, one process after the other, with equally many calls in each."""

    def add(self, times: Samples) -> None:
        """Add the times of one stage."""
        _extend(self.samples, times)

    def forget(self, name: str) -> None:
        """Drop the samples of a subject whose times mean nothing."""
        for by_name in self.samples.values():
            by_name.pop(name, None)

    def names(self) -> list[str]:
        """Return the names of all subjects that were timed, sorted."""
        return sorted({name for times in self.samples.values() for name in times})

    def combined(self, name: str) -> list[float]:
        """Return the geometric mean over the workloads of the times at each position, ms."""
        workloads = [facts for facts in self.facts.workloads if facts.workload in self.samples]
        columns = zip(*(self.samples[facts.workload][name] for facts in workloads), strict=True)
        return [mean_over(workloads, column) for column in columns]

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
            weight=facts.weight,
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
