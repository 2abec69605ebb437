"""Diagnose a kernel by rules: where its time goes by its build, time and counters, and what to try.

Every rule of `kopt.search.bottlenecks` reads one fact and scores it; the best rules make the diagnosis, so its
directions always differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kopt.model.build import Built, HostOp, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.diagnosis import Bound, Diagnosis, Direction, Profile
from kopt.model.problem import ProblemFacts, WorkloadFacts
from kopt.model.timing import Estimated, Measured, times_by_workload
from kopt.roofline import bound, memory_floor_ms, occupancy, reference_compute_ms
from kopt.search.bottlenecks import RULES, Case, Reading, Rule

USED_FACTOR = 0.6
"""Factor on the score of a rule whose techniques the kernel uses already."""


def static_profile(
    build: Built,
    timing: Estimated | Measured,
    facts: ProblemFacts,
    device: Device,
    instruction_mix: Mapping[str, int],
) -> Profile:
    """Make the profile of a kernel without hardware counters: achieved rates, build resources, instructions in the PTX.

    Metrics are of the workload that is furthest from its floor; rates in GB/s and TFLOP/s, shares from 0 to 1.

    Args:
        build: the kernel's build.
        timing: the kernel's time, measured or estimated.
        facts: bytes and operations of the problem's workloads.
        device: the GPU that the time holds for.
        instruction_mix: counts of PTX instructions by kind.
    """
    name, ms = slowest(timing)
    workload = _facts_of(facts, name)
    launch = main_launch(build_of(build, name), build)
    metrics: dict[str, float | None] = {
        "time_ms": ms,
        "achieved_gb_s": workload.bytes / ms / 1e6,
        "memory_share": workload.bytes / ms / 1e6 / device.copy_gb_s,
        "achieved_tflop_s": (workload.matmul_flops + workload.vector_flops) / ms / 1e9,
        "traffic_ratio": _traffic_ratio(timing, name, workload, device),
        **_build_metrics(launch, device),
        **{f"ptx_{kind}": float(count) for kind, count in sorted(instruction_mix.items())},
    }
    return Profile(
        kind="static",
        bound=_bound(timing, name, workload, device, facts),
        roofline_share=min(timing.roofline_share, 1.0),
        metrics=metrics,
        notes=_notes(timing, name),
        workload=name,
        times_ms=times_by_workload(timing),
    )


def diagnose(
    kernel_digest: str,
    profile: Profile,
    build: Built,
    techniques: Sequence[str],
    facts: ProblemFacts,
    device: Device,
    count: int,
) -> Diagnosis:
    """Rank the `count` most promising directions for one kernel, all with different bottlenecks, best first.

    Args:
        kernel_digest: digest of the kernel's source.
        profile: the kernel's profile, static or of counters.
        build: the kernel's build.
        techniques: names of the techniques that it uses.
        facts: bytes and operations of the problem's workloads.
        device: the GPU.
        count: number of directions.

    Raises:
        ValueError: more directions are asked for than there are rules (`len(RULES)`).
    """
    if count > len(RULES):
        raise ValueError(f"{count} directions asked for, but only {len(RULES)} are known")
    case = _case(profile, build, frozenset(techniques), facts, device)
    scored = [(rule, rule.read(case)) for rule in RULES]
    order = sorted(range(len(RULES)), key=lambda at: (-_score(*scored[at], case), at))
    return Diagnosis(
        kernel=kernel_digest,
        source="rules",
        directions=tuple(_direction(rank, *scored[at], case) for rank, at in enumerate(order[:count], start=1)),
    )


def main_launch(workload: WorkloadBuild, build: Built) -> Launch:
    """Find the launch with the most threads, the first of them on a tie: where the time most likely goes."""
    launches = workload.launches or build.workloads[0].launches
    return max(launches, key=lambda launch: (math.prod(launch.grid) * launch.num_warps, -launches.index(launch)))


def launch_count(workload: WorkloadBuild) -> int:
    """Count the launches of one call, an autotuner's trials once."""
    tuned = {launch.kernel for launch in workload.launches if launch.trial}
    return sum(not launch.trial for launch in workload.launches) + len(tuned)


