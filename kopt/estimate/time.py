"""An estimate of a kernel's time from its build and the problem's workload: no GPU is asked, nothing is measured.

The walk through the PTX (`kopt.estimate.walk`) says how often each instruction runs and which bytes it asks for;
`kopt.estimate.traffic` and `kopt.estimate.cycles` turn that into work for each part of the device; here the parts'
times are put together.  `docs/estimate.md` lists the assumptions.  It orders candidates; its milliseconds are no measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from kopt.estimate.cycles import Region, Tensor, block_seconds, issue_cycles, regions, tensor_work
from kopt.estimate.instructions import PtxProgram, parse
from kopt.estimate.registers import Sample, sample
from kopt.estimate.traffic import Traffic, tensor_bytes, traffic
from kopt.estimate.walk import Guess, Walk, walk
from kopt.model.build import Built, HostOp, Launch, WorkloadBuild
from kopt.model.device import Device
from kopt.model.diagnosis import Bound
from kopt.model.problem import DTYPE_BYTES, Dtype, EagerOp, ProblemFacts, WorkloadFacts
from kopt.model.timing import Estimated, WorkloadEstimate
from kopt.roofline import Occupancy, floor_ms, matmul_tflop_s, occupancy

LAUNCH_SECONDS = 2.5e-6
HOST_OP_SECONDS = 3.0e-6
DRAM_LATENCY = 650e-9
L2_LATENCY = 270e-9
L2_BYTES_PER_CYCLE = 38.0
"""Bytes per multiprocessor and clock from L2: about 10 TB/s on an H100, the rate that its best TMA kernels need."""
LOCAL_L1_BYTES = 128 * 1024
"""Local memory of a multiprocessor's resident threads that stays in L1."""
LOCAL_RELOADS = 8.0
"""Times that spilled bytes move beyond L1; fitted to two layernorm kernels on an H100 (0.44, 0.96 ms)."""
READ_ONLY_GAIN = 0.02
"""A read-only stream beats the device-to-device copy by this much."""
TAIL_SHARE = 0.05
"""Part of the last wave's DRAM time in which blocks end one by one and leave it idle; fitted to 80 matvec kernels on an
H100, of which those of seven waves and more come 2 to 4 % nearer to the roofline than those of one."""
ISSUE_SHARE = 0.8
"""Share of the issue slots that code fills when it has warps enough."""
OVERLAP = 5.0
"""Exponent of the norm that joins the parts: parts that are far from equal overlap fully, equal ones do not."""
ATOMICS_PER_CYCLE = 64.0
LEAST_DONE = 0.01
"""A walk that was cut short counts for at least this share of the work."""


class _Parts(NamedTuple):
    """Seconds of one launch, part by part."""

    dram: float
    l2: float
    load_store: float
    issue: float
    tensor: float
    latency: float
    atomics: float
    read: float
    """Bytes from DRAM, as far as the walk came."""
    flops: float
    """Of matrix products, as far as the walk came."""
    complete: bool
    """Whether the walk came to the end."""
    notes: tuple[str, ...]

    @property
    def memory(self) -> float:
        return max(self.dram, self.l2, self.load_store, self.atomics)

    @property
    def compute(self) -> float:
        return max(self.issue, self.tensor)

    @property
    def seconds(self) -> float:
        alone = max(self.tensor, self.latency)  # a block's own time holds its matrix products already
        parts = (self.dram, self.l2, self.load_store, self.issue, alone, self.atomics)
        top = max(parts)
        return float(top * sum((part / top) ** OVERLAP for part in parts) ** (1 / OVERLAP)) if top > 0 else 0.0


class _Case(NamedTuple):
    """One launch with what is needed to judge it."""

    launch: Launch
    facts: WorkloadFacts
    device: Device
    dtype: Dtype
    program: PtxProgram
    occupancy: Occupancy

    @property
    def blocks(self) -> int:
        return math.prod(self.launch.grid) * max(self.launch.num_ctas, 1)


