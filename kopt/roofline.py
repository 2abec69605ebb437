"""Compute the roofline floor, under which no kernel can be on a device, and the occupancy of a launch.

Pure arithmetic on values.  `kopt.estimate` estimates how fast a given kernel is.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Bound
from kopt.model.problem import DTYPE_BYTES, Dtype, ProblemFacts, WorkloadFacts

# No kernel may undercut a floor, but kernels do exceed measured rates: on the H100 of `config/devices/h100.yaml` a
# read-only stream ran 1.6 % faster than the device-to-device copy, and matrix products at 688-798 around 740 TFLOP/s.
STREAM_HEADROOM = 1.04
"""Rate of the floor over the measured rate of a device-to-device copy."""
MATMUL_HEADROOM = 1.08
"""Rate of the floor over the measured rate of matrix products."""

HALF_BYTES = 2
"""Bytes of an operand that tensor cores multiply at half the rate of 8-bit ones."""

LATENCY_SHARE = 0.3
"""Share of the roofline below which neither memory nor arithmetic explains a time, but latency."""

_REGISTER_UNIT = 256  # registers of a warp are allocated in multiples of this
_SHARED_UNIT = 128  # bytes; shared memory of a block is allocated in multiples of this
_SHARED_RESERVED = 1024  # bytes that the driver keeps for itself in every block, from compute capability 8.0 on


class Occupancy(NamedTuple):
    """Blocks of a launch that a multiprocessor holds at once (resident blocks), and what limits their number."""

    blocks: int
    """Resident blocks of a multiprocessor."""
    warps: int
    """Resident warps of a multiprocessor."""
    share: float
    """Resident threads over the device's limit, 0 to 1."""
    limit: Literal["registers", "shared memory", "threads", "blocks"]
    """Resource that runs out first."""


def occupancy(launch: Launch, device: Device) -> Occupancy:
    """Return the occupancy of a launch: at least one block, since the CPU stage rejects launches that do not fit."""
    registers = math.ceil(max(launch.registers, 16) * device.warp_size / _REGISTER_UNIT) * _REGISTER_UNIT
    shared = math.ceil(launch.shared_bytes / _SHARED_UNIT) * _SHARED_UNIT + _SHARED_RESERVED
    threads = launch.num_warps * device.warp_size
    limits: dict[Literal["registers", "shared memory", "threads", "blocks"], int] = {
        "threads": device.threads_per_sm // threads,
        "registers": device.registers_per_sm // (registers * launch.num_warps),
        "shared memory": device.shared_bytes_per_sm // shared,
        "blocks": device.blocks_per_sm,
    }
    limit = min(limits, key=lambda name: limits[name])
    blocks = max(limits[limit], 1)
    warps = blocks * launch.num_warps
    return Occupancy(blocks, warps, min(blocks * threads / device.threads_per_sm, 1.0), limit)


def matmul_tflop_s(device: Device, dtype: str) -> float:
    """Return the rate of matrix products in a dtype, TFLOP/s.

    It is the measured one, for 8-bit types twice that of 16-bit ones, and the vector rate for other types.
    """
    if dtype in device.matmul_tflop_s:
        return device.matmul_tflop_s[dtype]
    halves = [rate for name, rate in device.matmul_tflop_s.items() if DTYPE_BYTES[name] == HALF_BYTES]
    return 2 * max(halves) if halves and DTYPE_BYTES.get(dtype) == 1 else device.vector_tflop_s


def fastest_matmul_tflop_s(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Return the rate of the fastest matrix products that a right kernel of a workload may compute, TFLOP/s.

    A reference in float32 may name a 16-bit type for its products, or be given integers of 8 bits to multiply.
    """
    types = filter(None, (dtype.value, facts.product_type))
    return max(matmul_tflop_s(device, name) for name in types)


def memory_floor_ms(facts: WorkloadFacts, device: Device) -> float:
    """Return the least time to move the bytes that every right kernel moves, ms."""
    return facts.bytes / (device.copy_gb_s * STREAM_HEADROOM) / 1e6


def compute_floor_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Return the least time for the matrix products that no right kernel can do without, ms; 0 where none are known."""
    return facts.floor_flops / (fastest_matmul_tflop_s(facts, device, dtype) * MATMUL_HEADROOM) / 1e9


def reference_compute_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Return the least time for the reference's arithmetic, matrix products or the rest, whichever is longer, ms.

    A kernel may find a shorter way: this says where a kernel's time goes, and refuses nothing.
    """
    matmul = facts.matmul_flops / (fastest_matmul_tflop_s(facts, device, dtype) * MATMUL_HEADROOM) / 1e9
    return max(matmul, facts.vector_flops / device.vector_tflop_s / 1e9)


def floor_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Return the time under which no right kernel comes, from measured rates with headroom, ms; always positive."""
    return max(memory_floor_ms(facts, device), compute_floor_ms(facts, device, dtype), 1e-6)


def floor_bound(facts: WorkloadFacts, device: Device, dtype: Dtype) -> Bound:
    """Return what the floor is the time of, and so what limits a kernel that reaches it: bytes or matrix products."""
    return "memory" if memory_floor_ms(facts, device) >= compute_floor_ms(facts, device, dtype) else "compute"


def ample_ms(facts: ProblemFacts, device: Device) -> float:
    """Return the time to move every element of every tensor once, or to do the reference's arithmetic, ms.

    The floor may be far below it, where a kernel need not read all rows of a table, or may compute less.  Products that
    PyTorch computes exactly count at the rate of exact ones: the floor's are of TF32, which is too inexact for many.

    Returns:
        The weighted geometric mean over the main workloads, of the longer time of each; 0 where one is unknown.
    """
    known = [one for one in facts.workloads if not one.unknown]
    if len(known) < len(facts.workloads) or not known:
        return 0.0
    times = [
        max((one.input_bytes + one.output_bytes) / (device.copy_gb_s * STREAM_HEADROOM) / 1e6,
            reference_compute_ms(one, device, facts.dtype), one.exact_flops / device.vector_tflop_s / 1e9, 1e-6)
        for one in known
    ]  # fmt: skip
    weights = [one.weight for one in known]
    return math.exp(sum(weight * math.log(ms) for weight, ms in zip(weights, times, strict=True)) / sum(weights))


def bound(facts: WorkloadFacts, device: Device, dtype: Dtype, ms: float | None = None) -> Bound:
    """Return what limits a workload; `latency` if a time `ms` is given that bytes and arithmetic do not explain."""
    memory, compute = memory_floor_ms(facts, device), reference_compute_ms(facts, device, dtype)
    if ms is not None and max(memory, compute) < LATENCY_SHARE * ms:
        return "latency"
    return "memory" if memory >= compute else "compute"
