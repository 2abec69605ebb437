"""Rule-based diagnosis: what a kernel's build, time and counters say of where its time goes, and what to try.

Every rule of `kopt.search.bottlenecks` reads one fact and scores it; the best `count` make the diagnosis, so
directions always differ.  Pure: PTX, stores and devices are read elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kopt.model.build import Built, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.diagnosis import Bound, Diagnosis, Direction, Profile
from kopt.model.problem import ProblemFacts, WorkloadFacts
from kopt.model.timing import Estimated, Measured
from kopt.roofline import bound, compute_floor_ms, memory_floor_ms, occupancy
from kopt.search.bottlenecks import RULES, Case, Reading, Rule

USED_FACTOR = 0.6
"""What is left of a score when the kernel uses all techniques of the direction already."""


def static_profile(
    build: Built,
    timing: Estimated | Measured,
    facts: ProblemFacts,
    device: Device,
    instruction_mix: Mapping[str, int],
) -> Profile:
    """What is known of a run without hardware counters: achieved rates, build resources, instructions in the PTX.

    Metrics are of the workload that is furthest from its floor; rates in GB/s and TFLOP/s, shares from 0 to 1.
    """
    name, ms = slowest(timing)
    workload = _facts_of(facts, name)
    launch = main_launch(_build_of(build, name), build)
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
    """The `count` most promising directions for one kernel, all with different bottlenecks, best first.

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
    """The launch with the most threads, the first of them on a tie: where the time most likely goes."""
    launches = workload.launches or build.workloads[0].launches
    return max(launches, key=lambda one: (math.prod(one.grid) * one.num_warps, -launches.index(one)))


def _case(profile: Profile, build: Built, techniques: frozenset[str], facts: ProblemFacts, device: Device) -> Case:
    workload = facts.workloads[0]
    built = _build_of(build, workload.workload)
    launch = main_launch(built, build)
    memory, compute = memory_floor_ms(workload, device), compute_floor_ms(workload, device, facts.dtype)
    trials = {one.kernel for one in built.launches if one.trial}
    return Case(
        profile=profile,
        launch=launch,
        launches=sum(not one.trial for one in built.launches) + len(trials),
        host_ops=tuple(op for op in built.host_ops if op.kind in ("fill", "copy")),
        occupancy=occupancy(launch, device),
        techniques=techniques,
        workload=workload,
        device=device,
        heavy=workload.matmul_flops > 0 and compute > 0.3 * memory,
    )


def _build_of(build: Built, name: str) -> WorkloadBuild:
    return next((one for one in build.workloads if one.workload == name), build.workloads[0])


def _facts_of(facts: ProblemFacts, name: str) -> WorkloadFacts:
    return next((one for one in facts.workloads if one.workload == name), facts.workloads[0])


def slowest(timing: Estimated | Measured) -> tuple[str, float]:
    """The workload that is furthest from its floor, and its time in ms: what a profile speaks of."""
    if isinstance(timing, Measured):
        measured = min(timing.workloads, key=lambda one: one.floor_ms / one.median_ms)
        return measured.workload, measured.median_ms
    estimated = min(timing.workloads, key=lambda one: one.floor_ms / one.ms)
    return estimated.workload, estimated.ms


def _bound(
    timing: Estimated | Measured, name: str, workload: WorkloadFacts, device: Device, facts: ProblemFacts
) -> Bound:
    if isinstance(timing, Estimated):
        return next(one.bound for one in timing.workloads if one.workload == name)
    ms = next(one.median_ms for one in timing.workloads if one.workload == name)
    return bound(workload, device, facts.dtype, ms)


def _traffic_ratio(timing: Estimated | Measured, name: str, workload: WorkloadFacts, device: Device) -> float | None:
    """Time that the estimate gives to memory over the time of the problem's own bytes; unknown for a measured time."""
    if isinstance(timing, Measured):
        return None
    memory_ms = next(one.memory_ms for one in timing.workloads if one.workload == name)
    return memory_ms * device.copy_gb_s * 1e6 / workload.bytes


def _notes(timing: Estimated | Measured, name: str) -> tuple[str, ...]:
    source = "rates from a measured time" if isinstance(timing, Measured) else "rates from an estimated time"
    held = () if isinstance(timing, Measured) else next(o.notes for o in timing.workloads if o.workload == name)
    return ("no hardware counter was read", source, *held)


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
