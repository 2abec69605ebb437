"""Try the seed kernel before anything else runs: from one that does not build or is wrong nothing can be searched.

What the attempt learns lies in the store under the keys of the stages compile and evaluate, so that round 0 does not do
it again (on a GPU, which builds for itself, it does), and the next look costs milliseconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from kopt.backends import interpret
from kopt.backends.backend import Builder, load_backend
from kopt.jobs.target import ProblemOnTarget
from kopt.jobs.verdicts import interpreter_key
from kopt.load_config import load_device
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.options import JudgeOptions
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import BuildRow
from kopt.model.verdict import Failed, Incorrect, Verdict
from kopt.preflight.validate import Checked
from kopt.problem import folder
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_with_environment
from kopt.stages.compile import compile_candidates
from kopt.stages.seed import seed_candidate
from kopt.stages.select import unusable_seed
from kopt.store import Store

START_S = 120.0
"""What a process of ours takes beside the limits of what it runs: imports, facts, the reference; generous, s."""
LEFT_TO_THE_GPU = {Phase.INTERPRET, Phase.TIMEOUT, Phase.CRASH}
"""Failures in the interpreter that need not be failures on a GPU, which then decides."""


@dataclass(frozen=True)
class SeedCheck:
    """What is tried, how, and where results are kept."""

    problem: Problem
    device: Device
    """The device to build for."""
    store: Path
    options: JudgeOptions
    """How the run judges."""
    build_seconds: float
    """Limit of building one kernel, s."""
    measures: bool
    """The run measures on GPUs, which decide where the interpreter cannot."""

    def target(self, facts: ProblemFacts | None = None) -> ProblemOnTarget:
        """Open the store, with the facts where they are known."""
        empty = ProblemFacts(dtype=self.problem.dtype, workloads=())
        return ProblemOnTarget(self.problem, facts or empty, self.device, Store(self.store))


def check_seed(checked: Checked) -> None:
    """Refuse a seed kernel that does not build or is wrong in Triton's interpreter; a dry backend refuses none.

    What the store does not know is tried now, in processes of their own that see no GPU, and said on stderr.

    Raises:
        KoptError: one line that says what is wrong with it.
    """
    backend = load_backend(checked.settings.backend)
    if backend.builds:
        config = checked.config
        try_seed(
            SeedCheck(
                problem=folder.load(checked.problem_folder), device=load_device(config.device, checked.root),
                store=Path(config.store).absolute(), options=checked.settings.judging,
                build_seconds=config.limits.build_seconds, measures=backend.measures,
            )
        )  # fmt: skip


def try_seed(check: SeedCheck) -> None:
    """Do what `check_seed` does, once settings and files are read."""
    row = _compiled(check, build=lambda kernels: {})
    verdict = known_verdict(check, row)
    if row.status == "none" or (row.status == "built" and verdict is None):
        print("kopt: checking the seed kernel", file=sys.stderr, flush=True)
        row = run_with_environment(NO_GPU, check.build_seconds + START_S, build_seed, check)
        if row.status == "built":
            verdict = run_with_environment(NO_GPU, check.options.judge_seconds + START_S, judge_seed, check, row)
    refuse(row, verdict, measures=check.measures)


def known_verdict(check: SeedCheck, row: BuildRow) -> Verdict | None:
    """Look up the interpreter's verdict in the store."""
    key = interpreter_key(row.kernel, check.problem, check.device, check.options.seed)
    verdict: Verdict | None = Store(check.store).shelf(Verdict).get(key)
    return verdict


def build_seed(check: SeedCheck) -> BuildRow:
    """Build the seed kernel; the build and the problem's facts are kept in the store."""
    target = check.target()
    row = _compiled(check, interpret.build(target, workers=1, seconds=check.build_seconds))
    interpret.facts(check.problem, target.store)
    return row


def judge_seed(check: SeedCheck, row: BuildRow) -> Verdict:
    """Judge what was built by the interpreter; the verdict and the estimated time are kept in the store."""
    target = check.target(interpret.facts(check.problem, Store(check.store)))
    judge = interpret.judge(target, check.options, incumbent="", workers=1)
    return judge([row])[row.slot].verdict


def refuse(row: BuildRow, verdict: Verdict | None, *, measures: bool) -> None:
    """Refuse a seed kernel that does not build or is wrong.

    Raises:
        ProblemError: says why.
    """
    if row.status == "failed":
        raise unusable_seed(f"{row.phase}: {row.reason}")
    if isinstance(verdict, Incorrect):
        raise unusable_seed(f"{verdict.verdict}: {verdict.reason}")
    if isinstance(verdict, Failed) and not (measures and verdict.phase in LEFT_TO_THE_GPU):
        raise unusable_seed(f"{verdict.phase}: {verdict.reason}")


def _compiled(check: SeedCheck, build: Builder) -> BuildRow:
    target = check.target()
    seed = seed_candidate(check.problem.seed, target.store)
    rows, _ = compile_candidates([seed], target, build=build)
    return rows[0]