def timed_host_ops(workload: WorkloadBuild) -> tuple[HostOp, ...]:
    """Return the host operations of one call that take time on the device: those that fill or copy memory."""
    return tuple(op for op in workload.host_ops if op.kind in ("fill", "copy"))


def build_of(build: Built, workload: str) -> WorkloadBuild:
    """Return the trace of a workload; the first where it has none of this name."""
    return next((each for each in build.workloads if each.workload == workload), build.workloads[0])


def _case(profile: Profile, build: Built, techniques: frozenset[str], facts: ProblemFacts, device: Device) -> Case:
    workload = facts.workloads[0]
    built = build_of(build, workload.workload)
    main = main_launch(built, build)
    memory, compute = memory_floor_ms(workload, device), reference_compute_ms(workload, device, facts.dtype)
    return Case(
        profile=profile,
        launch=main,
        launches=launch_count(built),
        host_ops=timed_host_ops(built),
        occupancy=occupancy(main, device),
        techniques=techniques,
        workload=workload,
        device=device,
        heavy=workload.matmul_flops > 0 and compute > 0.3 * memory,
    )


def _facts_of(facts: ProblemFacts, name: str) -> WorkloadFacts:
    return next((each for each in facts.workloads if each.workload == name), facts.workloads[0])


def slowest(timing: Estimated | Measured) -> tuple[str, float]:
    """Find the workload that is furthest from its floor, which a profile is about, and its time in ms."""
    if isinstance(timing, Measured):
        measured = min(timing.workloads, key=lambda time: time.floor_ms / time.median_ms)
        return measured.workload, measured.median_ms
    estimated = min(timing.workloads, key=lambda time: time.floor_ms / time.ms)
    return estimated.workload, estimated.ms


def _bound(
    timing: Estimated | Measured, name: str, workload: WorkloadFacts, device: Device, facts: ProblemFacts
) -> Bound:
    if isinstance(timing, Estimated):
        return next(time.bound for time in timing.workloads if time.workload == name)
    ms = next(time.median_ms for time in timing.workloads if time.workload == name)
    return bound(workload, device, facts.dtype, ms)


def _traffic_ratio(timing: Estimated | Measured, name: str, workload: WorkloadFacts, device: Device) -> float | None:
    """Divide the estimate's memory time by the time of the problem's own bytes; None for a measured time."""
    if isinstance(timing, Measured):
        return None
    memory_ms = next(time.memory_ms for time in timing.workloads if time.workload == name)
    return memory_ms * device.copy_gb_s * 1e6 / max(workload.bytes, 1)


def _notes(timing: Estimated | Measured, name: str) -> tuple[str, ...]:
    source = "rates from a measured time" if isinstance(timing, Measured) else "rates from an estimated time"
    notes = () if isinstance(timing, Measured) else next(t.notes for t in timing.workloads if t.workload == name)
    return ("no hardware counter was read", source, *notes)


def _build_metrics(launch: Launch, device: Device) -> dict[str, float | None]:
    resident = occupancy(launch, device)
    programs = math.prod(launch.grid)
    return {
        "occupancy": resident.share,
        "blocks_per_sm": float(resident.blocks),
        "programs": float(programs),
        "waves": programs / (resident.blocks * device.sm_count),
        "registers_per_thread": float(launch.registers),
        "local_bytes_per_thread": float(launch.spills),
        "shared_bytes_per_block": float(launch.shared_bytes),
        "num_warps": float(launch.num_warps),
        "num_stages": float(launch.num_stages),
    }


def _score(rule: Rule, reading: Reading, case: Case) -> float:
    used = bool(rule.techniques) and all(name in case.techniques for name in rule.techniques)
    return reading.score * (USED_FACTOR if used else 1.0)


def _direction(rank: int, rule: Rule, reading: Reading, case: Case) -> Direction:
    fresh = [name for name in rule.techniques if name not in case.techniques]
    used = [name for name in rule.techniques if name in case.techniques]
    return Direction(
        rank=rank,
        bottleneck=rule.bottleneck,
        cause=reading.cause,
        direction=rule.direction,
        techniques=tuple(fresh + used),
    )
