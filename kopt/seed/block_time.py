"""Predict how a kernel's configurations compare, for kernels that are no products: their time is that of memory.

Two things slow such a kernel down: runs of adjacent elements that are short, since memory is read in sectors, and too
few bytes under way to hide the latency of memory.  The prediction is a factor, 1 for a kernel at the speed of memory;
nothing was fitted, and it orders TorchInductor's configurations only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kopt.model.device import Device
from kopt.seed.accesses import Access

SECTOR_BYTES = 32
DRAM_LATENCY = 870e-9
"""Latency of memory that is fully busy, s."""
OWN_REGISTERS = 24
"""Registers of a thread beside those of the elements that it loads."""
MOST_REGISTERS = 255


def slowness(
    accesses: Sequence[Access], block: Mapping[str, int], sizes: Mapping[str, int], warps: int, device: Device
) -> float:
    """Return how many times as long as with wide accesses and enough bytes under way a kernel takes.

    Args:
        accesses: loads and stores of the kernel.
        block: elements of a block by axis.
        sizes: elements of all blocks by axis; axes of a reduction begin with `r`.
        warps: warps of a program.
        device: the device.
    """
    extents = {axis: min(block.get(axis, 1), size) for axis, size in sizes.items() if size > 1}
    whole = _whole(accesses, list(extents))
    if not whole:
        return 1.0
    elements = math.prod(extents.values())
    threads = device.warp_size * warps
    loads = [access for access in whole if access.is_load] or whole
    loaded = sum({access.pointer: access.element_bytes for access in loads}.values())
    registers = OWN_REGISTERS + loaded * max(1, elements // threads) // 4
    resident = min(
        device.blocks_per_sm, device.threads_per_sm // threads, device.registers_per_sm // (registers * threads)
    )
    programs = math.prod(math.ceil(sizes[axis] / extents[axis]) for axis in extents if not axis.startswith("r"))
    under_way = min(max(1, resident), programs / device.sm_count) * elements * loaded
    needed = device.copy_gb_s * 1e9 * DRAM_LATENCY / device.sm_count
    return _sectors(whole, extents) * max(1.0, needed / under_way) * max(1.0, registers / MOST_REGISTERS)


def _whole(accesses: Sequence[Access], axes: Sequence[str]) -> list[Access]:
    """Return the accesses that depend on as many axes as any: they are those of the largest tensors."""
    counts = [sum(access.steps[axis] != 0 for axis in axes) for access in accesses]
    return [access for access, count in zip(accesses, counts, strict=True) if count == max(counts) and count]


def _sectors(accesses: Sequence[Access], extents: Mapping[str, int]) -> float:
    """Return bytes of the sectors that are read and written over bytes of the elements, on average."""
    shares = []
    for access in accesses:
        step, axis = min((abs(access.steps[axis]), axis) for axis in extents if access.steps[axis])
        wanted = extents[axis] * access.element_bytes
        run = wanted * min(step, SECTOR_BYTES // access.element_bytes)
        shares.append((run + SECTOR_BYTES) / wanted)
    return sum(shares) / len(shares)
