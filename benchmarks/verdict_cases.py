"""Judge kernels of many problems without a GPU, as `kopt evaluate --judge interpret` does, in two processes for all.

A case ends as `passed`, `incorrect`, `failed <phase>` or `refused` (the problem cannot be judged), with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from kopt.errors import ProblemError
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.store import Store

REFUSED = "refused"


class Case(NamedTuple):
    """A kernel to judge on a problem."""

    name: str
    problem: Problem
    kernel: Kernel


class Ending(NamedTuple):
    """The end of a case."""

    end: str
    """`passed`, `incorrect`, `failed <phase>` or `refused`."""
    reason: str = ""


def judge(cases: Sequence[Case], device: Device, *, workers: int, wall_s: float, seed: int = 0) -> list[Ending]:
    """Build every case, verify in Triton's interpreter what was built, and look at its work at full size.

    Args:
        cases: the kernels and their problems.
        device: what to build for.
        workers: kernels at a time.
        wall_s: limit of building, and of verifying, one kernel, s.
        seed: the run's seed, from which the draws follow.
    """
    limit = 120 + 2 * len(cases) * wall_s
    with TemporaryDirectory() as store:
        place = Path(store)
        built = run_with_environment(NO_GPU, limit, build_all_cases, cases, device, place, workers, wall_s)
        again = [at for at, build in enumerate(built) if isinstance(build, Built)]
        verdicts = run_with_environment(
            NO_GPU, limit, interpret_cases, [cases[at] for at in again], workers, wall_s, seed
        )
        judged = dict(zip(again, verdicts, strict=True))
        done = run_with_environment(NO_GPU, limit, look_at_work, cases, built, judged, device, place)
    return [done[at] if at in done else _ending(build) for at, build in enumerate(built)]


def build_all_cases(
    cases: Sequence[Case], device: Device, store: Path, workers: int, wall_s: float
) -> list[Build | Ending]:
    """Build every case; call it in a fresh process."""
    from dataclasses import replace

    from kopt.device.build.build import LIMITS, BuildJob, build_all

    jobs = [BuildJob(kernel=case.kernel, problem=case.problem, device=device) for case in cases]
    limits = replace(LIMITS, wall_s=wall_s)
    built: dict[int, Build | Ending] = {}
    try:
        built |= dict(build_all(jobs, store=Store(store), workers=workers, limits=limits))
    except ProblemError:  # one problem is bad: find it
        for at, job in enumerate(jobs):
            try:
                built[at] = next(iter(build_all([job], store=Store(store), workers=1, limits=limits)))[1]
            except ProblemError as error:
                built[at] = Ending(REFUSED, str(error))
    return [built[at] for at in range(len(cases))]


def interpret_cases(cases: Sequence[Case], workers: int, wall_s: float, seed: int) -> list[Verdict | Ending]:
    """Verify every case in Triton's interpreter; call it in a fresh process."""
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    limits = Limits(wall_s=wall_s)
    by_problem: dict[str, list[int]] = {}
    for at, case in enumerate(cases):
        by_problem.setdefault(case.problem.model_dump_json(), []).append(at)
    ends: dict[int, Verdict | Ending] = {}
    for places in by_problem.values():
        jobs = [VerifyJob(kernel=cases[at].kernel, problem=cases[at].problem, seed=seed) for at in places]
        try:
            ends |= {places[index]: v for index, v in verify_all(jobs, workers=workers, limits=limits)}
        except ProblemError as error:
            ends |= dict.fromkeys(places, Ending(REFUSED, str(error)))
    return [ends[at] for at in range(len(cases))]


def look_at_work(
    cases: Sequence[Case], built: Sequence[Build | Ending], judged: dict[int, Verdict | Ending], device: Device,
    store: Path,
) -> dict[int, Ending]:  # fmt: skip
    """Refuse those that passed and leave work out at full size; call it in a fresh process."""
    from kopt.device.facts.facts import problem_facts
    from kopt.estimate.kernel_time import estimate
    from kopt.estimate.work_done import undone_work

    ends = {}
    texts = Store(store)
    for at, verdict in judged.items():
        ends[at] = _ending(verdict)
        build = built[at]
        if isinstance(verdict, Passed) and isinstance(build, Built):
            try:
                facts = problem_facts(cases[at].problem)
                timing = estimate(build, facts, device, lambda digest: texts.text("ptx", digest, ".ptx"))
            except ProblemError as error:
                ends[at] = Ending(REFUSED, str(error))
                continue
            undone = undone_work(timing, None, verdict.judge)
            ends[at] = _ending(undone) if undone else ends[at]
    return ends


def _ending(result: Build | Verdict | Ending) -> Ending:
    match result:
        case Ending():
            return result
        case Passed():
            return Ending("passed")
        case BuildFailed() | Failed():
            return Ending(f"failed {result.phase.value}", result.reason)
        case Built():
            return Ending("built")
    return Ending("incorrect", result.reason)
