"""Define the result of `kopt evaluate` for one kernel, and write it for the terminal."""

from __future__ import annotations

from typing import Literal, TypedDict

from kopt.model.base import Value
from kopt.model.device import Toolchain, estimate_warning
from kopt.model.environment import Conditions, Environment
from kopt.model.timing import Estimated, Measured, WorkloadTiming
from kopt.model.verdict import Check
from kopt.report.numbers import closeness
from kopt.statistics import measured_ratio

FOLLOWED = 0.995
"""Share of the work that counts as all of it."""


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
    """Roofline floor: no kernel is faster on this device."""
    weight: float = 1.0
    """Weight in the objective."""
    followed: float | None = None
    """Share of the work that could be followed at full size; the rest counts as done.  None where it was measured."""
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
    """Times of the workloads, in the problem's order."""
    environment: Environment | None = None
    """Environment for which a measured time is valid; None for an estimate."""
    conditions: tuple[Conditions, ...] = ()
    """The GPU's state while it was timed."""


class Evaluated(Value):
    """The result of one kernel."""

    status: Literal["passed", "incorrect", "failed"]
    judged_by: str
    """`build` when it failed there, else `interpret` or `cuda`."""
    phase: str = ""
    """The phase in which it failed."""
    reason: str = ""
    problem: str
    device: str
    """The device that the kernel was built for; where its time is measured, the device that it was timed on."""
    toolchain: Toolchain
    fingerprint: str = ""
    checks: tuple[Check, ...] = ()
    time: Time | None = None
    """Set when it passed."""


def estimated_time(timing: Estimated, seed: Estimated | None) -> Time:
    """Compare an estimate with the seed kernel's, None where the seed kernel has none."""
    seed_ms = [workload.ms for workload in seed.workloads] if seed else [None] * len(timing.workloads)
    return Time(
        kind="estimated",
        ms=timing.objective_ms,
        roofline_share=timing.roofline_share,
        ratio=timing.objective_ms / seed.objective_ms if seed else None,
        workloads=tuple(
            WorkloadTime(
                workload=workload.workload,
                ms=workload.ms,
                floor_ms=workload.floor_ms,
                weight=workload.weight,
                followed=workload.followed,
                ratio=workload.ms / ms if ms else None,
            )
            for workload, ms in zip(timing.workloads, seed_ms, strict=True)
        ),
    )


def measured_time(timing: Measured, seed: Measured | None) -> Time:
    """Compare a measured time with the seed kernel's, whose samples at equal positions were taken next to its own."""
    return Time(
        kind="measured",
        ms=timing.objective_ms,
        roofline_share=timing.roofline_share,
        workloads=tuple(_workload(workload, timing, seed) for workload in timing.workloads),
        environment=timing.environment,
        conditions=timing.conditions,
        **_ratio(timing, seed),
    )


def _workload(workload: WorkloadTiming, timing: Measured, seed: Measured | None) -> WorkloadTime:
    return WorkloadTime(
        workload=workload.workload,
        ms=workload.median_ms,
        low_ms=workload.low_ms,
        high_ms=workload.high_ms,
        wall_ms=workload.wall_ms,
        floor_ms=workload.floor_ms,
        weight=workload.weight,
        **_ratio(timing, seed, workload.workload),
    )


class _Ratio(TypedDict, total=False):
    ratio: float
    ratio_low: float
    ratio_high: float


def _ratio(timing: Measured, seed: Measured | None, workload: str = "") -> _Ratio:
    if seed is None:
        return {}
    ratio = measured_ratio(timing, seed, workload)
    return {"ratio": ratio.middle, "ratio_low": ratio.low, "ratio_high": ratio.high}


def in_words(evaluated: Evaluated, *, has_seed: bool = True) -> str:
    """Describe what became of the kernel for the terminal.

    Args:
        evaluated: the result.
        has_seed: whether the problem has a seed kernel to compare with.
    """
    phase = f", phase {evaluated.phase}" if evaluated.phase else ""
    lines = [f"{evaluated.status}, judged by {evaluated.judged_by}{phase}"]
    lines += [f"  {line}" for line in evaluated.reason.splitlines()]
    if evaluated.fingerprint:
        lines.append(f"fingerprint {evaluated.fingerprint}")
    if checks := evaluated.checks:
        draws = len({(check.workload, check.distribution) for check in checks})
        lines.append(f"{len(checks)} checks on {draws} kinds of input, {closeness(checks)}")
    return "\n".join([*lines, *(_time_lines(evaluated.time, evaluated.device, has_seed) if evaluated.time else [])])


def _time_lines(time: Time, device: str, has_seed: bool) -> list[str]:
    lines = [
        f"{workload.workload}: {workload.ms:.4f} ms{_interval(workload.low_ms, workload.high_ms)}, {time.kind}, "
        f"{device}; {workload.floor_ms / workload.ms:.1%} of the roofline"
        f"{_of_seed(workload) if has_seed else ''}{_wall(workload)}"
        for workload in time.workloads
    ]
    lines += [
        f"{workload.workload}: {workload.followed:.0%} of the work could be followed at full size; data decides the "
        "rest, which counts as done and was not checked there"
        for workload in time.workloads
        if workload.followed is not None and workload.followed < FOLLOWED
    ]
    if len(time.workloads) > 1:
        against = _of_seed(time) if has_seed else ""
        lines.append(f"geometric mean: {time.ms:.4f} ms, {time.roofline_share:.1%} of the roofline{against}")
    if time.kind == "estimated" and (warning := estimate_warning(device)):
        lines.append(warning)
    slowed = sorted({reason for state in time.conditions for reason in state.throttle})
    return [*lines, f"the GPU was slowed down by: {', '.join(slowed)}"] if slowed else lines


def _wall(workload: WorkloadTime) -> str:
    return "" if workload.wall_ms is None else f"; {workload.wall_ms:.4f} ms of wall time, launches included"


def _of_seed(time: Time | WorkloadTime) -> str:
    if time.ratio is None:
        return "; the seed kernel has no time to compare with"
    return f"; {time.ratio:.4f}{_interval(time.ratio_low, time.ratio_high)} of the seed kernel's time"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"
