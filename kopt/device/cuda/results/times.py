"""Keep the samples of a chunk's timed calls, and make intervals, ratios and refusals of them."""

from __future__ import annotations

import statistics as stats
from dataclasses import dataclass, field

from kopt import statistics
from kopt.device.cuda.results.verdicts import Pair, Samples, Turn, failure
from kopt.device.hardware.measured import MeasuredDevice
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.environment import Conditions, Environment
from kopt.model.problem import Dtype, ProblemFacts, WorkloadFacts
from kopt.model.timing import Measured, WorkloadTiming, mean_over
from kopt.model.verdict import Failed
from kopt.roofline import compute_floor_ms, floor_ms, memory_floor_ms

SAME_TIMES = Pair(1.0, 1.0)
"""Times of a control where there is none: its ratio is 1."""
INCUMBENT = "incumbent"
"""Name of the subject that ratios refer to."""
REUSE = 1.05
"""Largest allowed ratio of the time on new inputs to the time on known ones, relative to the control's ratio."""
SUSPECT = 1.02
"""Median ratio, relative to the control's, above which more turns are taken."""
REUSE_CONFIDENCE = 0.999
"""Confidence of the interval that decides."""
FIRST_TURNS, MOST_TURNS = 5, 25
"""Turns of every kernel on new and known inputs, and of one that stays suspect."""
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
    turns: list[Turn] = field(default_factory=list)
    """Times on new and on known inputs, turn by turn."""
    control: str = ""
    """Name of the control (the incumbent or eager), which uses no earlier result again; empty where there is none.

    The ratio of its time on new inputs to that on known ones is the price of new inputs for any kernel.
    """
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

    def new_ratios(self, name: str) -> dict[str, list[float]]:
        """Return by workload and turn the time on new inputs over the time on known ones, relative to the control.

        Calls on new inputs are slower for many reasons (values, clocks, addresses, tables of pages), and these reasons
        slow the control down too.
        """
        return {
            facts.workload: [
                _new_ratio(turn[facts.workload][name]) / _new_ratio(turn[facts.workload].get(self.control, SAME_TIMES))
                for turn in self.turns
                if name in turn.get(facts.workload, {})
            ]
            for facts in self.facts.workloads
        }

    def suspect(self, name: str) -> bool:
        """Return whether the calls so far do not show that a kernel is as fast on new inputs as on known ones."""
        ratios = [values for values in self.new_ratios(name).values() if values]
        return not ratios or any(len(v) < FIRST_TURNS or stats.median(v) > SUSPECT for v in ratios)

    def reused(self, name: str) -> Failed | None:
        """Refuse a kernel that is slower on inputs that it has not been called with before; None when it is not.

        The whole interval of the median ratio has to lie above `REUSE`, on at least `MOST_TURNS` turns.
        """
        for workload, ratios in self.new_ratios(name).items():
            if len(ratios) < MOST_TURNS:
                continue
            interval = statistics.median_interval(ratios, confidence=REUSE_CONFIDENCE)
            pairs = [turn[workload][name] for turn in self.turns if name in turn.get(workload, {})]
            known_ms = stats.median(pair.known_ms for pair in pairs)
            if interval.low > REUSE and (interval.middle - 1.0) * known_ms > TICK_MS:
                new_ms = stats.median(pair.new_ms for pair in pairs)
                beside = f", relative to the same ratio of {self.control}" if self.control else ""
                return failure(
                    Phase.REUSE,
                    f"{new_ms:.4f} ms on {workload} on new inputs, {known_ms:.4f} ms on inputs that it was called with "
                    f"before: {interval.middle:.3f} ({interval.low:.3f} to {interval.high:.3f} in {len(pairs)} turns"
                    f"{beside}): what it computed in earlier calls is used again",
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


def _new_ratio(pair: Pair) -> float:
    return pair.new_ms / pair.known_ms


def _extend(samples: Samples, times: Samples) -> None:
    for workload, by_name in times.items():
        for name, values in by_name.items():
            samples.setdefault(workload, {}).setdefault(name, []).extend(values)


def least_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Return the roofline floor, ms, less the part of the output that may still lie in the L2 cache."""
    in_cache = min(facts.output_bytes, device.l2_bytes) / max(facts.bytes, 1)
    return max(memory_floor_ms(facts, device) * max(1.0 - in_cache, 0.0), compute_floor_ms(facts, device, dtype))