def estimate(build: Built, facts: ProblemFacts, device: Device, ptx_of: Callable[[str], str]) -> Estimated:
    """Estimated time of a built kernel on every main workload; `ptx_of` gives the PTX text of a digest.

    Never below the roofline floor.  Workloads are matched by name; one without facts is left out.
    """
    known = {one.workload: one for one in facts.workloads}
    programs: dict[str, PtxProgram] = {}

    def program_of(key: str) -> PtxProgram:
        if key not in programs:
            programs[key] = parse(ptx_of(key))
        return programs[key]

    estimates = [
        _workload(one, known[one.workload], facts.dtype, device, program_of)
        for one in build.workloads
        if one.workload in known
    ]
    return Estimated(device=device.name, workloads=tuple(estimates))


def estimate_eager(facts: ProblemFacts, device: Device) -> Estimated:
    """Estimated time of the eager reference: every operation on its own, at the rate of its bytes or arithmetic."""
    return Estimated(
        device=device.name, workloads=tuple(_eager_workload(one, facts.dtype, device) for one in facts.workloads)
    )


def _eager_workload(facts: WorkloadFacts, dtype: Dtype, device: Device) -> WorkloadEstimate:
    ops = [op for op in facts.eager_ops if op.bytes]
    memory = [op.bytes / device.copy_gb_s / 1e6 for op in ops]
    compute = [_eager_compute(op, dtype, device) for op in ops]
    launch = len(ops) * HOST_OP_SECONDS * 1e3
    floor = floor_ms(facts, device, dtype)
    total = sum(map(max, memory, compute)) + launch
    bound: Bound = "latency" if launch > total / 2 else "memory" if sum(memory) >= sum(compute) else "compute"
    return WorkloadEstimate(
        workload=facts.workload, ms=max(total, floor), memory_ms=sum(memory), compute_ms=sum(compute), launch_ms=launch,
        floor_ms=floor, bound=bound, notes=(f"{len(ops)} operations, each on its own",),
    )  # fmt: skip


def _eager_compute(op: EagerOp, dtype: Dtype, device: Device) -> float:
    return max(op.matmul_flops / matmul_tflop_s(device, dtype), op.vector_flops / device.vector_tflop_s) / 1e9


