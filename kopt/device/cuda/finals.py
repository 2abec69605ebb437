"""Measure finalists and baselines to the end, side by side, in several fresh timer processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from kopt.device.baselines.compilations import MODES, Compilations, Subject, fastest
from kopt.device.baselines.compiler import load_compiler
from kopt.device.cuda.judge_processes import JudgeProcesses
from kopt.device.cuda.results.chunk_results import ChunkResults
from kopt.device.cuda.results.verdicts import VerificationOutcome
from kopt.device.cuda.timing.batch import TimedBatch
from kopt.device.cuda.timing.new_inputs import NewInputs
from kopt.device.cuda.timing.tolerant_timing import TolerantTiming
from kopt.device.hardware.measured import MeasuredDevice
from kopt.model.base import Value
from kopt.model.environment import Conditions
from kopt.model.problem import Problem
from kopt.model.timing import Finals
from kopt.neutral import one_line
from kopt.sandbox.service import CallFailed
from kopt.store import Store

log = logging.getLogger(__name__)

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

    def prepare(self) -> None:
        """Import what this process, and those that it forks, need to compile baselines: no GPU is used.

        Raises:
            DeviceError: the imports have used CUDA, so that no fork could.
        """
        if any(name in MODES for name in self.baselines):
            load_compiler()


@dataclass
class FinalMeasurement:
    """Measure verified finalists and baselines."""

    processes: JudgeProcesses
    results: ChunkResults
    plan: FinalsPlan
    read_conditions: Callable[[], Conditions]
    """Reads the state of the device."""
    store: Store | None = None
    """Keeps compilations of baselines."""
    new_inputs: NewInputs = field(init=False)
    failed: set[str] = field(default_factory=set)
    """Names of the subjects whose compilation failed, here or ahead of the measurement."""

    def __post_init__(self) -> None:
        self.new_inputs = NewInputs(self.results)

    def measure(self, outcomes: Mapping[str, VerificationOutcome]) -> Finals:
        """Time the finalists that are right and the baselines; return all times and verdicts.

        Args:
            outcomes: outcomes of verification, by name.
        """
        for name, outcome in outcomes.items():
            self.results.note_verification(name, outcome)
        with TemporaryDirectory(prefix="kopt-compiled-") as folder:
            compilations = Compilations(self.processes.problem, self.results.times.gpu, self.store, Path(folder))
            subjects = compilations.subjects(self.plan.baselines)
            missing = compilations.missing(subjects)
            for turn in range(self.plan.processes):
                batch = self.processes.begin_timing(self.results.times.gpu.device.memory_bytes, turn=turn)
                for subject in missing if turn == 0 else ():
                    if subject.name in self.failed:
                        continue
                    compilations.lend_kernels(subject)
                    with self._failure_noted(subject):
                        compilations.keep(subject, batch.compile(subject, COMPILE_S))
                self._time(batch, subjects, turn, -(-self.plan.repeat // self.plan.processes))
                self.processes.end_timing()
        return self._finals([subject for subject in subjects if subject.name not in self.failed])

    def _time(self, batch: TimedBatch, subjects: Sequence[Subject], turn: int, launches: int) -> None:
        """Time everything in the batch's fresh process but the baselines that failed; note those that fail now."""
        recorded, times = self.results.recorded, self.results.times
        timing = TolerantTiming(batch, self.results, self.plan.warmup, self.read_conditions)
        timing.admit()
        for subject in subjects:
            if subject.name not in self.failed:
                with self._failure_noted(subject):
                    batch.add_baseline(subject, COMPILE_S)
        names = [*recorded, *(subject.name for subject in subjects if subject.name not in self.failed)]
        if names:
            timing.warm(names)
            timing.time_stage([name for name in names if name not in self.results.verdicts], launches, 0)
            times.processes = turn + 1
            timing.verify_kept(list(recorded))
            self.new_inputs.time(timing, list(recorded))

    def _finals(self, subjects: Sequence[Subject]) -> Finals:
        results, times = self.results, self.results.times
        self.new_inputs.refuse()
        left_out = {*results.verdicts, *self.failed}
        timings = {name: times.measured(name) for name in times.names() if name not in left_out}
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
        return Finals(timings=fastest(timings, subjects), verdicts=verdicts, launched=launched)

    @contextmanager
    def _failure_noted(self, subject: Subject) -> Iterator[None]:
        """Note, in the block, that `torch.compile` fails on the reference: this costs the baseline, not the search."""
        try:
            yield
        except CallFailed as error:
            if not subject.folder:
                raise  # PyTorch itself fails
            self.failed.add(subject.name)
            _log_left_out(subject, error)


@dataclass(frozen=True)
class CompiledAhead:
    """Compile baselines one after the other; the device can be given back between two: max-autotune tunes for long."""

    plan: FinalsPlan
    store: Store
    """Keeps the compilations."""
    tried: set[str] = field(default_factory=set)
    """Names of the subjects that were compiled, or failed."""
    failed: set[str] = field(default_factory=set)
    """Names of the subjects whose compilation failed."""

    def compile_next(self, problem: Problem, gpu: MeasuredDevice) -> bool:
        """Compile the next baseline that the store lacks, and keep it; return False where none is left.

        All compilations of a baseline have one folder, so that later ones are lent the kernels of the first.

        Args:
            problem: whose reference is compiled.
            gpu: the device at hand.
        """
        with TemporaryDirectory(prefix="kopt-compiled-") as folder:
            compilations = Compilations(problem, gpu, self.store, Path(folder))
            missing = compilations.missing(compilations.subjects(self.plan.baselines))
            left = [one for one in missing if one.name not in self.tried]
            if not left:
                return False
            with JudgeProcesses(problem, calibrated=True, judges=False) as processes:
                batch = processes.begin_compiling()
                for subject in left:
                    if subject.baseline == left[0].baseline:
                        self._compile(subject, compilations, batch)
        return True

    def _compile(self, subject: Subject, compilations: Compilations, batch: TimedBatch) -> None:
        self.tried.add(subject.name)
        compilations.lend_kernels(subject)
        try:
            compilations.keep(subject, batch.compile(subject, COMPILE_S))
        except CallFailed as error:
            self.failed.add(subject.name)
            _log_left_out(subject, error)


def _log_left_out(subject: Subject, error: CallFailed) -> None:
    reason = one_line(str(error), 300)
    log.warning("torch.compile (%s) fails on the reference and is left out: %s", subject.name, reason)
