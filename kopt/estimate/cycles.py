"""Compute how long a block keeps each pipe of a multiprocessor busy, and how long the block takes on its own.

Works on the counts of a walk through the PTX.  Costs follow from the documented throughputs of Ampere's and Hopper's
multiprocessors; SASS is not read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from kopt.estimate.flow import UNKNOWN
from kopt.estimate.instructions import Instruction, PtxProgram, kind
from kopt.estimate.registers import integer
from kopt.estimate.walk import Walk
from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.roofline import matmul_tflop_s

SCHEDULERS = 4
"""Schedulers of a multiprocessor; each issues one warp instruction per clock."""

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

HALF_FP32 = 80
"""Compute capability times ten whose schedulers have 16 FP32 lanes, half of those of later ones."""

SHUFFLE_LATENCY = 28.0
"""Cycles until a shuffle's result can be used."""
BARRIER_LATENCY = 60.0
"""Cycles of a barrier, waiting warps included."""
CHAIN_CYCLES = 1.5
"""Cycles per instruction of a lone warp: some of its instructions wait for each other."""
UNROLLED = 4
"""Passes of a short loop without barriers whose loads are in flight together: ptxas unrolls such loops by four."""
SHORT_LOOP = 48
"""Most instructions of a pass of a loop that counts as short; fitted to kernels that were timed on an H100."""

_SHAPE = re.compile(r"\.m(\d+)n(\d+)k(\d+)")
_EIGHT_BITS = re.compile(r"e4m3|e5m2|f8f6f4|\.[su]8\b|kind::i8")
BLACKWELL = 100
"""Compute capability times ten from which on products are `tcgen05.mma`."""
TCGEN05_DEPTH = {"f16": 16, "tf32": 8, "f8f6f4": 32, "i8": 32}
"""Depth of `tcgen05.mma` by its kind of operands."""
GROUPS: dict[str, Callable[[int], float]] = {
    "wgmma": lambda warps: warps / 4, "mma": lambda warps: warps, "tcgen05": lambda warps: 1.0,
}  # fmt: skip
"""Times that a block issues an instruction, by its kind, from the number of warps: a group of four, each warp, one."""
_WGMMA_SHARES = ((128, 1.0), (64, 0.85), (32, 0.6), (0, 0.4))
MMA_SYNC_SHARE = 0.62
"""Share of Hopper's matrix rate that `mma.sync` reaches; before Hopper it is the only instruction and reaches all."""


class Tensor(NamedTuple):
    """Matrix products of one block."""

    flops: float
    """Floating-point operations."""
    seconds: float
    """Time on one multiprocessor's tensor cores, nothing else running."""
    instruction: str
    """Name and shape of the instruction, e.g. `wgmma m64n128k16`; empty when a product uses none."""


class Region(NamedTuple):
    """The instructions of one loop without those of inner loops, or the instructions outside every loop."""

    head: int
    """Index of the loop's first instruction; UNKNOWN outside loops."""
    runs: float
    """Passes of a thread through the region."""
    issue: float
    """Scheduler cycles per warp and pass."""
    instructions: float
    """Instructions per pass, moves left out."""
    shuffles: float
    """Shuffles per pass."""
    barriers: float
    """Barriers per pass."""
    batches: int
    """Groups of plain global loads per pass, with barriers between them: the groups wait one after the other."""
    depth: float
    """Passes by which asynchronous copies run ahead; 0 when there are none."""


def regions_of(program: PtxProgram, walked: Walk, launch: Launch, tile_bytes: float, device: Device) -> list[Region]:
    """Return a region for every loop and one for the instructions outside loops.

    Args:
        program: the kernel's code.
        walked: how often each instruction runs.
        launch: the launch.
        tile_bytes: bytes that TMA loads per pass of the busiest loop.
        device: the device.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for at in walked.counts:
        members[walked.around[at][-1] if walked.around[at] else UNKNOWN].append(at)
    return [
        _region(head, indices, program, walked, launch, tile_bytes, device) for head, indices in sorted(members.items())
    ]


def _region(
    head: int, indices: list[int], program: PtxProgram, walked: Walk, launch: Launch, tile_bytes: float, device: Device
) -> Region:
    runs = max(walked.counts[at] for at in indices)
    share = {at: walked.counts[at] / runs for at in indices}
    by_kind: dict[str, float] = defaultdict(float)
    for at in indices:
        by_kind[kind(program.instructions[at].opcode)] += share[at]
    return Region(
        head=head,
        runs=runs,
        issue=sum(_issue_cycles(name, device) * count for name, count in by_kind.items()),
        instructions=sum(by_kind.values()) - by_kind["move"],
        shuffles=by_kind["shuffle"],
        barriers=by_kind["barrier"],
        batches=_batches(indices, program),
        depth=_depth([program.instructions[at] for at in indices], head, launch, tile_bytes),
    )


def _issue_cycles(name: str, device: Device) -> float:
    half = device.arch == HALF_FP32 and name in ("float", "fused_multiply_add")
    return ISSUE_CYCLES.get(name, 1.0) * (2.0 if half else 1.0)


def _batches(indices: list[int], program: PtxProgram) -> int:
    """Count the groups of global loads between barriers: a group waits for memory once."""
    batches, open_batch = 0, False
    for at in sorted(indices):
        name = kind(program.instructions[at].opcode)
        if name == "barrier":
            open_batch = False
        elif name in ("load_global", "load_global_wide") and not open_batch:
            batches, open_batch = batches + 1, True
    return batches


def _depth(instructions: list[Instruction], head: int, launch: Launch, tile_bytes: float) -> float:
    """Return the passes by which copies run ahead, from the groups left pending or the buffers in shared memory."""
    if head == UNKNOWN:
        return 0.0
    kinds = [kind(instruction.opcode) for instruction in instructions]
    if "tma_load" in kinds and tile_bytes:
        return max(launch.shared_bytes // tile_bytes - 1.0, 1.0)
    if "cp_async" not in kinds:
        return 0.0
    commits = sum("commit_group" in instruction.opcode for instruction in instructions)
    waits = [code for code in instructions if "cp.async.wait_group" in code.opcode and code.operands]
    pending = [integer(wait.operands[0]) or 0 for wait in waits]
    return (max(pending, default=0) // max(commits, 1)) + 1.0


def issue_cycles(regions: list[Region], launch: Launch) -> float:
    """Return the cycles of one scheduler for its share of a block's warps."""
    return sum(region.runs * region.issue for region in regions) * launch.num_warps / SCHEDULERS


