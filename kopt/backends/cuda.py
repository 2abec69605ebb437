"""Judge on GPUs: Triton compiles without them, the CUDA judge verifies and times, Nsight Compute reads counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kopt.backends.backend import Backend, Builder, Classifier, Diagnoser, Judge, Profiler, Rivals
from kopt.jobs.target import ProblemOnTarget
from kopt.model.build import Build
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.options import FinalsOptions, JudgeOptions
from kopt.model.outcome import Outcome
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.technique import Technique
from kopt.model.timing import Finals
from kopt.model.trial import RankRow, SelectionRow
from kopt.store import Store


def facts(problem: Problem, store: Store) -> ProblemFacts:
    """Count the bytes and operations of the main workloads, or read these facts from the store."""
    from kopt.backends.problem_facts import facts_of

    return facts_of(problem, store)


def build(target: ProblemOnTarget, *, workers: int, seconds: float) -> Builder:
    """Make the builder that compiles kernels with Triton for the main workloads.

    Where cores are left, it compiles them for the other workloads at the same time.  Otherwise `compile_further` does
    so afterwards, and only for kernels whose builds succeeded.
    """
    from kopt.backends.further_kernels import further_beside
    from kopt.backends.triton_builder import build_with_triton

    build_alone = build_with_triton(target.problem, target.device, target.store, workers=workers, seconds=seconds)

    def build_beside(kernels: Sequence[Kernel]) -> Mapping[int, Build]:
        left = workers - len(kernels)
        if not kernels or 2 * left < len(kernels):
            return build_alone(kernels)
        with further_beside(kernels, target, workers=left, seconds=seconds):
            return build_alone(kernels)

    return build_beside


def compile_further(kernels: Sequence[Kernel], target: ProblemOnTarget, *, workers: int, seconds: float) -> None:
    """Compile kernels for the hidden and the last small workloads, so that no job compiles them that holds a GPU."""
    from kopt.backends.further_kernels import keep_further

    keep_further(kernels, target, workers=workers, seconds=seconds)


def judge(target: ProblemOnTarget, options: JudgeOptions, *, rivals: Rivals, workers: int) -> Judge:
    """Make the judge on a GPU, which races kernels beside their rivals; `options` say how many share the GPU."""
    from kopt.backends.cuda_judge import judge_by_cuda

    return judge_by_cuda(target, options, rivals)


def rank(
    pool: Sequence[RankRow], target: ProblemOnTarget, options: FinalsOptions | None, *, round: int
) -> list[RankRow]:
    """Verify and time the fastest kernels of the pool anew, side by side, unless the judge's race has done so."""
    from kopt.backends.cuda_finals import measure_pool

    assert options is not None
    return measure_pool(pool, target, options, round=round)


def profile(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make the profiler that reads hardware counters."""
    from kopt.backends.cuda_profile import profile_by_counters

    return profile_by_counters(target, options, seconds=seconds)


def directions(target: ProblemOnTarget, count: int) -> Diagnoser:
    """Make the diagnoser by rules over profile, roofline and build."""
    from kopt.backends.rule_diagnosis import diagnose_by_rules

    return diagnose_by_rules(target, count)


def techniques(taxonomy: Sequence[Technique], device: Device, store: Store) -> Classifier:
    """Make the classifier by facts of source and PTX."""
    from kopt.backends.static_techniques import classify_by_facts

    return classify_by_facts(taxonomy, device, store)


def estimate(build: str, target: ProblemOnTarget) -> float:
    """Estimate the time of a build, ms, or read the estimate from the store."""
    from kopt.backends.estimates import estimate_time

    return estimate_time(build, target.facts, target.device, target.store).objective_ms


def device(store: Store, wait_s: float) -> Device:
    """Describe a visible GPU and measure its rates, or read the rates of a measured GPU from the store."""
    from kopt.jobs.on_gpu import described

    return described(store, wait_s=wait_s).device


def baseline(target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]) -> Finals:
    """Measure the seed kernel and the baselines, side by side."""
    from kopt.backends.cuda_finals import measure_baselines

    return measure_baselines(target, options, baselines)


def outcome(
    selection: Sequence[SelectionRow], target: ProblemOnTarget, options: JudgeOptions, baselines: Sequence[str]
) -> Outcome:
    """Measure the best kernel, the seed kernel and the baselines, side by side in fresh processes."""
    from kopt.backends.cuda_finals import measure_outcome

    return measure_outcome(selection, target, options, baselines)


BACKEND = Backend(
    name="cuda", builds=True, chunked=True, facts=facts, build=build, judge=judge, rank=rank,
    profile=profile, directions=directions, techniques=techniques, device=device, baseline=baseline,
    outcome=outcome, estimate=estimate, compile_further=compile_further,
)  # fmt: skip
