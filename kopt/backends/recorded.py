"""Replay what another machine built, judged, timed and profiled: nothing is built or measured here.

Everything is looked up in the measurements that `kopt replay` put into the store (`kopt.jobs.recorded`), and what they
lack is an error, never an estimate.  Diagnoses by rules are worked out anew from the recorded profiles and builds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.backends.backend import Backend, Builder, Classifier, Diagnoser, Judge, ProfiledParent, Profiler, Rivals
from kopt.jobs.recorded import measurements_in, not_recorded
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import Build
from kopt.model.device import Device
from kopt.model.judged import Judged, JudgedRight, JudgedWrong
from kopt.model.kernel import Kernel, candidate_name
from kopt.model.measurements import RecordedVerdict
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique, TechniqueVector
from kopt.model.timing import Finals
from kopt.model.trial import BuildRow, RankRow, SelectionRow
from kopt.model.verdict import Passed
from kopt.store import Store


def facts(problem: Problem, store: Store) -> ProblemFacts:
    """Return the recorded facts of the main workloads."""
    return measurements_in(store).facts


def build(target: ProblemOnTarget, *, workers: int, seconds: float) -> Builder:
    """Make a builder that returns recorded builds."""
    from kopt.artifact import text_digest

    recorded = measurements_in(target.store)
    builds = {one.kernel: one.build for one in recorded.builds}

    def builder(kernels: Sequence[Kernel]) -> Mapping[int, Build]:
        names = [text_digest(kernel.source) for kernel in kernels]
        if lacking := [name for name in names if name not in builds]:
            raise not_recorded(f"build of kernel {lacking[0][:12]}", recorded)
        return {index: builds[name] for index, name in enumerate(names)}

    return builder


def build_names(store: Store) -> dict[str, str]:
    """Return the recorded names of builds, by kernel."""
    return {one.kernel: one.name for one in measurements_in(store).builds}


def judge(target: ProblemOnTarget, options: JudgeOptions, *, rivals: Rivals, workers: int) -> Judge:
    """Make a judge that returns recorded verdicts and times."""
    recorded = measurements_in(target.store)
    verdicts = {one.kernel: one for one in recorded.verdicts}

    def judge_rows(rows: Sequence[BuildRow]) -> Mapping[int, Judged]:
        if lacking := [row for row in rows if row.kernel not in verdicts]:
            name = candidate_name(lacking[0].round, lacking[0].attempt, lacking[0].slot)
            raise not_recorded(f"verdict on {name} (kernel {lacking[0].kernel[:12]})", recorded)
        return {row.slot: _judged(verdicts[row.kernel]) for row in rows}

    return judge_rows


def _judged(one: RecordedVerdict) -> Judged:
    if isinstance(one.verdict, Passed):
        assert one.time is not None
        return JudgedRight(verdict=one.verdict, timing=one.time, evaluation=one.evaluation)
    return JudgedWrong(verdict=one.verdict, evaluation=one.evaluation)


def rank(
    pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions | None, *, round: int
) -> list[RankRow]:
    """Return the pool with its recorded times, in their order; a kernel that left the recorded pool leaves this one."""
    recorded = measurements_in(target.store)
    rows = {row.kernel: row for row in pool}
    ranking = recorded.rankings[round] if round < len(recorded.rankings) else ()
    if (pool and not ranking) or any(one.kernel not in rows for one in ranking):
        raise not_recorded(f"ranking of this pool in round {round}", recorded)
    return [
        rows[one.kernel].model_copy(update=one.model_dump() | {"position": place}) for place, one in enumerate(ranking)
    ]


def profile(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make a profiler that returns recorded profiles, without the tables that Nsight Compute printed."""
    recorded = measurements_in(target.store)
    profiles = {(one.kernel, one.time_ms): one.profile for one in recorded.profiles}

    def profile_parents(rows: Sequence[SelectionRow]) -> list[ProfiledParent]:
        if lacking := [row for row in rows if (row.kernel, row.time_ms) not in profiles]:
            raise not_recorded(f"profile of {lacking[0].origin} at {lacking[0].time_ms:.4g} ms", recorded)
        return [ProfiledParent(profiles[row.kernel, row.time_ms]) for row in rows]

    return profile_parents


def directions(target: ProblemOnTarget, count: int) -> Diagnoser:
    """Make the diagnoser by rules over recorded profile, roofline and recorded build."""
    from kopt.backends.rule_diagnosis import diagnose_by_rules

    return diagnose_by_rules(target, count)


def techniques(taxonomy: Sequence[Technique], device: Device, store: Store) -> Classifier:
    """Make a classifier that returns recorded technique vectors."""
    recorded = measurements_in(store)

    def vectors(rows: Sequence[RankRow]) -> Mapping[str, TechniqueVector | None]:
        if lacking := [row for row in rows if row.kernel not in recorded.vectors]:
            raise not_recorded(f"technique vector of {lacking[0].origin}", recorded)
        return {row.kernel: recorded.vectors[row.kernel] for row in rows}

    return vectors


def estimate(build: str, target: ProblemOnTarget) -> float:
    """Return the recorded estimate of a build's time, ms."""
    recorded = measurements_in(target.store)
    if build not in recorded.estimates:
        raise not_recorded(f"estimate of build {build[:12]}", recorded)
    return recorded.estimates[build]


def device(store: Store, wait_s: float) -> Device:
    """Return the recorded description of the GPU."""
    return measurements_in(store).device


def baseline(target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]) -> Finals:
    """Return the recorded times of the seed kernel and the baselines."""
    return measurements_in(target.store).baseline


def outcome(
    selection: Sequence[SelectionRow], target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]
) -> Outcome:
    """Return the recorded outcome, whose best kernel must be one of the selection."""
    recorded = measurements_in(target.store)
    if recorded.outcome.best not in selection:
        raise not_recorded("outcome of this selection", recorded)
    return recorded.outcome


def triton(store: Store) -> str:
    """Return the version of Triton with which the recorded search ran, which prompts tell."""
    return measurements_in(store).toolchain.triton


BACKEND = Backend(
    name="recorded", builds=True, chunked=True, replays=True, facts=facts, build=build, judge=judge, rank=rank,
    profile=profile, directions=directions, techniques=techniques, device=device, baseline=baseline, outcome=outcome,
    build_names=build_names, estimate=estimate, triton=triton,
)  # fmt: skip
