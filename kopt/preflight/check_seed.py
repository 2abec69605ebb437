"""The seed kernel is tried before anything else runs: from one that does not build or is wrong nothing can be searched.

What the attempt learns lies in the store under the keys of the stages compile and evaluate, so that round 0 does not do
it again (on a GPU, which builds for itself, it does), and the next look costs milliseconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.problem import Problem
from kopt.model.trial import BuildRow
from kopt.model.verdict import Failed, Incorrect, Verdict
from kopt.preflight.validate import Checked
from kopt.problem import folder
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.stages.compile import Builder, build_with_triton, compile_candidates
from kopt.stages.evaluate import judge_by_interpreter
from kopt.stages.evaluate import verdict_key as interpreter_key
from kopt.stages.problem import facts_of
from kopt.stages.seed import seed_candidate
from kopt.stages.select import unusable_seed
from kopt.store import Store

START_S = 120.0
"""What a process of ours takes beside the limits of what it runs: imports, facts, the reference; generous."""
LEFT_TO_THE_GPU = {Phase.INTERPRET, Phase.TIMEOUT, Phase.CRASH}
"""Failures in the interpreter that need not be failures on a GPU, which then has the word."""


@dataclass(frozen=True)
class Attempt:
    """What is tried, how, and where results are kept."""

    problem: Problem
    device: Device
    """What to build for."""
    store: Path
    judge: str
    """Of the run: `interpret` or `cuda`."""
    seed: int
    """Of the run; verification inputs follow from it."""
    build_seconds: float
    judge_seconds: float


def check_seed(checked: Checked) -> None:
    """Refuse a seed kernel that does not build or is wrong in Triton's interpreter; a dry judge refuses none.

    What the store does not know is tried now, in processes of their own that see no GPU, and said on stderr.

    Raises:
        KoptError: one line that says what is wrong with it.
    """
    if checked.config.effective_judge != "dry":
        check_attempt(_attempt(checked))


def _attempt(checked: Checked) -> Attempt:
    config = checked.config
    return Attempt(
        problem=folder.load(checked.problem_folder), device=load_device(config.device, checked.root),
        store=Path(config.store).absolute(), judge=config.effective_judge, seed=config.seed,
        build_seconds=config.limits.build_seconds, judge_seconds=config.limits.judge_seconds,
    )  # fmt: skip


def check_attempt(attempt: Attempt) -> None:
    """What `check_seed` does, once settings and files are read."""
    row = _compiled(attempt, build=lambda kernels: {})
    verdict = known_verdict(attempt, row)
    if row.status == "none" or (row.status == "built" and verdict is None):
        print("kopt: checking the seed kernel", file=sys.stderr, flush=True)
        row = run_with_environment(NO_GPU, attempt.build_seconds + START_S, build_seed, attempt)
        verdict = (
            run_with_environment(NO_GPU, attempt.judge_seconds + START_S, judge_seed, attempt, row)
            if row.status == "built"
            else None
        )
    refuse(row, verdict, attempt.judge)


def known_verdict(attempt: Attempt, row: BuildRow) -> Verdict | None:
    """The interpreter's verdict that lies in the store, if any."""
    key = interpreter_key(row.kernel, attempt.problem, attempt.device, attempt.seed)
    known: Verdict | None = Store(attempt.store).shelf(Verdict).get(key)
    return known


def build_seed(attempt: Attempt) -> BuildRow:
    """What came of building it; the build and the problem's facts are kept in the store."""
    store = Store(attempt.store)
    build = build_with_triton(attempt.problem, attempt.device, store, workers=1, seconds=attempt.build_seconds)
    row = _compiled(attempt, build)
    facts_of(attempt.problem, store, attempt.judge)
    return row


def judge_seed(attempt: Attempt, row: BuildRow) -> Verdict:
    """The interpreter's verdict of what was built; it and the estimated time are kept in the store."""
    store = Store(attempt.store)
    facts = facts_of(attempt.problem, store, attempt.judge)
    judge = judge_by_interpreter(
        attempt.problem, facts, attempt.device, store, seed=attempt.seed, workers=1, seconds=attempt.judge_seconds
    )
    return judge([row])[row.slot].verdict


def refuse(row: BuildRow, verdict: Verdict | None, judge: str) -> None:
    """Refuse what does not build or is wrong.

    Raises:
        ProblemError: says why.
    """
    if row.status == "failed":
        raise unusable_seed(f"{row.phase}: {row.reason}")
    if isinstance(verdict, Incorrect):
        raise unusable_seed(f"{verdict.verdict}: {verdict.reason}")
    if isinstance(verdict, Failed) and not (judge == "cuda" and verdict.phase in LEFT_TO_THE_GPU):
        raise unusable_seed(f"{verdict.phase}: {verdict.reason}")


def _compiled(attempt: Attempt, build: Builder) -> BuildRow:
    store = Store(attempt.store)
    seed = seed_candidate(attempt.problem.seed, store)
    rows, _ = compile_candidates([seed], problem=attempt.problem, device=attempt.device, store=store, build=build)
    return rows[0]
