"""Define the interface between the search and the judges of its kernels: one record of functions for each backend.

A rule's script loads the backend that its settings name and calls its functions; nothing else in the workflow asks
which backend the run has.  A backend's module imports at its top only what the record needs, and each function imports
the rest when it is called, so that a rule's code digest covers only the functions of the backend that the rule calls.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import Build
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Profile
from kopt.model.judged import Judged
from kopt.model.kernel import Kernel
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.timing import Finals
from kopt.model.trial import BuildRow, RankRow, SelectionRow
from kopt.store import Store


class ProfiledParent(NamedTuple):
    """The profile of one parent, and the table of counters that it was made from."""

    profile: Profile | None
    """The profile; None from a dry backend."""
    counters: str = ""
    """The table that Nsight Compute printed, as CSV; empty when no counter was read."""


class Rivals(NamedTuple):
    """The earlier kernels that new ones are judged beside."""

    parents: Sequence[SelectionRow] = ()
    """The selection of the round before; empty for the seed."""
    finalists: int = 0
    """Number of the pool's fastest kernels that are ranked, where the judge has all new kernels of a round's first
    attempt before it, so that its race can rank the pool; else 0."""

    @property
    def incumbent(self) -> str:
        """The digest of the fastest parent, which is the kernel to beat; empty when there is no parent."""
        return min(self.parents, key=lambda row: row.time_ms).kernel if self.parents else ""


Builder = Callable[[Sequence[Kernel]], Mapping[int, Build]]
"""Build kernels; the results are keyed by position."""

Judge = Callable[[Sequence[BuildRow]], Mapping[int, Judged]]
"""Judge the kernels of rows; the results are keyed by slot."""

Profiler = Callable[[Sequence[SelectionRow]], Sequence[ProfiledParent]]
"""Profile parents; the results are in their order."""

Diagnoser = Callable[[SelectionRow, Profile | None], Diagnosis]
"""Name the bottlenecks of one parent, and a direction to try against each."""

Classifier = Callable[[Sequence[RankRow]], Mapping[str, TechniqueVector | None]]
"""Classify kernels of the pool; the results are keyed by kernel digest, None where the classifier gave no answer."""


class BuildKernels(Protocol):
    """Make the builder of a problem's kernels."""

    def __call__(self, target: ProblemOnTarget, *, workers: int, seconds: float) -> Builder:
        """Take the number of processes, and the wall-clock limit of one kernel in seconds."""


class CompileFurther(Protocol):
    """Compile kernels that have a build for the workloads that the judge runs beside the main ones, into the store."""

    def __call__(self, kernels: Sequence[Kernel], target: ProblemOnTarget, *, workers: int, seconds: float) -> None:
        """Take the number of processes, and the wall-clock limit of one of them in seconds."""


class JudgeKernels(Protocol):
    """Make the judge of a problem's kernels."""

    def __call__(self, target: ProblemOnTarget, options: JudgeOptions, *, rivals: Rivals, workers: int) -> Judge:
        """Take the earlier kernels to judge beside, and the number of processes."""


class RankPool(Protocol):
    """Order the pool by time; a backend that measures verifies and times its fastest kernels side by side."""

    def __call__(
        self, pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions | None, *, round: int
    ) -> list[RankRow]:
        """Take the pool in order of the times measured or estimated so far."""


class ProfileParents(Protocol):
    """Make the profiler of a problem's parents."""

    def __call__(self, target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
        """Take the wall-clock limit of profiling one parent in seconds."""


def _no_names(store: Store) -> Mapping[str, str]:
    return {}


def _installed_triton(store: Store) -> str:
    return importlib.metadata.version("triton")


def _estimates_nothing(build: str, target: ProblemOnTarget) -> NoReturn:
    raise NotImplementedError("this backend estimates nothing for the screen: give its record an estimate")


def _compiles_nothing_further(
    kernels: Sequence[Kernel], target: ProblemOnTarget, *, workers: int, seconds: float
) -> None:
    """Compile nothing beside the builds: the judge compiles nothing."""


def _measures_nothing(*arguments: object, **named: object) -> NoReturn:
    raise NotImplementedError("this backend measures nothing: give its record device, baseline and outcome")


@dataclass(frozen=True)
class Backend:
    """One way to build, judge, time and profile kernels."""

    name: str
    """Name of the setting `judge`."""
    builds: bool
    """Kernels are compiled, so that there is PTX to classify, to estimate from and to profile."""
    chunked: bool
    """Several jobs judge a round's kernels; else one job does, with all cores."""
    facts: Callable[[Problem, Store], ProblemFacts]
    """Count the bytes that the problem's workloads must move, and the operations that they must compute."""
    build: BuildKernels
    judge: JudgeKernels
    rank: RankPool
    profile: ProfileParents
    directions: Callable[[ProblemOnTarget, int], Diagnoser]
    """Make the diagnoser by rules; takes the number of directions."""
    techniques: Callable[[Sequence[Technique], Device, Store], Classifier]
    """Make the classifier by facts."""
    device: Callable[[Store, float], Device] = _measures_nothing
    """Describe the run's GPU and measure its rates; takes the store and the longest wait for a GPU in seconds."""
    baseline: Callable[[ProblemOnTarget, JudgeOptions, Sequence[str]], Finals] = _measures_nothing
    """Measure the seed kernel and the baselines, side by side."""
    outcome: Callable[[Sequence[SelectionRow], ProblemOnTarget, JudgeOptions, Sequence[str]], Outcome] = (
        _measures_nothing
    )
    """Measure the best of the last parents, the seed kernel and the baselines, side by side in fresh processes."""
    compile_further: CompileFurther = _compiles_nothing_further

    replays: bool = False
    """Nothing is built or measured: all comes from a recording in the store, and no job asks for a GPU."""
    build_names: Callable[[Store], Mapping[str, str]] = _no_names
    """Return the names of builds by kernel, where the store does not keep builds under keys of this machine."""
    estimate: Callable[[str, ProblemOnTarget], float] = _estimates_nothing
    """Estimate the time, ms, of the build with this name, for the screen of a backend that builds and measures."""
    triton: Callable[[Store], str] = _installed_triton
    """Return the version of Triton that prompts tell."""

    @property
    def measures(self) -> bool:
        """Whether the run has times of GPUs, measured or recorded, and describes its own device."""
        return self.device is not _measures_nothing

    @property
    def leases(self) -> bool:
        """Whether jobs that measure ask for a GPU."""
        return self.measures and not self.replays

    @property
    def keeps_builds(self) -> bool:
        """Whether the store keeps the builds under keys of this machine, and looks them up there."""
        return self.builds and not self.replays

    def evaluate_threads(self, cores: int, workers_per_gpu: int) -> int:
        """Return the cores of one evaluate job: all for the only job, one for each contestant on a GPU, else one."""
        if not self.chunked:
            return cores
        return min(cores, workers_per_gpu) if self.leases else 1

    def chunks(self, slots: int, chunk_size: int, attempt: int) -> int:
        """Count the evaluate jobs of an attempt; a chunk of repairs has eight times the size, since repairs are few."""
        return -(-slots // (chunk_size * (8 if attempt else 1))) if self.chunked else 1


def load_backend(name: str) -> Backend:
    """Load a backend by the name of its module in `kopt.backends`."""
    backend = importlib.import_module(f"kopt.backends.{name}").BACKEND
    assert isinstance(backend, Backend)
    return backend
