"""Build and judge nothing: times are made up from digests, so that the DAG can be tried in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.artifact import digest, text_digest
from kopt.backends.backend import Backend, Builder, Classifier, Diagnoser, Judge, ProfiledParent, Profiler, Rivals
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import Build, Built
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Direction, Profile
from kopt.model.judged import Judged, JudgedRight
from kopt.model.kernel import Kernel
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.timing import Estimated, WorkloadEstimate
from kopt.model.trial import BuildRow, RankRow, SelectionRow
from kopt.model.verdict import Passed
from kopt.store import Store


def facts(problem: Problem, store: Store) -> ProblemFacts:
    """Return no facts of the workloads: counting their bytes and operations would need torch."""
    return ProblemFacts(dtype=problem.dtype, workloads=())


def build(target: ProblemOnTarget, *, workers: int, seconds: float) -> Builder:
    """Make a builder that compiles nothing; the fingerprint is the source's digest."""

    def builder(kernels: Sequence[Kernel]) -> Mapping[int, Build]:
        return {
            index: Built(fingerprint=text_digest(kernel.source), workloads=()) for index, kernel in enumerate(kernels)
        }

    return builder


def judge(target: ProblemOnTarget, options: JudgeOptions, *, rivals: Rivals, workers: int) -> Judge:
    """Make a judge that passes every kernel, with a made-up time."""

    def judge_rows(rows: Sequence[BuildRow]) -> Mapping[int, Judged]:
        passed = Passed(judge="dry", checks=())
        return {row.slot: JudgedRight(verdict=passed, timing=made_up_time(row.kernel, target.device)) for row in rows}

    return judge_rows


def made_up_time(kernel: str, device: Device) -> Estimated:
    """Make up a time between 1 and 2 ms from the kernel's digest."""
    ms = 1.0 + int(digest(kernel)[:8], 16) / 2**32
    workload = WorkloadEstimate(
        workload="dry", ms=ms, memory_ms=ms, compute_ms=0.0, launch_ms=0.0, floor_ms=0.5, bound="memory",
        notes=("made up by the dry judge",),
    )  # fmt: skip
    return Estimated(device=device.name, workloads=(workload,))


def rank(
    pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions | None, *, round: int
) -> list[RankRow]:
    """Return the pool unchanged: it is in order of the made-up times."""
    return list(pool)


def profile(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make a profiler that returns no profile."""
    return lambda rows: [ProfiledParent(None)] * len(rows)


def directions(target: ProblemOnTarget, count: int) -> Diagnoser:
    """Make a diagnoser that numbers its directions."""
    numbered = tuple(
        Direction(rank=rank, bottleneck=f"dry_{rank}", cause="none: a dry run", direction="none: a dry run")
        for rank in range(1, count + 1)
    )

    def diagnose(row: SelectionRow, profile: Profile | None) -> Diagnosis:
        return Diagnosis(kernel=row.kernel, source="dry", directions=numbered)

    return diagnose


def techniques(taxonomy: Sequence[Technique], device: Device, store: Store) -> Classifier:
    """Make a classifier that finds no technique in any kernel."""
    from kopt.techniques.taxonomy import taxonomy_digest

    nothing = TechniqueVector(taxonomy=taxonomy_digest(tuple(taxonomy)), techniques=(), classifier="dry")
    return lambda rows: dict.fromkeys((row.kernel for row in rows), nothing)


BACKEND = Backend(
    name="dry", builds=False, chunked=True, facts=facts, build=build, judge=judge, rank=rank,
    profile=profile, directions=directions, techniques=techniques,
)  # fmt: skip
