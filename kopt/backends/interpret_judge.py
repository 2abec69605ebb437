"""Judge kernels without a GPU: verify them in kopt's interpreter, and estimate their times from the build."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

from kopt import artifact
from kopt.artifact import text_digest
from kopt.backends.backend import Judge
from kopt.backends.estimates import estimate_time
from kopt.estimate.full_size.work_shares import undone_work
from kopt.jobs.accidents import is_accident
from kopt.jobs.builds import build_key, known_build
from kopt.jobs.kernels import kernel_named
from kopt.jobs.target import ProblemOnTarget
from kopt.jobs.verdicts import interpreter_key
from kopt.model.judged import Judged, JudgedRight, JudgedWrong
from kopt.model.problem import Problem
from kopt.model.timing import Estimated
from kopt.model.trial import BuildRow
from kopt.model.verdict import Passed, Verdict
from kopt.store import Store

log = logging.getLogger(__name__)


def judge_by_interpreter(target: ProblemOnTarget, *, seed: int, workers: int, seconds: float) -> Judge:
    """Make the judge without a GPU; a kernel with a verdict in the store is not verified again.

    Args:
        target: the problem, and the device whose rates the estimate uses.
        seed: the run's seed; verification inputs follow from it and from the kernel.
        workers: kernels verified at a time.
        seconds: wall-clock limit for verifying one kernel, s.
    """
    problem, facts, device, store = target.problem, target.facts, target.device, target.store

    def judge(rows: Sequence[BuildRow]) -> dict[int, Judged]:
        shelf = store.shelf(Verdict)
        keys = {row.slot: interpreter_key(row.kernel, problem, device, seed) for row in rows}
        verdicts: dict[int, Verdict] = {
            slot: verdict for slot, key in keys.items() if (verdict := shelf.get(key)) is not None
        }
        missing = [row for row in rows if row.slot not in verdicts]
        log.info("%d kernels: %d verdicts in the store, %d to find", len(rows), len(verdicts), len(missing))
        for row, verdict in _interpret(missing, problem, store, seed=seed, workers=workers, seconds=seconds):
            verdicts[row.slot] = verdict if is_accident(verdict) else shelf.put(keys[row.slot], verdict)
        return {row.slot: timed(row, verdicts[row.slot], keys[row.slot].digest()) for row in rows}

    def timed(row: BuildRow, verdict: Verdict, evaluation: str) -> Judged:
        if not isinstance(verdict, Passed):
            return JudgedWrong(verdict=verdict, evaluation=evaluation)
        timing = estimate_time(row.build, facts, device, store)
        if refused := undone_work(timing, seed_time(), verdict.judge):
            return JudgedWrong(verdict=refused, evaluation=evaluation)
        return JudgedRight(verdict=verdict, timing=timing, evaluation=evaluation)

    @cache
    def seed_time() -> Estimated | None:
        if known_build(problem.seed, problem, device, store) is None:
            return None
        key = build_key(text_digest(problem.seed.source), problem, device)
        return estimate_time(key.digest(), facts, device, store)

    return judge


def _interpret(
    rows: Sequence[BuildRow], problem: Problem, store: Store, *, seed: int, workers: int, seconds: float
) -> list[tuple[BuildRow, Verdict]]:
    if not rows:
        return []
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    jobs = [
        VerifyJob(
            kernel=kernel_named(row.kernel, problem, store), problem=problem,
            seed=int(artifact.digest([seed, row.kernel])[:12], 16),
        )
        for row in rows
    ]  # fmt: skip
    verdicts = verify_all(jobs, workers=workers, limits=Limits(wall_s=seconds))
    return [(rows[index], verdict) for index, verdict in verdicts]
