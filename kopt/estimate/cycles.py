"""Cycles of one block: how long each pipe of a multiprocessor is busy with it, and how long it takes on its own.

Works on the counts of a walk through the PTX.  Costs are those of Hopper's and Ampere's documented throughputs per
multiprocessor; SASS is not looked at.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

from kopt.estimate.instructions import Instruction, PtxProgram, kind, loop_ends
from kopt.estimate.registers import integer
from kopt.estimate.walk import UNKNOWN, Walk
from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.roofline import matmul_tflop_s

SCHEDULERS = 4

# Cycles of one scheduler for one warp instruction: 32 lanes over the lanes of its pipe (32 for FP32, 16 for integers
# and conversions, 4 for special functions, 8 for shuffles); moves mostly vanish in register allocation.
ISSUE_CYCLES = {
    "move": 0.3, "float": 1.0, "fused_multiply_add": 1.0, "convert": 1.2, "integer": 1.3, "predicate": 1.0,
    "branch": 1.0, "special": 8.0, "divide_integer": 40.0, "shuffle": 4.0, "barrier": 2.0, "atomic": 4.0,
    "load_shared": 1.0, "store_shared": 1.0,
    "load_global": 1.0, "load_global_wide": 1.0, "store_global": 1.0, "store_global_wide": 1.0,
    "cp_async": 1.0, "async_wait": 1.0, "wgmma": 1.0, "wgmma_control": 1.0, "mma": 1.0, "tcgen05": 1.0, "tma_load": 1.0,
    "tma_store": 1.0, "load_local": 1.0,
}  # fmt: skip

SHUFFLE_LATENCY = 28.0
BARRIER_LATENCY = 60.0
SHARED_LATENCY = 30.0
CHAIN_CYCLES = 1.5
"""Cycles per instruction of a lone warp: some of its instructions wait for each other."""

_SHAPE = re.compile(r"\.m(\d+)n(\d+)k(\d+)")
_WGMMA_SHARE = ((128, 1.0), (64, 0.85), (32, 0.6), (0, 0.4))
MMA_SYNC_SHARE = 0.62
"""Share of Hopper's matrix rate that `mma.sync` reaches; before Hopper it is the only way and reaches it all."""


class Tensor(NamedTuple):
    """Matrix work of one block."""

    flops: float
    seconds: float
    """Time on one multiprocessor's tensor cores, nothing else running."""
    instruction: str
    """`wgmma m64n128k16`, `mma m16n8k16`, or empty."""


class Region(NamedTuple):
    """The instructions of one loop (those of inner loops not counted), or those outside every loop."""

    head: int
    runs: float
    """Times that a thread passes through."""
    issue: float
    """Scheduler cycles per warp and pass."""
    instructions: float
    shuffles: float
    barriers: float
    loads: float
    """Plain global loads of a thread per pass, bytes."""
    batches: int
    """Groups of plain loads that wait one after the other, barriers between them."""
    depth: float
    """Passes ahead that asynchronous copies run; 0 when there are none."""
    unrolled: int
    """Plain global loads per pass."""


def regions(program: PtxProgram, walked: Walk, launch: Launch, tile_bytes: float) -> list[Region]:
    """Every loop's own instructions, and those outside loops; `tile_bytes` is what TMA brings per pass."""
    ends = loop_ends(program)
    members: dict[int, list[int]] = defaultdict(list)
    for at in walked.counts:
        around = [head for head, end in ends.items() if head <= at <= end]
        members[max(around, default=UNKNOWN)].append(at)
    return [_region(head, indices, program, walked, launch, tile_bytes) for head, indices in sorted(members.items())]


def _region(
    head: int, indices: list[int], program: PtxProgram, walked: Walk, launch: Launch, tile_bytes: float
) -> Region:
    runs = max(walked.counts[at] for at in indices)
    share = {at: walked.counts[at] / runs for at in indices}
    by_kind: dict[str, float] = defaultdict(float)
    for at in indices:
        by_kind[kind(program.instructions[at].opcode)] += share[at]
    loads = [at for at in indices if kind(program.instructions[at].opcode) in ("load_global", "load_global_wide")]
    sites = walked.sites
    return Region(
        head=head,
        runs=runs,
        issue=sum(ISSUE_CYCLES.get(name, 1.0) * count for name, count in by_kind.items()),
        instructions=sum(by_kind.values()) - by_kind["move"],
        shuffles=by_kind["shuffle"],
        barriers=by_kind["barrier"],
        loads=sum(sites[at].bytes_per_thread * sites[at].active * share[at] for at in loads if at in sites),
        batches=_batches(indices, program),
        depth=_depth([program.instructions[at] for at in indices], head, launch, tile_bytes),
        unrolled=len(loads),
    )