def tensor_work(program: PtxProgram, walked: Walk, launch: Launch, device: Device) -> Tensor:
    """Count the matrix products of one block, and the time that one multiprocessor needs for them."""
    flops, seconds, name = 0.0, 0.0, ""
    constants = _constants(program) if device.arch >= BLACKWELL else {}
    for at, count in walked.counts.items():
        opcode = program.instructions[at].opcode
        kind_name = kind(opcode)
        if kind_name not in GROUPS or not (shape := _shape(program.instructions[at], constants)):
            continue
        m, n, k = shape
        work = 2.0 * m * n * k * count * GROUPS[kind_name](launch.num_warps)
        rate = _matrix_rate(opcode, device) * 1e12 / device.sm_count
        flops += work
        seconds += work / (rate * _rate_share(kind_name, n, device))
        name = f"{kind_name} m{m}n{n}k{k}"
    return Tensor(flops, seconds, name)


def _rate_share(name: str, n: int, device: Device) -> float:
    """Return the share of the measured matrix rate that an instruction reaches."""
    if name == "wgmma":
        return next(share for least, share in _WGMMA_SHARES if n >= least)
    return MMA_SYNC_SHARE if name == "mma" and device.arch >= 90 else 1.0


def _shape(instruction: Instruction, constants: dict[str, int]) -> tuple[int, int, int] | None:
    """Return rows, columns and depth of a matrix instruction; None where they cannot be read.

    `tcgen05.mma` has rows and columns in a number, its instruction descriptor (PTX ISA, "Instruction descriptor").
    """
    if written := _SHAPE.search(instruction.opcode):
        m, n, k = written.groups()
        return int(m), int(n), int(k)
    depth = next((depth for name, depth in TCGEN05_DEPTH.items() if f".kind::{name}" in instruction.opcode), None)
    descriptor = next((constants[name] for name in instruction.operands[3:4] if name in constants), None)
    if depth is None or descriptor is None:
        return None
    blocks = 2 if "cta_group::2" in instruction.opcode else 1
    return ((descriptor >> 24) & 31) * 16 // blocks, ((descriptor >> 17) & 63) * 8, depth


def _constants(program: PtxProgram) -> dict[str, int]:
    """Return the registers that one instruction alone sets, to a literal, with the literal."""
    moves = [code for code in program.instructions if code.opcode.startswith("mov.b32") and len(code.operands) == 2]
    values = {code.operands[0]: integer(code.operands[1]) for code in moves}
    return {name: value for name, value in values.items() if value is not None}


def _matrix_rate(opcode: str, device: Device) -> float:
    """Return the rate of a matrix instruction, TFLOP/s: 8-bit operands go at twice the 16-bit rate."""
    return matmul_tflop_s(device, _operand_dtype(opcode)) * (2.0 if _EIGHT_BITS.search(opcode) else 1.0)


def _operand_dtype(opcode: str) -> str:
    if "tf32" in opcode:
        return "float32"
    return "float16" if re.search(r"\.f16\.f16(?!x)", opcode) else "bfloat16"


def block_seconds(regions: list[Region], launch: Launch, tensor: Tensor, device: Device, latency: float) -> float:
    """Return the seconds of one block that has a multiprocessor to itself and whose loads take `latency` seconds."""
    clock = device.sm_clock_mhz * 1e6
    matrix = tensor.seconds
    total = 0.0
    busiest = max(regions, key=lambda region: region.runs, default=None)
    for region in regions:
        chain = _chain(region, launch) / clock
        if region is busiest:
            chain = _beside(chain, matrix / region.runs)
        total += region.runs * _pass_seconds(region, chain, latency)
    return total + (latency if any(region.depth for region in regions) else 0.0)


def _beside(chain: float, matrix: float) -> float:
    """Return the time of a pass whose other instructions (`chain`) mostly overlap with its matrix products."""
    return max(chain, matrix) + 0.3 * min(chain, matrix)


def _chain(region: Region, launch: Launch) -> float:
    """Return the cycles of one pass without waiting for memory."""
    waits = region.shuffles * SHUFFLE_LATENCY + region.barriers * BARRIER_LATENCY
    busy = max(region.instructions * CHAIN_CYCLES, region.issue * launch.num_warps / SCHEDULERS)
    return waits + busy


def _pass_seconds(region: Region, chain: float, latency: float) -> float:
    """Return the seconds of one pass, waiting for memory included."""
    if region.depth:
        return max(chain, latency / region.depth)
    return chain + region.batches * latency / (UNROLLED if _is_unrolled(region) else 1)


def _is_unrolled(region: Region) -> bool:
    """Return whether ptxas may unroll a loop, so that loads of several passes wait for memory at once."""
    waits = region.barriers or region.shuffles
    return region.head != UNKNOWN and region.runs >= UNROLLED and region.instructions <= SHORT_LOOP and not waits
