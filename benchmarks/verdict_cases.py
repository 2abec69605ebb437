"""Judge kernels of many problems without a GPU, as `kopt evaluate --judge interpret` does, in two processes for all.

A case ends as `passed`, `incorrect`, `failed <phase>`, `refused` (the problem cannot be judged) or `crashed` (kopt
raised something else), with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

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
CRASHED = "crashed"


class Case(NamedTuple):
    """A kernel to judge on a problem."""

    name: str
    problem: Problem
    kernel: Kernel


class Ending(NamedTuple):
    """The end of a case."""

    end: str
    """`passed`, `incorrect`, `failed <phase>`, `refused` or `crashed`."""
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
    return next(judge_with_seeds(cases, device, (seed,), workers=workers, wall_s=wall_s))


def judge_with_seeds(
    cases: Sequence[Case], device: Device, seeds: Sequence[int], *, workers: int, wall_s: float
) -> Iterator[list[Ending]]:
    """Judge cases as `judge` does with one seed after the other, build every case once, and yield the ends per seed."""
    limit = 120 + 2 * len(cases) * wall_s
    with TemporaryDirectory() as store:
        place = Path(store)
        built = run_with_environment(NO_GPU, limit, build_all_cases, cases, device, place, workers, wall_s)
        again = [at for at, build in enumerate(built) if isinstance(build, Built)]
        undone: dict[int, Ending | None] = {}
        for seed in seeds:
            verdicts = run_with_environment(
                NO_GPU, limit, interpret_cases, [cases[at] for at in again], workers, wall_s, seed
            )
            judged = dict(zip(again, verdicts, strict=True))
            new = {at: verdict for at, verdict in judged.items() if isinstance(verdict, Passed) and at not in undone}
            undone |= run_with_environment(NO_GPU, limit, look_at_work, cases, built, new, device, place)
            ends = [judged.get(at, build) for at, build in enumerate(built)]
            yield [
                (isinstance(end, Passed) and undone.get(at)) or _ending(end) for at, end in enumerate(ends)
            ]  # fmt: skip


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
    except Exception:  # noqa: BLE001  # a problem is bad: find it
        for at, job in enumerate(jobs):
            with _ended(built, [at]):
                built[at] = next(iter(build_all([job], store=Store(store), workers=1, limits=limits)))[1]
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
        with _ended(ends, places):
            ends |= {places[index]: v for index, v in verify_all(jobs, workers=workers, limits=limits)}
    return [ends[at] for at in range(len(cases))]


def look_at_work(
    cases: Sequence[Case], built: Sequence[Build | Ending], passed: dict[int, Passed], device: Device, store: Path
) -> dict[int, Ending | None]:
    """Return the ends of those that leave work out at full size, None for others; call it in a fresh process."""
    from kopt.device.facts.facts import problem_facts
    from kopt.estimate.full_size.work_shares import undone_work
    from kopt.estimate.kernel_time import estimate

    ends: dict[int, Ending | None] = {}
    texts = Store(store)
    for at, verdict in passed.items():
        build = built[at]
        assert isinstance(build, Built)
        with _ended(ends, [at]):
            facts = problem_facts(cases[at].problem)
            timing = estimate(build, facts, device, lambda digest: texts.text("ptx", digest, ".ptx"))
            undone = undone_work(timing, None, verdict.judge)
            ends[at] = _ending(undone) if undone else None
    return ends


@contextmanager
def _ended(ends: dict[int, Any], places: Sequence[int]) -> Iterator[None]:
    """End the cases at some places by what is raised within, so that other cases go on."""
    try:
        yield
    except ProblemError as error:
        ends |= dict.fromkeys(places, Ending(REFUSED, str(error)))
    except Exception as error:  # noqa: BLE001
        ends |= dict.fromkeys(places, Ending(CRASHED, f"{type(error).__name__}: {error}"))


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