def _batches(indices: list[int], program: PtxProgram) -> int:
    """Groups of global loads between barriers: a group's latency is paid once."""
    batches, open_batch = 0, False
    for at in sorted(indices):
        name = kind(program.instructions[at].opcode)
        if name == "barrier":
            open_batch = False
        elif name in ("load_global", "load_global_wide") and not open_batch:
            batches, open_batch = batches + 1, True
    return batches


def _depth(instructions: list[Instruction], head: int, launch: Launch, tile_bytes: float) -> float:
    """Passes that asynchronous copies run ahead: from the groups left pending, or the buffers in shared memory."""
    if head == UNKNOWN:
        return 0.0
    kinds = [kind(one.opcode) for one in instructions]
    if "tma_load" in kinds and tile_bytes:
        return max(launch.shared_bytes // tile_bytes - 1.0, 1.0)
    if "cp_async" not in kinds:
        return 0.0
    commits = sum("commit_group" in one.opcode for one in instructions)
    waits = [one for one in instructions if "cp.async.wait_group" in one.opcode and one.operands]
    pending = [integer(one.operands[0]) or 0 for one in waits]
    return (max(pending, default=0) // max(commits, 1)) + 1.0


def issue_cycles(found: list[Region], launch: Launch) -> float:
    """Cycles of one scheduler for all warps of one block."""
    return sum(region.runs * region.issue for region in found) * launch.num_warps / SCHEDULERS


def tensor_work(program: PtxProgram, walked: Walk, launch: Launch, device: Device) -> Tensor:
    """Matrix products of one block, and how long one multiprocessor needs for them."""
    flops, seconds, name = 0.0, 0.0, ""
    for at, count in walked.counts.items():
        one = program.instructions[at]
        kind_name = kind(one.opcode)
        if kind_name not in ("wgmma", "mma", "tcgen05") or not (shape := _SHAPE.search(one.opcode)):
            continue
        m, n, k = (int(part) for part in shape.groups())
        groups = launch.num_warps / 4 if kind_name == "wgmma" else launch.num_warps
        work = 2.0 * m * n * k * count * groups
        rate = matmul_tflop_s(device, _operand_dtype(one.opcode)) * 1e12 / device.sm_count
        flops += work
        seconds += work / (rate * _rate_share(kind_name, n, device))
        name = f"{kind_name} m{m}n{n}k{k}"
    return Tensor(flops, seconds, name)


def _rate_share(name: str, n: int, device: Device) -> float:
    if name == "wgmma":
        return next(share for least, share in _WGMMA_SHARE if n >= least)
    return MMA_SYNC_SHARE if name == "mma" and device.arch >= 90 else 1.0


def _operand_dtype(opcode: str) -> str:
    if "tf32" in opcode:
        return "float32"
    return "float16" if re.search(r"\.f16\.f16(?!x)", opcode) else "bfloat16"


def block_seconds(found: list[Region], launch: Launch, tensor: Tensor, device: Device, latency: float) -> float:
    """Time of one block that has a multiprocessor to itself, its loads answered after `latency` seconds."""
    clock = device.sm_clock_mhz * 1e6
    matrix = tensor.seconds
    total = 0.0
    busiest = max(found, key=lambda region: region.runs, default=None)
    for region in found:
        chain = _chain(region, launch) / clock
        if region is busiest:
            chain = _beside(chain, matrix / region.runs)
        total += region.runs * _pass_seconds(region, chain, latency)
    return total + (latency if any(region.depth for region in found) else 0.0)


def _beside(chain: float, matrix: float) -> float:
    """Time of a pass whose other instructions run mostly beside its matrix products."""
    return max(chain, matrix) + 0.3 * min(chain, matrix)


def _chain(region: Region, launch: Launch) -> float:
    """Cycles of one pass without waiting for memory."""
    waits = region.shuffles * SHUFFLE_LATENCY + region.barriers * BARRIER_LATENCY
    busy = max(region.instructions * CHAIN_CYCLES, region.issue * launch.num_warps / SCHEDULERS)
    return waits + busy


def _pass_seconds(region: Region, chain: float, latency: float) -> float:
    if region.depth:
        return max(chain, latency / region.depth)
    return chain + region.batches * latency
