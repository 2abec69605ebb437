"""The speed of light: how fast any kernel can be on a device, and how much of a multiprocessor a launch fills.

Pure arithmetic on values.  How fast a given kernel is expected to be is `kopt.estimate.time`'s business.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from kopt.model.build import Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Bound
from kopt.model.problem import Dtype, WorkloadFacts

# A floor must not be undercut, and measured rates are: on the H100 described in `config/devices/h100.yaml` a read-only
# stream ran 1.6 % faster than the device-to-device copy, and matrix products spread over 688-798 around 740 TFLOP/s.
STREAM_HEADROOM = 1.04
MATMUL_HEADROOM = 1.08

LATENCY_SHARE = 0.3
"""Below this share of the roofline neither memory nor arithmetic explains the time: latency does."""

_REGISTER_UNIT = 256
_SHARED_UNIT = 128
_SHARED_RESERVED = 1024  # bytes that the driver keeps for itself in every block, from compute capability 8.0 on


class Occupancy(NamedTuple):
    """How many blocks of a launch live on one multiprocessor at once, and why no more."""

    blocks: int
    warps: int
    share: float
    """Resident threads over the device's limit, 0 to 1."""
    limit: Literal["registers", "shared memory", "threads", "blocks"]


def occupancy(launch: Launch, device: Device) -> Occupancy:
    """Resident blocks per multiprocessor; at least one, since a launch that does not fit was rejected earlier."""
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
    """Measured matrix-product rate for a dtype; the vector rate where none was measured."""
    return device.matmul_tflop_s.get(dtype, device.vector_tflop_s)


def memory_floor_ms(facts: WorkloadFacts, device: Device) -> float:
    """Least time to move the workload's bytes, ms."""
    return facts.bytes / (device.copy_gb_s * STREAM_HEADROOM) / 1e6


def compute_floor_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Least time for the workload's arithmetic: matrix products or the rest, whichever is longer, ms."""
    matmul = facts.matmul_flops / (matmul_tflop_s(device, dtype) * MATMUL_HEADROOM) / 1e9
    return max(matmul, facts.vector_flops / device.vector_tflop_s / 1e9)


def floor_ms(facts: WorkloadFacts, device: Device, dtype: Dtype) -> float:
    """Roofline floor of a workload: the measured rates with their headroom, ms; always positive."""
    return max(memory_floor_ms(facts, device), compute_floor_ms(facts, device, dtype), 1e-6)


def bound(facts: WorkloadFacts, device: Device, dtype: Dtype, ms: float | None = None) -> Bound:
    """What limits the workload; with a time, `latency` when the time is far above what bytes and arithmetic explain."""
    memory, compute = memory_floor_ms(facts, device), compute_floor_ms(facts, device, dtype)
    if ms is not None and max(memory, compute) < LATENCY_SHARE * ms:
        return "latency"
    return "memory" if memory >= compute else "compute"
