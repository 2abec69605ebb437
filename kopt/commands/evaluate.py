"""One kernel through build and judge, as a search does it: what `kopt evaluate` prints.

Each step runs in a process of its own: the compiler must not see a GPU, the interpreter changes Triton for good, and
the judge on a GPU must find CUDA unused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kopt.estimate.work_done import undone_work
from kopt.jobs.on_gpu import check_same, leased
from kopt.model.base import Value
from kopt.model.build import Build, BuildFailed, Built
from kopt.model.device import Device, Toolchain
from kopt.model.environment import Conditions, Environment
from kopt.model.kernel import Kernel
from kopt.model.problem import Problem
from kopt.model.timing import Estimated, Measured, WorkloadTiming
from kopt.model.verdict import Check, Failed, Passed, Verdict
from kopt.sandbox.environment import NO_GPU
from kopt.sandbox.fresh import run_in_fresh_process, run_with_environment
from kopt.stages.compile import build_with_triton, toolchain
from kopt.stages.problem import facts_of
from kopt.statistics import measured_ratio
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.device.cuda.race import JudgedKernel
    from kopt.device.hardware.measured import MeasuredDevice

START_S = 60.0
"""What a process of ours takes beside the limits of what it runs: imports, facts, answers; generous."""
RACE_S = 240.0
"""Longest wait for inputs, answers and timing of two kernels on a GPU, beside the limits of verifying them, s."""


class Task(Value):
    """What to judge, and under which limits."""

    kernel: Kernel
    problem: Problem
    seed: int
    """Verification inputs follow from it."""
    build_seconds: float
    """Limit of tracing and compiling one kernel, s."""
    judge_seconds: float
    """Limit of verifying one kernel, s."""
    repeat: int
    """Timed calls on a GPU."""
    wait_s: float
    """Longest wait for a GPU, s."""


class WorkloadTime(Value):
    """The time on one main workload; milliseconds."""

    workload: str
    ms: float
    low_ms: float | None = None
    """Lower end of the median's 95 % interval; None for an estimate."""
    high_ms: float | None = None
    wall_ms: float | None = None
    """Wall time of one call, the host's work included; None for an estimate."""
    floor_ms: float
    """No kernel is faster on this device."""
    ratio: float | None = None
    """Time over the seed kernel's, under 1 is faster; None when the seed kernel has no time."""
    ratio_low: float | None = None
    """Lower end of its 95 % interval; None for an estimate."""
    ratio_high: float | None = None


class Time(Value):
    """The time of a kernel that passed, beside the seed kernel's."""

    kind: Literal["estimated", "measured"]
    ms: float
    """The objective: geometric mean over the main workloads."""
    roofline_share: float
    ratio: float | None = None
    """Objective over the seed kernel's; measured: call by call."""
    ratio_low: float | None = None
    """Lower end of its 95 % interval; None for an estimate."""
    ratio_high: float | None = None
    workloads: tuple[WorkloadTime, ...]
    """In the problem's order."""
    environment: Environment | None = None
    """What a measured time holds for; None for an estimate."""
    conditions: tuple[Conditions, ...] = ()
    """The GPU's state while it was timed."""


class Evaluated(Value):
    """What came of one kernel."""

    status: Literal["passed", "incorrect", "failed"]
    judged_by: str
    """`build` when it came no further, else `interpret` or `cuda`."""
    phase: str = ""
    """In which phase it failed."""
    reason: str = ""
    problem: str
    device: str
    """What it was built for, and timed on where that is measured."""
    toolchain: Toolchain
    fingerprint: str = ""
    checks: tuple[Check, ...] = ()
    time: Time | None = None
    """Set when it passed."""


def check_without_gpu(task: Task, device: Device, store: Store) -> Evaluated:
    """Judge by Triton's interpreter on the small workloads, and estimate the time.

    Args:
        task: what to judge.
        device: what to build for, and whose rates the estimate takes.
        store: keeps PTX and cubin.

    Raises:
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of ours broke.
    """
    build, timing, seed_timing = run_with_environment(
        NO_GPU, 2 * task.build_seconds + START_S, _built_and_estimated, task, device, store.root
    )
    if isinstance(build, BuildFailed):
        return _not_built(build, task, device)
    verdict = run_with_environment(NO_GPU, task.judge_seconds + 2 * START_S, _interpreted, task)
    if isinstance(verdict, Passed) and timing:
        verdict = undone_work(timing, seed_timing, verdict.judge) or verdict
    return _evaluated(verdict, build, estimated(timing, seed_timing) if timing else None, task, device)


