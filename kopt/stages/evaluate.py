"""Stage evaluate: a verdict and a time for every unique kernel of a chunk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from kopt import artifact
from kopt.errors import StoreError
from kopt.estimate.work_done import undone_work
from kopt.jobs.keys import KERNEL, EstimateKey, VerdictKey, verdict_contract
from kopt.model.build import Build, Built, Phase
from kopt.model.device import Device
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem, ProblemFacts
from kopt.model.timing import Estimated, Measured, Timing, WorkloadEstimate
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.model.verdict import Failed, Passed, Verdict
from kopt.provenance import code_digest
from kopt.stages.compile import build_key, known_build, toolchain
from kopt.store import Store

log = logging.getLogger(__name__)

ACCIDENTS = {Phase.TIMEOUT, Phase.CRASH}


class Judged(NamedTuple):
    """What a judge says of one kernel; the time is there when it passed."""

    verdict: Verdict
    timing: Timing | None
    evaluation: str
    """Digest of the verdict's key in the store."""


Judge = Callable[[Sequence[BuildRow]], Mapping[int, Judged]]
"""From rows to what is judged, by slot."""


def evaluate(rows: Sequence[BuildRow], *, chunk: int, judge: Judge) -> list[EvaluationRow]:
    """Verdicts and times of the kernels of one chunk, in slot order."""
    mine = [row for row in rows if row.chunk == chunk]
    judged = judge(mine) if mine else {}
    return [_row(row, judged[row.slot]) for row in mine]


def failed_slots(rows: Sequence[EvaluationRow]) -> str:
    """The slots that are not correct, a line each: what a repair has to do."""
    return "".join(f"{row.slot}\n" for row in rows if row.verdict != "passed")


def judge(
    name: str,
    problem: Problem,
    facts: ProblemFacts,
    device: Device,
    store: Store,
    *,
    seed: int,
    workers: int,
    seconds: float,
) -> Judge:
    """The judge by its name in the configuration."""
    if name == "dry":
        return judge_dry(device)
    return judge_by_interpreter(problem, facts, device, store, seed=seed, workers=workers, seconds=seconds)


def judge_by_interpreter(
    problem: Problem, facts: ProblemFacts, device: Device, store: Store, *, seed: int, workers: int, seconds: float
) -> Judge:
    """The judge without a GPU: the Triton interpreter's verdict, and a time estimated from the build."""

    def judge(rows: Sequence[BuildRow]) -> dict[int, Judged]:
        shelf = store.shelf(Verdict)
        keys = {row.slot: verdict_key(row.kernel, problem, device, seed) for row in rows}
        known = {slot: verdict for slot, key in keys.items() if (verdict := shelf.get(key)) is not None}
        missing = [row for row in rows if row.slot not in known]
        log.info("%d kernels: %d verdicts known, %d to find", len(rows), len(known), len(missing))
        for row, verdict in _interpret(missing, problem, store, seed=seed, workers=workers, seconds=seconds):
            known[row.slot] = verdict if is_accident(verdict) else shelf.put(keys[row.slot], verdict)
        return {row.slot: timed(row, known[row.slot], keys[row.slot].digest()) for row in rows}

    def timed(row: BuildRow, verdict: Verdict, evaluation: str) -> Judged:
        if not isinstance(verdict, Passed):
            return Judged(verdict, None, evaluation)
        timing = estimate_time(row.build, facts, device, store)
        short = undone_work(timing, seed_time(), verdict.judge)
        return Judged(short, None, evaluation) if short else Judged(verdict, timing, evaluation)

    @cache
    def seed_time() -> Estimated | None:
        if known_build(problem.seed, problem, device, store) is None:
            return None
        key = build_key(artifact.text_digest(problem.seed.source), problem, device)
        return estimate_time(key.digest(), facts, device, store)

    return judge


def judge_dry(device: Device) -> Judge:
    """The dry judge: everything passes, with a time made up from the kernel's digest."""

    def judge(rows: Sequence[BuildRow]) -> dict[int, Judged]:
        return {row.slot: Judged(Passed(judge="dry", checks=()), _made_up(row.kernel, device), "") for row in rows}

    return judge


def estimate_time(build: str, facts: ProblemFacts, device: Device, store: Store) -> Estimated:
    """Estimated time of a build that lies in the store under the key digest `build`.

    Raises:
        StoreError: it is not in the store (any more).
    """
    from kopt.estimate.kernel_time import estimate

    built = built_named(build, store)
    key = EstimateKey(
        build=build, facts=artifact.digest(facts), device=artifact.digest(device),
        code=code_digest("kopt.estimate.kernel_time"),
    )  # fmt: skip
    return store.shelf(Estimated).get_or_make(
        key, lambda: estimate(built, facts, device, lambda name: store.text("ptx", name, ".ptx"))
    )


def built_named(build: str, store: Store) -> Built:
    """The build that a row names.

    Raises:
        StoreError: it is not in the store (any more).
    """
    built = store.shelf(Build).named("build", build)
    if not isinstance(built, Built):
        raise StoreError(f"build {build[:12]} is not in the store {store.root}: delete the run's folder and run again")
    return built


def is_accident(verdict: Verdict) -> bool:
    """Whether a failure may be the machine's fault."""
    return isinstance(verdict, Failed) and verdict.phase in ACCIDENTS


def is_refused_time(verdict: Verdict) -> bool:
    """Whether a time was refused: that belongs to the device, not to the source."""
    return isinstance(verdict, Failed) and verdict.phase in (Phase.ROOFLINE, Phase.REUSE)


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
            kernel=Kernel(source=store.text(KERNEL, row.kernel, ".py"), entry=problem.seed.entry), problem=problem,
            seed=int(artifact.digest([seed, row.kernel])[:12], 16),
        )
        for row in rows
    ]  # fmt: skip
    verdicts = verify_all(jobs, workers=workers, limits=Limits(wall_s=seconds))
    return [(rows[index], verdict) for index, verdict in verdicts]


def verdict_key(kernel: str, problem: Problem, device: Device, seed: int) -> VerdictKey:
    """The key of the interpreter's verdict on a kernel."""
    return VerdictKey(
        kernel=kernel, entry=problem.seed.entry, problem=verdict_contract(problem), judge="interpret", seed=seed,
        toolchain=toolchain(device),
    )  # fmt: skip


def _made_up(kernel: str, device: Device) -> Estimated:
    ms = 1.0 + int(artifact.digest(kernel)[:8], 16) / 2**32
    made_up = WorkloadEstimate(
        workload="dry", ms=ms, memory_ms=ms, compute_ms=0.0, launch_ms=0.0, floor_ms=0.5, bound="memory",
        notes=("made up by the dry judge",),
    )  # fmt: skip
    return Estimated(device=device.name, workloads=(made_up,))


def _row(row: BuildRow, judged: Judged) -> EvaluationRow:
    verdict, timing = judged.verdict, judged.timing
    low, high = timing.interval_ms if isinstance(timing, Measured) else (None, None)
    return EvaluationRow(
        **row.model_dump(include={"round", "attempt", "slot", "kernel", "fingerprint", "build"}),
        verdict=verdict.verdict,
        phase=verdict.phase if isinstance(verdict, Failed) else "",
        reason="" if isinstance(verdict, Passed) else verdict.reason,
        judge=verdict.judge,
        time_ms=timing.objective_ms if timing else None,
        low_ms=low,
        high_ms=high,
        estimated=not timing or timing.kind == "estimated",
        roofline_share=timing.roofline_share if timing else None,
        evaluation=judged.evaluation,
    )
