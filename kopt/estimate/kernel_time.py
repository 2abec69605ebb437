"""Estimate a kernel's time from its build and the problem's facts: no GPU is used, nothing is measured.

The estimate orders candidates; its milliseconds are no measurement.  `docs/estimate.md` lists the assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from kopt.estimate.eager import OPERATION_SECONDS
from kopt.estimate.full_size.host_memory import constant_contents, host_fills
from kopt.estimate.full_size.work_shares import work_shares
from kopt.estimate.instructions import PtxProgram, parse
from kopt.estimate.launch_time import LaunchOnDevice, LaunchTime, time_launch
from kopt.model.build import Built, HostOp, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.diagnosis import Bound
from kopt.model.problem import DTYPE_BYTES, Dtype, ProblemFacts, WorkloadFacts
from kopt.model.timing import Estimated, WorkloadEstimate
from kopt.roofline import floor_bound, floor_ms, occupancy

LAUNCH_SECONDS = 2.5e-6
"""Overhead of one launch on the device."""
LEAST_DONE = 0.01
"""Share of the work for which a walk that was cut short counts at least."""


def estimate(build: Built, facts: ProblemFacts, device: Device, ptx_of: Callable[[str], str]) -> Estimated:
    """Estimate the time of a built kernel on every main workload, never below the roofline floor.

    Args:
        build: the kernel's build; its workloads are matched with those of `facts` by name.
        facts: the problem's facts; a workload without facts is left out.
        device: the device to estimate for.
        ptx_of: returns the PTX text for a digest that the build names.
    """
    facts_by_name = {workload.workload: workload for workload in facts.workloads}
    programs: dict[str, PtxProgram] = {}

    def program_of(digest: str) -> PtxProgram:
        if digest not in programs:
            programs[digest] = parse(ptx_of(digest))
        return programs[digest]

    estimates = [
        _workload(workload, facts_by_name[workload.workload], facts.dtype, device, program_of)
        for workload in build.workloads
        if workload.workload in facts_by_name
    ]
    return Estimated(device=device.name, workloads=tuple(estimates))


def _workload(
    build: WorkloadBuild, facts: WorkloadFacts, dtype: Dtype, device: Device, program_of: Callable[[str], PtxProgram]
) -> WorkloadEstimate:
    timer = _LaunchTimer(build, facts, dtype, device, program_of)
    chosen = [timer.fastest(group) for group in _alternatives(build.launches)]
    times = [time for _, time in chosen]
    overhead = len(times) * LAUNCH_SECONDS + sum(_host_seconds(operation, device) for operation in build.host_ops)
    floor = floor_ms(facts, device, dtype)
    total = sum(time.seconds for time in times) + overhead
    notes = [note for time in times for note in time.notes]
    if not all(time.complete for time in times):
        total /= max(_walked_share(build, times, facts), LEAST_DONE)  # add the part that the walk did not reach
        notes.append("a kernel is too long to be followed: its time is a guess")
    work = work_shares(build, [launch for launch, _ in chosen], facts, sum(time.flops for time in times), program_of)
    return WorkloadEstimate(
        workload=facts.workload,
        ms=max(total * 1e3, floor),
        done=work.done,
        least=work.least,
        lacking=work.lacking,
        followed=work.followed,
        outside=work.outside,
        memory_ms=sum(time.memory for time in times) * 1e3,
        compute_ms=sum(time.compute for time in times) * 1e3,
        launch_ms=overhead * 1e3,
        floor_ms=floor,
        weight=facts.weight,
        bound=_bound(times, overhead) if total * 1e3 > floor else floor_bound(facts, device, dtype),
        notes=tuple(dict.fromkeys(notes)),
    )


class _LaunchTimer:
    """Estimate the times of launches, equal ones once."""

    def __init__(
        self, build: WorkloadBuild, facts: WorkloadFacts, dtype: Dtype, device: Device,
        program_of: Callable[[str], PtxProgram],
    ) -> None:  # fmt: skip
        self._build, self._facts, self._dtype, self._device = build, facts, dtype, device
        self._program_of, self._fills = program_of, host_fills(build)
        self._known: dict[tuple[object, ...], LaunchTime] = {}

    def fastest(self, group: list[Launch]) -> tuple[Launch, LaunchTime]:
        """Return the fastest of the configurations that one autotuner tries, with its time."""
        return min(((launch, self._time(launch)) for launch in group), key=lambda pair: pair[1].seconds)

    def _time(self, launch: Launch) -> LaunchTime:
        program = self._program_of(launch.ptx)
        contents = constant_contents(self._build, launch, program, self._fills)
        key = (launch.cubin, launch.ptx, launch.grid, launch.arguments, launch.options, tuple(sorted(contents.items())))
        if key not in self._known:
            self._known[key] = time_launch(
                LaunchOnDevice(
                    launch, self._facts, self._device, self._dtype, program, occupancy(launch, self._device), contents
                )
            )
        return self._known[key]


def _alternatives(launches: Sequence[Launch]) -> Iterator[list[Launch]]:
    """Yield launches in order, each alone, but configurations that one autotuner tries together: one of them runs."""
    for (trial, _), group in groupby(launches, key=lambda launch: (launch.trial, launch.kernel)):
        members = list(group)
        if trial:
            yield members
        else:
            yield from ([launch] for launch in members)


def _walked_share(build: WorkloadBuild, times: Sequence[LaunchTime], facts: WorkloadFacts) -> float:
    """Return the share of the reference's work that the walks through the launches reached: bytes read or products."""
    copied = sum(_copied_bytes(operation) for operation in build.host_ops if operation.kind == "copy")
    read = (sum(time.read_bytes for time in times) + copied) / max(facts.input_bytes, 1)
    flops = sum(time.flops for time in times)
    return float(min(read, flops / facts.matmul_flops if flops and facts.matmul_flops else read))


def _bound(times: Sequence[LaunchTime], overhead: float) -> Bound:
    """Return what limits the longest launch; latency where the overhead of launches is longer."""
    longest = max(times, key=lambda time: time.seconds, default=None)
    if longest is None or overhead > longest.seconds or longest.latency >= max(longest.memory, longest.compute):
        return "latency"
    return "memory" if longest.memory >= longest.compute else "compute"


def _host_seconds(operation: HostOp, device: Device) -> float:
    """Return the device time of one host operation: none for views and allocations, else overhead and its bytes."""
    if operation.kind in ("view", "allocation"):
        return 0.0
    factor = 1.0 if operation.kind == "fill" else 2.0  # a copy reads and writes
    return OPERATION_SECONDS + factor * _copied_bytes(operation) / (device.copy_gb_s * 1e9)


def _copied_bytes(operation: HostOp) -> int:
    """Return the bytes of an operation's tensor arguments; a missing dtype counts as float32."""
    dtypes = [*operation.dtypes, *["float32"] * len(operation.shapes)][: len(operation.shapes)]
    sizes = [DTYPE_BYTES.get(dtype, 4) for dtype in dtypes]
    return sum(math.prod(shape) * size for shape, size in zip(operation.shapes, sizes, strict=True))