def check_on_gpu(task: Task, wanted: Device | None, store: Store) -> Evaluated:
    """Judge and time on one of the visible GPUs, side by side with the problem's seed kernel.

    Args:
        task: what to judge.
        wanted: the GPU must be of this one's architecture; None: whatever it is.
        store: keeps PTX and cubin, and the GPU's measured rates.

    Raises:
        DeviceError: there is no GPU, it is another one than wanted, it was not free in time, or it broke.
        ProblemError: the problem cannot be judged.
        WorkerDied: a process of ours broke.
    """
    with leased(store, wait_s=task.wait_s) as found:
        if wanted is not None:
            check_same(found, wanted)
        build = run_with_environment(
            NO_GPU, task.build_seconds + START_S, _built, task, [task.kernel], found.device, store.root
        )[0]
        if isinstance(build, BuildFailed):
            return _not_built(build, task, found.device)
        one, seed = run_in_fresh_process(2 * task.judge_seconds + RACE_S, _raced, task, build, found, store.root)
        time = measured(one.timing, seed.timing) if one.timing else None
        return _evaluated(one.verdict, build, time, task, found.device)


def estimated(timing: Estimated, seed: Estimated | None) -> Time:
    """An estimate beside the seed kernel's."""
    theirs = [one.ms for one in seed.workloads] if seed else [None] * len(timing.workloads)
    return Time(
        kind="estimated",
        ms=timing.objective_ms,
        roofline_share=timing.roofline_share,
        ratio=timing.objective_ms / seed.objective_ms if seed else None,
        workloads=tuple(
            WorkloadTime(
                workload=one.workload, ms=one.ms, floor_ms=one.floor_ms, ratio=one.ms / other if other else None
            )
            for one, other in zip(timing.workloads, theirs, strict=True)
        ),
    )


def measured(timing: Measured, seed: Measured | None) -> Time:
    """A measured time beside the seed kernel's, whose samples at equal positions were taken next to its own."""
    return Time(
        kind="measured",
        ms=timing.objective_ms,
        roofline_share=timing.roofline_share,
        workloads=tuple(_workload(one, timing, seed) for one in timing.workloads),
        environment=timing.environment,
        conditions=timing.conditions,
        **_ratio(timing, seed),
    )


def _workload(one: WorkloadTiming, timing: Measured, seed: Measured | None) -> WorkloadTime:
    return WorkloadTime(
        workload=one.workload, ms=one.median_ms, low_ms=one.low_ms, high_ms=one.high_ms, wall_ms=one.wall_ms,
        floor_ms=one.floor_ms, **_ratio(timing, seed, one.workload),
    )  # fmt: skip


def _ratio(timing: Measured, seed: Measured | None, workload: str = "") -> dict[str, float]:
    if seed is None:
        return {}
    ratio = measured_ratio(timing, seed, workload)
    return {"ratio": ratio.middle, "ratio_low": ratio.low, "ratio_high": ratio.high}


def in_words(one: Evaluated) -> str:
    """For the terminal."""
    lines = [f"{one.status}, judged by {one.judged_by}" + (f", phase {one.phase}" if one.phase else "")]
    lines += [f"  {line}" for line in one.reason.splitlines()]
    if one.fingerprint:
        lines.append(f"fingerprint {one.fingerprint}")
    if one.checks:
        draws = len({(check.workload, check.distribution) for check in one.checks})
        worst = max(check.max_error / check.allowed if check.allowed else 0.0 for check in one.checks)
        lines.append(f"{len(one.checks)} checks on {draws} kinds of input, at most {worst:.0%} of the allowed error")
    return "\n".join([*lines, *(_time_lines(one.time, one.device) if one.time else [])])


