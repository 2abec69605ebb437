"""Check the seed kernel before the first job: a search needs a seed kernel that builds and is correct.

Build and verdict are stored under the keys of the stages compile and evaluate.  So round 0 without a GPU does not make
them again, and the next check takes milliseconds.  A run on a GPU builds for that GPU and judges on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kopt.backends import interpret
from kopt.backends.backend import Builder, Rivals, load_backend
from kopt.jobs.made_seed import device_to_write_for, with_seed
from kopt.jobs.recorded import measurements_in
from kopt.jobs.target import ProblemOnTarget
from kopt.jobs.verdicts import interpreter_key
from kopt.model.build import Phase
from kopt.model.device import Device
from kopt.model.options import JudgeOptions
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.trial import BuildRow
from kopt.model.verdict import Failed, Incorrect, Verdict
from kopt.preflight.validate import Checked
from kopt.problem import folder
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import FreshProcess, run_with_environment
from kopt.stages.compile import compile_candidates
from kopt.stages.seed import seed_candidate
from kopt.stages.select import unusable_seed
from kopt.store import Store

START_S = 120.0
"""Most time of a process beside the limit of its kernel: imports, facts, the reference; generous, s."""
JUDGE = ("kopt.device.interpret.contestant", "kopt.device.interpret.judge")
"""Modules that take the longest to load for judging."""
LEFT_TO_THE_GPU = {Phase.INTERPRET, Phase.TIMEOUT, Phase.CRASH}
"""Phases in which the interpreter may fail on a kernel that works on a GPU: there the judge on the GPU decides."""


@dataclass(frozen=True)
class SeedCheck:
    """Parameters of the check."""

    problem: Problem
    device: Device
    """The device to build for."""
    store: Path
    options: JudgeOptions
    """Options of the run's judge."""
    build_seconds: float
    """Limit of building one kernel, s."""
    measures: bool
    """Whether the run measures on GPUs, which decide where the interpreter fails."""
    made: bool = False
    """Whether kopt made the seed kernel of the reference."""

    def target(self, facts: ProblemFacts | None = None) -> ProblemOnTarget:
        """Open the store, and return the target; without `facts` its facts are empty."""
        empty = ProblemFacts(dtype=self.problem.dtype, workloads=())
        return ProblemOnTarget(self.problem, facts or empty, self.device, Store(self.store))


def check_seed(checked: Checked, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Refuse a seed kernel that does not build or is wrong in kopt's interpreter; a dry backend refuses none.

    A replay of measurements checks that there are some.

    A problem without a seed kernel gets one that is made of its reference (`kopt.jobs.made_seed`).

    A build or verdict that is not in the store is made now, in fresh processes that see no GPU; a line on stderr
    announces it.

    Args:
        checked: the settings.
        meanwhile: called before something is made, to begin what goes on beside.

    Raises:
        KoptError: one line that says what is wrong with the seed kernel.
    """
    backend, config = load_backend(checked.settings.backend), checked.config
    store = Store(Path(config.store).absolute())
    if backend.replays:
        measurements_in(store)  # raises where the store holds none; the seed's verdict is among them
        return
    device = device_to_write_for(config.device, checked.root, on_gpu=backend.measures, model=config.gpu_model)
    given = folder.load(checked.problem_folder)
    problem = with_seed(given, device, store)
    if backend.keeps_builds:
        try_seed(
            SeedCheck(
                problem=problem, device=device, store=store.root, options=checked.settings.judging,
                build_seconds=config.limits.build_seconds, measures=backend.measures,
                made=not given.has_seed,
            ),
            meanwhile,
        )  # fmt: skip


def try_seed(check: SeedCheck, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Build and judge the seed kernel, or look up build and verdict in the store, and refuse a kernel that fails."""
    row = _compiled(check, build=lambda kernels: {})
    verdict = known_verdict(check, row)
    if row.status == "none" or (row.status == "built" and verdict is None):
        print("kopt: checking the seed kernel", file=sys.stderr, flush=True)
        meanwhile()
        with FreshProcess(NO_GPU, modules=JUDGE) as judge:  # it loads while the other process builds
            row = run_with_environment(NO_GPU, check.build_seconds + START_S, build_seed, check)
            if row.status == "built":
                verdict = judge.call(check.options.judge_seconds + START_S, judge_seed, check, row)
    refuse(row, verdict, measures=check.measures, made=check.made)


def known_verdict(check: SeedCheck, row: BuildRow) -> Verdict | None:
    """Look up the interpreter's verdict in the store."""
    key = interpreter_key(row.kernel, check.problem, check.device, check.options.seed)
    verdict: Verdict | None = Store(check.store).shelf(Verdict).get(key)
    return verdict


def build_seed(check: SeedCheck) -> BuildRow:
    """Build the seed kernel, store the build and the problem's facts, and warn of large small workloads."""
    from kopt.device.reference.trial import slow_small

    if warning := slow_small(check.problem):
        print(f"kopt: warning: {warning}", file=sys.stderr, flush=True)
    target = check.target()
    row = _compiled(check, interpret.build(target, workers=1, seconds=check.build_seconds))
    interpret.facts(check.problem, target.store)
    return row


def judge_seed(check: SeedCheck, row: BuildRow) -> Verdict:
    """Judge the built seed kernel in the interpreter, and store the verdict and the estimated time."""
    target = check.target(interpret.facts(check.problem, Store(check.store)))
    judge = interpret.judge(target, check.options, rivals=Rivals(), workers=1)
    return judge([row])[row.slot].verdict


def refuse(row: BuildRow, verdict: Verdict | None, *, measures: bool, made: bool = False) -> None:
    """Refuse a seed kernel that does not build or is wrong.

    Raises:
        ProblemError: names the phase and the reason.
    """
    if row.status == "failed":
        raise unusable_seed(f"{row.phase}: {row.reason}", made=made)
    if isinstance(verdict, Incorrect):
        raise unusable_seed(f"{verdict.verdict}: {verdict.reason}", made=made, tolerable=True)
    if isinstance(verdict, Failed) and not (measures and verdict.phase in LEFT_TO_THE_GPU):
        raise unusable_seed(f"{verdict.phase}: {verdict.reason}", made=made)


def _compiled(check: SeedCheck, build: Builder) -> BuildRow:
    target = check.target()
    seed = seed_candidate(check.problem.seed, target.store)
    rows, _ = compile_candidates([seed], target, build=build)
    return rows[0]
