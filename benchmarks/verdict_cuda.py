"""Judge kernels of many problems on one of the visible GPUs, as `kopt evaluate` does, in one process for all."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from verdict_cases import REFUSED, Case, Ending, build_all_cases

from kopt.errors import KoptError, ProblemError
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.hardware.measured import MeasuredDevice

BROKEN = "broken"
"""End of a case on which kopt itself broke."""


def judge_on_gpu(cases: Sequence[Case], *, workers: int, wall_s: float, seed: int) -> list[Ending]:
    """Build every case for one of the visible GPUs, then judge and time it there.

    Args:
        cases: the kernels and their problems.
        workers: kernels to build at a time.
        wall_s: limit of building, and of verifying, one kernel, s.
        seed: the run's seed, from which the draws follow.
    """
    from kopt.jobs.on_gpu import leased

    limit = 600 + 2 * len(cases) * wall_s
    with TemporaryDirectory(prefix="kopt-") as folder, leased(Store(Path(folder)), wait_s=60) as gpu:
        place = Path(folder)
        built = run_with_environment(NO_GPU, limit, build_all_cases, cases, gpu.device, place, workers, wall_s)
        print("built", file=sys.stderr, flush=True)
        return run_in_fresh_process(limit, judge_cases, cases, built, gpu, place, wall_s, seed)


def judge_cases(
    cases: Sequence[Case], built: Sequence[Build | Ending], gpu: MeasuredDevice, store: Path, wall_s: float, seed: int
) -> list[Ending]:
    """Judge what was built, problem by problem, and print each end with its seconds; call it in a fresh process."""
    from kopt.device.hardware.zygote import warm

    warm()  # before torch traces facts, since a fork loses the threads that tracing starts
    by_problem: dict[str, list[int]] = {}
    for at, case in enumerate(cases):
        by_problem.setdefault(case.problem.model_dump_json(), []).append(at)
    ends: dict[int, Ending] = {}
    for places in by_problem.values():
        start = time.monotonic()
        jobs = {at: build for at in places if isinstance(build := built[at], Built)}
        try:
            ends |= _judged(cases, jobs, gpu, store, wall_s, seed)
        except ProblemError as error:
            ends |= dict.fromkeys(jobs, Ending(REFUSED, str(error)))
        except KoptError as error:
            ends |= dict.fromkeys(jobs, Ending(BROKEN, f"{type(error).__name__}: {error}"))
        ends |= {at: _failed(end) for at in places if not isinstance(end := built[at], Built)}
        for at in places:
            took = time.monotonic() - start
            print(f"{cases[at].name}: {ends[at].end} ({took:.1f} s)", file=sys.stderr, flush=True)
    return [ends[at] for at in range(len(cases))]


def _judged(
    cases: Sequence[Case], builds: dict[int, Built], gpu: MeasuredDevice, store: Path, wall_s: float, seed: int
) -> dict[int, Ending]:
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.facts.facts import problem_facts

    if not builds:
        return {}
    places = list(builds)
    problem = cases[places[0]].problem
    jobs = [CudaJob(kernel=cases[at].kernel, problem=problem, seed=seed, build=builds[at]) for at in places]
    others = any(job.kernel != problem.seed for job in jobs)
    incumbent = CudaJob(kernel=problem.seed, problem=problem, seed=seed) if others else None
    context = ProblemOnDevice(problem_facts(problem), gpu, Store(store))
    judged = judge_all(
        jobs, context, workers=4, limits=replace(LIMITS, wall_s=wall_s), incumbent=incumbent,
        race=Race(repeat=10, keep=len(jobs)),
    )  # fmt: skip
    return {places[index]: _end(kernel.verdict) for index, kernel in judged}


def _end(verdict: Verdict) -> Ending:
    match verdict:
        case Passed():
            return Ending("passed")
        case Failed():
            return Ending(f"failed {verdict.phase.value}", verdict.reason)
    return Ending("incorrect", verdict.reason)


def _failed(built: Build | Ending) -> Ending:
    if isinstance(built, Ending):
        return built
    assert isinstance(built, BuildFailed)
    return Ending(f"failed {built.phase.value}", built.reason)
