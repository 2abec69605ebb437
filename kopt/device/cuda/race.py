"""Race the kernels of a chunk: time them in stages, and drop slow ones after each stage."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median

from pydantic import Field

from kopt import statistics
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.results.chunk_results import ChunkResults
from kopt.device.cuda.results.times import INCUMBENT
from kopt.device.cuda.results.verdicts import VerificationOutcome
from kopt.device.cuda.timing.new_inputs import NewInputs
from kopt.device.cuda.timing.tolerant_timing import TolerantTiming
from kopt.model.base import Value
from kopt.model.environment import Conditions
from kopt.model.timing import Measured
from kopt.model.verdict import Verdict

log = logging.getLogger(__name__)

AFFORDABLE_S = 1.0
"""Time that the calls to come may take for which no kernel is dropped: a dropped kernel has a rough time, s."""
BETWEEN_MS = 0.5
"""Rough time from one timed call to the next, in which memory is filled and the L2 cache flushed, ms."""


class Race(Value):
    """Options of a race: how many calls are timed, and how many kernels stay."""

    first: int = 5
    """Timed calls of each subject in the first stage."""
    repeat: int = 100
    """Timed calls of a subject that stays to the end."""
    warmup: int = 3
    """Untimed calls of every subject."""
    keep: int = 4
    """Candidates that are timed to the end at least."""


class JudgedKernel(Value):
    """The verdict on one kernel, and its time."""

    verdict: Verdict
    timing: Measured | None = None
    """Set when the kernel passed."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Time that its contestant spent in each phase, s."""


@dataclass
class ChunkRace:
    """Judge verified kernels: race them, drop those that break or are slow, give each a verdict and a timing."""

    processes: JudgeProcesses
    results: ChunkResults
    plan: Race
    read_conditions: Callable[[], Conditions]
    """Reads the state of the device."""
    new_inputs: NewInputs = field(init=False)

    def __post_init__(self) -> None:
        self.new_inputs = NewInputs(self.results)

    def judge(self, outcomes: Mapping[str, VerificationOutcome]) -> Iterator[tuple[str, JudgedKernel]]:
        """Race the kernels that are right; yield (name, judged), first for kernels that failed verification.

        Args:
            outcomes: outcomes of verification, by name; nothing is yielded for the incumbent.
        """
        for name, outcome in outcomes.items():
            self.results.note_verification(name, outcome)
        failed = dict(self.results.verdicts)
        for name, verdict in failed.items():
            if name == INCUMBENT:
                log.warning("the incumbent did not pass: no ratios (%s)", verdict)
            else:
                yield name, JudgedKernel(verdict=verdict)
        if self.results.recorded:
            self._race()
        for name in outcomes:
            if name not in failed and name != INCUMBENT:
                yield name, self._judged(name)

    def _race(self) -> None:
        recorded, times = self.results.recorded, self.results.times
        batch = self.processes.begin_timing(times.gpu.device.memory_bytes, turn=0)
        timing = TolerantTiming(batch, self.results, self.plan.warmup, self.read_conditions)
        timing.admit()
        running, done = list(recorded), 0
        for launches in statistics.stages(self.plan.first, self.plan.repeat):
            running = [name for name in running if name in recorded]
            if not set(running) - {INCUMBENT}:
                break
            if done == 0:
                timing.warm(running)
                running = [name for name in running if name in recorded]
            timing.time_stage(running, launches, done)
            done += launches
            timing.verify_kept(list(recorded))
            running = self._survivors(running, self.plan.repeat - done)
        timed = set(times.names())
        self.new_inputs.time(timing, [name for name in running if name in timed])
        self.new_inputs.refuse()
        self.processes.end_timing()

    def _survivors(self, running: Sequence[str], calls: int) -> list[str]:
        """Choose the subjects of the next stage: the incumbent and the fastest candidates.

        All stay, or as many of the fastest, where the calls that each has yet to make take little time.
        """
        combined = {name: self.results.times.combined(name) for name in running if name in self.results.recorded}
        racing = {name: values for name, values in combined.items() if name != INCUMBENT}
        affordable = sum(total <= AFFORDABLE_S for total in accumulate(sorted(calls * self._call_s(n) for n in racing)))
        staying = list(statistics.survivors(racing, keep=max(self.plan.keep, affordable))) if racing else []
        return [INCUMBENT] * (INCUMBENT in combined) + staying

    def _call_s(self, name: str) -> float:
        """Return the rough time that a call on each workload takes, s."""
        return sum(median(times[name]) + BETWEEN_MS for times in self.results.times.samples.values()) / 1e3

    def _judged(self, name: str) -> JudgedKernel:
        if name in self.results.verdicts:
            return JudgedKernel(verdict=self.results.verdicts[name])
        timing, seconds = self.results.times.measured(name), dict(self.results.recorded[name].seconds)
        refusal = self.results.times.under_floor(timing)
        if refusal is not None:
            return JudgedKernel(verdict=refusal, seconds=seconds)
        return JudgedKernel(verdict=self.results.verdict(name), timing=timing, seconds=seconds)
