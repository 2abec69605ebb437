"""Estimate the time of one launch: how long it keeps each part of the device busy, and all parts together.

The walk through the PTX (`kopt.estimate.walk`) says how often each instruction runs and which bytes it asks for.
`kopt.estimate.traffic` and `kopt.estimate.cycles` turn that into work for each part of the device.  This module turns
the work into seconds and joins the parts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kopt.estimate.cycles import Region, Tensor, block_seconds, issue_cycles, regions_of, tensor_work
from kopt.estimate.instructions import PtxProgram
from kopt.estimate.parameters import scalar_values, tensor_sizes
from kopt.estimate.registers import Sample, sample
from kopt.estimate.traffic import Traffic, traffic
from kopt.estimate.uneven import alike, finish
from kopt.estimate.walk import Guess, Walk, walk
from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.problem import Dtype, WorkloadFacts
from kopt.roofline import Occupancy, fastest_matmul_tflop_s

DRAM_LATENCY = 650e-9
"""Latency of a load from DRAM, seconds."""
L2_LATENCY = 270e-9
"""Latency of a load from L2, seconds."""
L2_BYTES_PER_CYCLE = 38.0
"""Bytes per multiprocessor and clock from L2: about 10 TB/s on an H100, the rate that its best TMA kernels need."""
LOCAL_L1_BYTES = 128 * 1024
"""Local memory of a multiprocessor's resident threads that stays in L1, bytes."""
LOCAL_RELOADS = 8.0
"""Times that spilled bytes move beyond L1; fitted to two layernorm kernels on an H100 (0.44, 0.96 ms)."""
READ_ONLY_GAIN = 0.02
"""Share by which a read-only stream is faster than the device-to-device copy."""
TAIL_SHARE = 0.05
"""Part of the last wave's DRAM time in which blocks end one by one and leave it idle; fitted to 80 matvec kernels on an
H100, of which those of seven waves and more come 2 to 4 % nearer to the roofline than those of one."""
ISSUE_SHARE = 0.8
"""Share of the issue slots that code fills when it has enough warps."""
OVERLAP = 5.0
"""Exponent of the norm that joins the parts: parts that are far from equal overlap fully, equal ones do not."""
ATOMICS_PER_CYCLE = 64.0
"""Atomic operations of the whole device per clock."""


class LaunchTime(NamedTuple):
    """Seconds for which one launch keeps each part of the device busy."""

    dram: float
    l2: float
    load_store: float
    """Time of the load-store units."""
    issue: float
    """Time of the schedulers."""
    tensor: float
    """Time of the tensor cores."""
    latency: float
    """Time of all waves of blocks in sequence, each as long as a block that has a multiprocessor to itself."""
    atomics: float
    read_bytes: float
    """Bytes read from DRAM, as far as the walk went."""
    flops: float
    """Floating-point operations of matrix products, as far as the walk went."""
    complete: bool
    """Whether the walk reached the end of the kernel."""
    notes: tuple[str, ...]
    """Faults of the launch, in words."""

    @property
    def memory(self) -> float:
        """Seconds of the busiest part that moves data."""
        return max(self.dram, self.l2, self.load_store, self.atomics)

    @property
    def compute(self) -> float:
        """Seconds of the busiest part that computes."""
        return max(self.issue, self.tensor)

    @property
    def seconds(self) -> float:
        """Seconds of the launch: the norm, with exponent `OVERLAP`, of its parts."""
        alone = max(self.tensor, self.latency)  # a block's own time includes its matrix products
        parts = (self.dram, self.l2, self.load_store, self.issue, alone, self.atomics)
        top = max(parts)
        return float(top * sum((part / top) ** OVERLAP for part in parts) ** (1 / OVERLAP)) if top > 0 else 0.0


class LaunchOnDevice(NamedTuple):
    """One launch with its workload, its code and the device that it runs on."""

    launch: Launch
    facts: WorkloadFacts
    device: Device
    dtype: Dtype
    program: PtxProgram
    occupancy: Occupancy
    contents: dict[int, int]
    """The one value that fills the memory behind a pointer parameter, by its index, where it is known."""

    @property
    def blocks(self) -> int:
        """Blocks of the whole launch."""
        return math.prod(self.launch.grid) * max(self.launch.num_ctas, 1)

    @property
    def resident_blocks(self) -> int:
        """Blocks that the whole device holds at once: one wave."""
        return self.occupancy.blocks * self.device.sm_count

    @property
    def waves(self) -> float:
        """Waves of the launch, the last one as the share of it that is filled."""
        return self.blocks / self.resident_blocks