def _workload(
    build: WorkloadBuild, facts: WorkloadFacts, dtype: Dtype, device: Device, program_of: Callable[[str], PtxProgram]
) -> WorkloadEstimate:
    parts = [_best(tuple(_chosen(group, facts, dtype, device, program_of))) for group in _alternatives(build.launches)]
    host = sum(_host_seconds(op, device) for op in build.host_ops)
    launch = len(parts) * LAUNCH_SECONDS + host
    floor = floor_ms(facts, device, dtype)
    total = sum(part.seconds for part in parts) + launch
    done = _share_done(build, parts, facts)
    if not all(part.complete for part in parts):
        total, done = total / max(done, LEAST_DONE), 1.0  # what the walk did not come to takes its time too
    return WorkloadEstimate(
        workload=facts.workload,
        ms=max(total * 1e3, floor),
        done=min(done, total * 1e3 / floor, 1.0),
        memory_ms=sum(part.memory for part in parts) * 1e3,
        compute_ms=sum(part.compute for part in parts) * 1e3,
        launch_ms=launch * 1e3,
        floor_ms=floor,
        bound=_bound(parts, launch),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _share_done(build: WorkloadBuild, parts: Sequence[_Parts], facts: WorkloadFacts) -> float:
    """The launches' bytes read, and their matrix products where they have any, over the problem's; the smaller one."""
    copied = sum(_copied_bytes(op) for op in build.host_ops if op.kind == "copy")
    read = (sum(part.read for part in parts) + copied) / max(facts.bytes - facts.output.bytes, 1)
    flops = sum(part.flops for part in parts)
    return float(min(read, flops / facts.matmul_flops if flops and facts.matmul_flops else read))


def _bound(parts: Sequence[_Parts], launch: float) -> Bound:
    main = max(parts, key=lambda part: part.seconds, default=None)
    if main is None or launch > main.seconds or main.latency >= max(main.memory, main.compute):
        return "latency"
    return "memory" if main.memory >= main.compute else "compute"


def _alternatives(launches: Sequence[Launch]) -> Iterator[list[Launch]]:
    """Launches in order; the configurations that one autotuner tries come together, since one of them runs."""
    for (trial, _), group in groupby(launches, key=lambda one: (one.trial, one.kernel)):
        members = list(group)
        if trial:
            yield members
        else:
            yield from ([one] for one in members)


def _chosen(
    group: list[Launch], facts: WorkloadFacts, dtype: Dtype, device: Device, program_of: Callable[[str], PtxProgram]
) -> Iterator[_Parts]:
    for launch in group:
        case = _Case(launch, facts, device, dtype, program_of(launch.ptx), occupancy(launch, device))
        yield _parts(case)


def _best(parts: tuple[_Parts, ...]) -> _Parts:
    return min(parts, key=lambda part: part.seconds)


def _parts(case: _Case) -> _Parts:
    launch, device = case.launch, case.device
    resident = case.occupancy.blocks * device.sm_count
    sampled = sample(launch.grid, launch.num_warps * device.warp_size, resident)
    scalars = scalar_values(case.program, launch)
    walked = _walked(case, sampled, scalars)
    sizes = _sizes_by_parameter(case.program, launch)
    moved = traffic(walked, sampled, launch, sizes, device, resident)
    found = regions(case.program, walked, launch, _tile_bytes(walked))
    tensor = tensor_work(case.program, walked, launch, device)
    return _times(case, moved, found, tensor)._replace(complete=walked.complete)


def _walked(case: _Case, sampled: Sample, scalars: dict[int, int]) -> Walk:
    """Walk, and walk again with the loops of unknown length set so that the launch does the problem's work."""
    walked = walk(case.program, sampled, scalars)
    if not walked.unknown_loops:
        return walked
    other = walk(case.program, sampled, scalars, Guess(jumps=True))
    jumps = sum(other.counts.values()) > sum(walked.counts.values())  # the way through more code is the main one
    walked = other if jumps else walked
    trips = max(1.0 / _work_done(case, sampled, walked), 1.0)
    for _ in range(3):  # nested loops multiply: take roots until the work fits
        walked = walk(case.program, sampled, scalars, Guess(trips, jumps))
        if _work_done(case, sampled, walked) < 2.0:
            break
        trips = math.sqrt(trips)
    return walked


def _work_done(case: _Case, sampled: Sample, walked: Walk) -> float:
    """The launch's matrix products (or, when it has none, the bytes it reads) over the problem's; never zero."""
    tensor = tensor_work(case.program, walked, case.launch, case.device)
    if tensor.flops and case.facts.matmul_flops:
        return tensor.flops * case.blocks / case.facts.matmul_flops
    resident = case.occupancy.blocks * case.device.sm_count
    moved = traffic(walked, sampled, case.launch, {}, case.device, resident)
    wanted = max(case.facts.bytes - case.facts.output.bytes, 1)
    return float(max(moved.dram_read, 1.0)) / wanted


def scalar_values(program: PtxProgram, launch: Launch) -> dict[int, int]:
    """Values of the integer parameters of the PTX, by index, where the build recorded them."""
    values = dict(launch.arguments)
    return {
        index: int(values[name])
        for index, name in _runtime_parameters(program, launch)
        if name in values and values[name].lstrip("-").isdigit()
    }


def _runtime_parameters(program: PtxProgram, launch: Launch) -> list[tuple[int, str]]:
    """PTX parameter index and argument name; compile-time arguments (and those equal to 1) have no parameter."""
    names = [name for name, kind in launch.signature if kind != "constexpr"]
    constants = dict(launch.constants)
    names = [name for name in names if name not in constants]
    values = dict(launch.arguments)
    if len(names) > len(program.parameters) - 2:
        names = [name for name in names if values.get(name) != "1"]
    return list(enumerate(names)) if len(names) <= len(program.parameters) else []


def _sizes_by_parameter(program: PtxProgram, launch: Launch) -> dict[int, int]:
    sizes = tensor_bytes(launch)
    return {index: sizes[name] for index, name in _runtime_parameters(program, launch) if name in sizes}


def _tile_bytes(walked: Walk) -> float:
    """Bytes that TMA brings in one pass of the busiest loop."""
    inside = [
        (walked.counts.get(at, 0.0), s.bytes_per_thread) for at, s in walked.sites.items() if s.kind == "tma_load"
    ]
    most = max((count for count, _ in inside), default=0.0)
    return float(sum(size for count, size in inside if count > most / 2))


def _times(case: _Case, moved: Traffic, found: list[Region], tensor: Tensor) -> _Parts:
    device = case.device
    clock = device.sm_clock_mhz * 1e6
    # The busiest multiprocessor sets the time of what each block does there: a tail wave, or too few blocks.
    per_sm = math.ceil(case.blocks / device.sm_count)
    uneven = per_sm * device.sm_count / case.blocks
    waves = math.ceil(_exact_waves(case))
    passes = max((region.runs for region in found), default=1.0)
    spilled = case.launch.spills * 2.0 * passes * case.launch.num_warps * device.warp_size / 128
    return _Parts(
        dram=_dram_seconds(moved, device) * (1 + TAIL_SHARE / max(_exact_waves(case), 1.0))
        + _local_seconds(case, passes),
        l2=moved.l2 * uneven / (L2_BYTES_PER_CYCLE * clock * device.sm_count),
        load_store=(moved.lsu_cycles + spilled) * per_sm / clock,
        issue=issue_cycles(found, case.launch) * per_sm / clock / ISSUE_SHARE,
        tensor=tensor.seconds * per_sm,
        latency=waves * block_seconds(found, case.launch, tensor, device, _latency(moved)),
        atomics=moved.atomics / ATOMICS_PER_CYCLE / clock,
        read=moved.dram_read,
        flops=tensor.flops * case.blocks,
        complete=True,
        notes=_notes(case, moved, found, tensor, waves),
    )


def _exact_waves(case: _Case) -> float:
    return case.blocks / (case.occupancy.blocks * case.device.sm_count)


def _local_seconds(case: _Case, passes: float) -> float:
    """Time of the local memory that does not stay in L1: what is resident beyond it is written out and read back."""
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
    """Latency of the mean load: DRAM's where most bytes come from there, L2's otherwise."""
    share = min((moved.dram_read / moved.l2) if moved.l2 else 0.0, 1.0)
    return L2_LATENCY + (DRAM_LATENCY - L2_LATENCY) * min(1.0, 2 * share)


def _notes(case: _Case, moved: Traffic, found: list[Region], tensor: Tensor, waves: int) -> tuple[str, ...]:
    launch, notes = case.launch, []
    exact = _exact_waves(case)
    notes.append(
        f"{launch.kernel}: {case.occupancy.blocks} blocks of {launch.num_warps} warps per SM"
        f" (limit: {case.occupancy.limit}), {exact:.2f} waves"
    )
    if exact > 0.05 and waves / exact > 1.15:
        notes.append(f"{launch.kernel}: tail wave, {1 - exact / waves:.0%} of the block slots stay empty")
    if case.blocks < case.device.sm_count:
        notes.append(f"{launch.kernel}: {case.blocks} blocks for {case.device.sm_count} multiprocessors")
    if launch.spills:
        notes.append(f"{launch.kernel}: {launch.spills} bytes of local memory per thread")
    if 0 < moved.widest < 16:
        notes.append(f"{launch.kernel}: loads of {moved.widest} bytes per thread")
    if moved.useful and moved.l2 / moved.useful > 1.2:
        notes.append(f"{launch.kernel}: uncoalesced, {moved.l2 / moved.useful:.1f}x the bytes asked for move from L2")
    moved_dram = moved.dram_read + moved.dram_write
    if moved_dram > 1.2 * case.facts.bytes:
        notes.append(f"{launch.kernel}: {moved_dram / case.facts.bytes:.1f}x the problem's bytes move from DRAM")
    if not tensor.instruction and _arithmetic_heavy(case):
        notes.append(f"{launch.kernel}: no tensor-core instruction")
    return tuple(notes)


def _arithmetic_heavy(case: _Case) -> bool:
    """Whether the problem's matrix products would be felt on the tensor cores."""
    rate = matmul_tflop_s(case.device, case.dtype)
    return case.facts.matmul_flops / rate > 0.2 * case.facts.bytes / case.device.copy_gb_s * 1e3


def _host_seconds(op: HostOp, device: Device) -> float:
    """Device time of one host operation: nothing for views and allocations, else its bytes and a launch."""
    if op.kind in ("view", "allocation"):
        return 0.0
    factor = 1.0 if op.kind == "fill" else 2.0  # a copy writes what it reads
    return HOST_OP_SECONDS + factor * _copied_bytes(op) / (device.copy_gb_s * 1e9)


def _copied_bytes(op: HostOp) -> int:
    sizes = [DTYPE_BYTES.get(op.dtypes[at] if at < len(op.dtypes) else "float32", 4) for at in range(len(op.shapes))]
    return sum(math.prod(shape) * size for shape, size in zip(op.shapes, sizes, strict=True))