def _time_lines(time: Time, device: str) -> list[str]:
    lines = [
        f"{one.workload}: {one.ms:.4f} ms{_interval(one.low_ms, one.high_ms)}, {time.kind}, {device}; "
        f"{one.floor_ms / one.ms:.1%} of the roofline{_of_seed(one)}"
        for one in time.workloads
    ]
    if len(time.workloads) > 1:
        lines.append(f"geometric mean: {time.ms:.4f} ms, {time.roofline_share:.1%} of the roofline{_of_seed(time)}")
    slowed = sorted({reason for state in time.conditions for reason in state.throttle})
    return [*lines, f"the GPU was slowed down by: {', '.join(slowed)}"] if slowed else lines


def _of_seed(time: Time | WorkloadTime) -> str:
    if time.ratio is None:
        return "; the seed kernel has no time"
    return f"; {time.ratio:.4f}{_interval(time.ratio_low, time.ratio_high)} of the seed kernel's time"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"


# --- in processes of their own ----------------------------------------------------------------------------------------


def _built(task: Task, kernels: Sequence[Kernel], device: Device, store: Path) -> list[Build]:
    build = build_with_triton(task.problem, device, Store(store), workers=len(kernels), seconds=task.build_seconds)
    built = build(kernels)
    return [built[at] for at in range(len(kernels))]


def _built_and_estimated(task: Task, device: Device, store: Path) -> tuple[Build, Estimated | None, Estimated | None]:
    """The kernel's build, its estimated time, and the seed kernel's."""
    from kopt.estimate.time import estimate

    builds = _built(task, [task.kernel, task.problem.seed], device, store)
    facts = facts_of(task.problem, Store(store), "interpret")
    times = [
        estimate(one, facts, device, lambda name: Store(store).text("ptx", name, ".ptx"))
        if isinstance(one, Built) else None
        for one in builds
    ]  # fmt: skip
    return builds[0], times[0], times[1]


def _interpreted(task: Task) -> Verdict:
    from kopt.device.interpret.contestant import VerifyJob
    from kopt.device.interpret.judge import verify_all
    from kopt.sandbox.cage import Limits

    job = VerifyJob(kernel=task.kernel, problem=task.problem, seed=task.seed)
    ((_, verdict),) = verify_all([job], workers=1, limits=Limits(wall_s=task.judge_seconds))
    return verdict


def _raced(task: Task, build: Built, found: MeasuredDevice, store: Path) -> tuple[JudgedKernel, JudgedKernel]:
    """What came of the kernel and of the seed kernel, raced side by side."""
    from kopt.device.cuda.judge import LIMITS, CudaJob, ProblemOnDevice, judge_all
    from kopt.device.cuda.race import Race
    from kopt.device.hardware.zygote import warm

    warm()  # before torch traces facts: without threads, which a fork would lose
    jobs = [
        CudaJob(kernel=task.kernel, problem=task.problem, seed=task.seed, build=build),
        CudaJob(kernel=task.problem.seed, problem=task.problem, seed=task.seed),
    ]
    ground = ProblemOnDevice(facts_of(task.problem, Store(store), "cuda"), found, Store(store))
    limits = replace(LIMITS, wall_s=task.judge_seconds)
    judged = dict(judge_all(jobs, ground, workers=len(jobs), limits=limits, race=Race(repeat=task.repeat)))
    return judged[0], judged[1]


# --- what came of it --------------------------------------------------------------------------------------------------


def _not_built(build: BuildFailed, task: Task, device: Device) -> Evaluated:
    return Evaluated(
        status="failed", judged_by="build", phase=build.phase, reason=build.reason, problem=task.problem.name,
        device=device.name, toolchain=toolchain(device),
    )  # fmt: skip


def _evaluated(verdict: Verdict, build: Built, time: Time | None, task: Task, device: Device) -> Evaluated:
    return Evaluated(
        status=verdict.verdict,
        judged_by=verdict.judge,
        phase=verdict.phase if isinstance(verdict, Failed) else "",
        reason="" if isinstance(verdict, Passed) else verdict.reason,
        problem=task.problem.name,
        device=device.name,
        toolchain=toolchain(device),
        fingerprint=build.fingerprint,
        checks=() if isinstance(verdict, Failed) else verdict.checks,
        time=time if isinstance(verdict, Passed) else None,
    )