def time_launch(case: LaunchOnDevice) -> LaunchTime:
    """Estimate the time of a launch, part by part."""
    launch, device = case.launch, case.device
    sampled = sample(launch.grid, launch.num_warps * device.warp_size, case.resident_blocks)
    walked = _walk_all_work(case, sampled, scalar_values(case.program, launch))
    moved = traffic(walked, sampled, launch, tensor_sizes(case.program, launch), device, case.resident_blocks)
    regions = regions_of(case.program, walked, launch, _tile_bytes(walked), case.device)
    tensor = tensor_work(case.program, walked, launch, device)
    alone = _seconds_alone(case, walked, sampled, _latency(moved))
    return _busy_times(case, moved, regions, tensor, alone)._replace(complete=walked.complete)


def _seconds_alone(case: LaunchOnDevice, walked: Walk, sampled: Sample, latency: float) -> npt.NDArray[np.float64]:
    """Return the seconds of each sampled program of the grid where it has a multiprocessor to itself."""
    seconds = np.zeros(sampled.grid_programs.stop - sampled.grid_programs.start)
    for kind in alike(walked.each, len(seconds)):
        mine = replace(walked, counts=kind.counts)
        regions = regions_of(case.program, mine, case.launch, _tile_bytes(walked), case.device)
        tensor = tensor_work(case.program, mine, case.launch, case.device)
        seconds[kind.programs] = block_seconds(regions, case.launch, tensor, case.device, latency)
    return seconds


def _walk_all_work(case: LaunchOnDevice, sampled: Sample, scalars: dict[int, int]) -> Walk:
    """Walk, and walk again with unknown trip counts set so that the launch does the problem's work."""
    walked = walk(case.program, sampled, scalars, contents=case.contents)
    if not walked.unknown_loops:
        return walked
    jumping = walk(case.program, sampled, scalars, Guess(jumps=True), case.contents)
    jumps = sum(jumping.counts.values()) > sum(walked.counts.values())  # the path through more code is the main one
    walked = jumping if jumps else walked
    trips = max(1.0 / _work_share(case, sampled, walked), 1.0)
    for _ in range(3):  # trip counts of nested loops multiply: take roots until the work fits
        walked = walk(case.program, sampled, scalars, Guess(trips, jumps), case.contents)
        if _work_share(case, sampled, walked) < 2.0:
            break
        trips = math.sqrt(trips)
    return walked


def _work_share(case: LaunchOnDevice, sampled: Sample, walked: Walk) -> float:
    """Return the launch's matrix products (or, if it has none, the bytes it reads) over the problem's; never zero."""
    tensor = tensor_work(case.program, walked, case.launch, case.device)
    if tensor.flops and case.facts.matmul_flops:
        return tensor.flops * case.blocks / case.facts.matmul_flops
    moved = traffic(walked, sampled, case.launch, {}, case.device, case.resident_blocks)
    return float(max(moved.dram_read, 1.0)) / max(case.facts.input_bytes, 1)


def _tile_bytes(walked: Walk) -> float:
    """Return the bytes that TMA loads in one pass of the busiest loop."""
    loads = [
        (walked.counts.get(at, 0.0), site.bytes_per_thread)
        for at, site in walked.sites.items()
        if site.kind == "tma_load"
    ]
    most = max((count for count, _ in loads), default=0.0)
    return float(sum(size for count, size in loads if count > most / 2))


