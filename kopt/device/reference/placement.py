"""Place the argument tensors of a call in one block of memory, always alike.

A kernel may be told the distance between two of its arguments.  CPU stage, contestant and timer place arguments by
this module, so that distances are the same in the build, in the recorded call and in its replay.
"""

from __future__ import annotations

from collections.abc import Sequence

ALIGNMENT, LARGE_ALIGNMENT = 512, 1 << 21
"""Alignment of the memory of a small and of a large tensor, bytes, as torch's allocator and CUDA's pages have it.

A block that ended within a page of CUDA's made a kernel's times on an H200 scatter by 1.5 % instead of 0.2 %.
"""
LARGE = 1 << 20
"""Size from which on a tensor is large, bytes."""
GAP = 1 << 16
"""Least distance between the end of a tensor's memory and the next tensor's, bytes; reads beyond an end meet a gap."""


def offsets(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return the offset of each tensor's memory in the block, and the size of the block, bytes.

    Args:
        sizes: size of each tensor's memory, bytes, in the order of the arguments.
    """
    places, end = [], 0
    for size in sizes:
        places.append(_up(end, LARGE_ALIGNMENT if size >= LARGE else ALIGNMENT))
        end = places[-1] + size + GAP
    return places, _up(end, LARGE_ALIGNMENT if end >= LARGE else ALIGNMENT)


def _up(offset: int, alignment: int) -> int:
    """Return the next multiple of an alignment."""
    return -(-offset // alignment) * alignment
