"""Measure finalists and baselines to the end, side by side, in several fresh timer processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kopt.device.cuda.chunk_results import ChunkResults
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.tolerant_timing import TolerantTiming
from kopt.device.cuda.verdicts import VerificationOutcome
from kopt.model.base import Value
from kopt.model.environment import Conditions
from kopt.model.timing import Finals

BASELINES = ("eager", "compile", "max-autotune")
COMPILE_S = 580.0
"""Limit of compiling one baseline, s."""


class FinalsPlan(Value):
    """Options of a final measurement."""

    baselines: tuple[str, ...] = BASELINES
    """`eager`, `compile`, `max-autotune`."""
    warmup: int = 25
    """Untimed calls of each subject."""
    repeat: int = 100
    """Timed calls of each subject, over all processes."""
    processes: int = 4
    """Timer processes, one after the other."""


@dataclass
class FinalMeasurement:
    """Measure verified finalists and baselines."""

    processes: JudgeProcesses
    results: ChunkResults
    plan: FinalsPlan
    read_conditions: Callable[[], Conditions]
    """Reads the state of the device."""

    def measure(self, outcomes: Mapping[str, VerificationOutcome]) -> Finals:
        """Time the finalists that are right and the baselines; return all times and verdicts.

        Args:
            outcomes: outcomes of verification, by name.
        """
        for name, outcome in outcomes.items():
            self.results.note_verification(name, outcome)
        for turn in range(self.plan.processes):
            self._time_in_fresh_process(turn, -(-self.plan.repeat // self.plan.processes))
        return self._finals()

    def _time_in_fresh_process(self, turn: int, launches: int) -> None:
        recorded, times = self.results.recorded, self.results.times
        batch = self.processes.begin_timing(times.gpu.device.memory_bytes, turn=turn)
        timing = TolerantTiming(batch, self.results, self.plan.warmup, self.read_conditions)
        timing.admit()
        for name in self.plan.baselines:
            batch.add_baseline(name, COMPILE_S)
        names = [*recorded, *self.plan.baselines]
        if names:
            timing.warm(names)
            timing.time_stage([name for name in names if name not in self.results.verdicts], launches, 0)
            times.processes = turn + 1
            timing.verify_kept(list(recorded))
            timing.time_new_inputs(list(recorded))
        self.processes.end_timing()

    def _finals(self) -> Finals:
        results, times = self.results, self.results.times
        results.refuse_reuse()
        timings = {name: times.measured(name) for name in times.names() if name not in results.verdicts}
        for name in list(results.recorded):
            refusal = times.under_floor(timings[name])
            if refusal is not None:
                results.fail(name, refusal)
                del timings[name]
        verdicts = {name: results.verdict(name) for name in (*results.recorded, *results.verdicts)}
        launched = {
            name: {program.workload: program.launches for program in recorded.programs}
            for name, recorded in results.recorded.items()
        }
        return Finals(timings=timings, verdicts=verdicts, launched=launched)
