"""Judge without a GPU: Triton compiles, kopt's interpreter judges, times are estimated from the build."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import Backend, Builder, Classifier, Diagnoser, Judge, Profiler, Rivals
from kopt.jobs.target import ProblemOnTarget
from kopt.model.device import Device
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.model.trial import RankRow
from kopt.store import Store


def facts(problem: Problem, store: Store) -> ProblemFacts:
    """Count the bytes and operations of the main workloads, or read these facts from the store."""
    from kopt.backends.problem_facts import facts_of

    return facts_of(problem, store)


def build(target: ProblemOnTarget, *, workers: int, seconds: float) -> Builder:
    """Make the builder that compiles with Triton."""
    from kopt.backends.triton_builder import build_with_triton

    return build_with_triton(target.problem, target.device, target.store, workers=workers, seconds=seconds)


def judge(target: ProblemOnTarget, options: JudgeOptions, *, rivals: Rivals, workers: int) -> Judge:
    """Make the judge that runs kopt's interpreter and estimates times; it needs no rivals."""
    from kopt.backends.interpret_judge import judge_by_interpreter

    return judge_by_interpreter(target, seed=options.seed, workers=workers, seconds=options.judge_seconds)


def rank(
    pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions | None, *, round: int
) -> list[RankRow]:
    """Return the pool unchanged: a repeated estimate gives the same time."""
    return list(pool)


def profile(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make the profiler that reads the build and the estimated time."""
    from kopt.backends.static_profile import static_profiler

    return static_profiler(target)


def directions(target: ProblemOnTarget, count: int) -> Diagnoser:
    """Make the diagnoser by rules over profile, roofline and build."""
    from kopt.backends.rule_diagnosis import diagnose_by_rules

    return diagnose_by_rules(target, count)


def techniques(taxonomy: Sequence[Technique], device: Device, store: Store) -> Classifier:
    """Make the classifier by facts of source and PTX."""
    from kopt.backends.static_techniques import classify_by_facts

    return classify_by_facts(taxonomy, device, store)


BACKEND = Backend(
    name="interpret", builds=True, chunked=False, facts=facts, build=build, judge=judge, rank=rank,
    profile=profile, directions=directions, techniques=techniques,
)  # fmt: skip