def _busy_times(
    case: LaunchOnDevice, moved: Traffic, regions: list[Region], tensor: Tensor, alone: npt.NDArray[np.float64]
) -> LaunchTime:
    """Return how long each part is busy; `alone` are the seconds of programs, each alone on a multiprocessor."""
    device = case.device
    clock = device.sm_clock_mhz * 1e6
    # The busiest multiprocessor decides: the last wave may leave others idle, or there may be too few blocks.
    mean = float(np.mean(alone))
    each = alone / mean if mean > 0 else np.ones_like(alone)
    per_sm = finish(each, case.blocks, device.sm_count, case.resident_blocks)
    uneven = per_sm * device.sm_count / case.blocks
    waves = math.ceil(case.waves)
    passes = max((region.runs for region in regions), default=1.0)
    spilled = case.launch.spills * 2.0 * passes * case.launch.num_warps * device.warp_size / 128
    return LaunchTime(
        dram=_dram_seconds(moved, device) * (1 + TAIL_SHARE / max(case.waves, 1.0)) + _local_seconds(case, passes),
        l2=moved.l2 * uneven / (L2_BYTES_PER_CYCLE * clock * device.sm_count),
        load_store=(moved.lsu_cycles + spilled) * per_sm / clock,
        issue=issue_cycles(regions, case.launch) * per_sm / clock / ISSUE_SHARE,
        tensor=tensor.seconds * per_sm,
        latency=finish(alone, case.blocks, case.resident_blocks, case.resident_blocks),
        atomics=moved.atomics / ATOMICS_PER_CYCLE / clock,
        read_bytes=moved.dram_read,
        flops=tensor.flops * case.blocks,
        complete=True,
        notes=_notes(case, moved, tensor, waves),
    )


def _local_seconds(case: LaunchOnDevice, passes: float) -> float:
    """Return the seconds of local memory beyond what stays in L1: it is written out and read back."""
    launch, device = case.launch, case.device
    threads = launch.num_warps * device.warp_size
    blocks = min(case.occupancy.blocks, math.ceil(case.blocks / device.sm_count))
    resident = launch.spills * threads * blocks
    if resident <= LOCAL_L1_BYTES:
        return 0.0
    moved = launch.spills * threads * case.blocks * passes * (1 - LOCAL_L1_BYTES / resident)
    return LOCAL_RELOADS * moved / (device.copy_gb_s * 1e9)


def _dram_seconds(moved: Traffic, device: Device) -> float:
    total = moved.dram_read + moved.dram_write
    share = moved.dram_read / total if total else 0.0
    return total / (device.copy_gb_s * 1e9 * (1 + READ_ONLY_GAIN * max(0.0, 2 * share - 1)))


def _latency(moved: Traffic) -> float:
    """Return the latency of the mean load, seconds: DRAM's where most bytes come from there, L2's otherwise."""
    share = min((moved.dram_read / moved.l2) if moved.l2 else 0.0, 1.0)
    return L2_LATENCY + (DRAM_LATENCY - L2_LATENCY) * min(1.0, 2 * share)


def _notes(case: LaunchOnDevice, moved: Traffic, tensor: Tensor, waves: int) -> tuple[str, ...]:
    """Note what slows the launch down: occupancy, tail wave, spills, narrow or uncoalesced loads, bytes read again."""
    launch, notes = case.launch, []
    notes.append(
        f"{launch.kernel}: {case.occupancy.blocks} blocks of {launch.num_warps} warps per SM"
        f" (limit: {case.occupancy.limit}), {case.waves:.2f} waves"
    )
    if case.waves > 0.05 and waves / case.waves > 1.15:
        notes.append(f"{launch.kernel}: tail wave, {1 - case.waves / waves:.0%} of the block slots stay empty")
    if case.blocks < case.device.sm_count:
        notes.append(f"{launch.kernel}: {case.blocks} blocks for {case.device.sm_count} multiprocessors")
    if launch.spills:
        notes.append(f"{launch.kernel}: {launch.spills} bytes of local memory per thread")
    if 0 < moved.widest < 16:
        notes.append(f"{launch.kernel}: loads of {moved.widest} bytes per thread")
    if moved.useful and moved.l2 / moved.useful > 1.2:
        notes.append(f"{launch.kernel}: uncoalesced, {moved.l2 / moved.useful:.1f}x the bytes asked for move from L2")
    moved_dram = moved.dram_read + moved.dram_write
    if case.facts.bytes and moved_dram > 1.2 * case.facts.bytes:
        notes.append(f"{launch.kernel}: {moved_dram / case.facts.bytes:.1f}x the problem's bytes move from DRAM")
    if not tensor.instruction and _is_arithmetic_heavy(case):
        notes.append(f"{launch.kernel}: no tensor-core instruction")
    return tuple(notes)


def _is_arithmetic_heavy(case: LaunchOnDevice) -> bool:
    """Return whether the problem's matrix products take a fifth of its memory time or more, on the tensor cores."""
    rate = fastest_matmul_tflop_s(case.facts, case.device, case.dtype)
    return case.facts.matmul_flops / rate > 0.2 * case.facts.bytes / case.device.copy_gb_s * 1e3
