"""Place the argument tensors of a call in one block of memory, always alike.

A kernel may be told the distance between two of its arguments.  CPU stage, contestant and timer place arguments by
this module, so that distances are the same in the build, in the recorded call and in its replay.
"""

from __future__ import annotations

from collections.abc import Sequence

ALIGNMENT = 512
"""Alignment of each tensor's memory, bytes, as torch's allocator has it."""
GAP = 1 << 16
"""Least distance between the end of a tensor's memory and the next tensor's, bytes; reads beyond an end meet a gap."""


def offsets(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return the offset of each tensor's memory in the block, and the size of the block, bytes.

    Args:
        sizes: size of each tensor's memory, bytes, in the order of the arguments.
    """
    places, end = [], 0
    for size in sizes:
        places.append(end)
        end = -(-(end + size + GAP) // ALIGNMENT) * ALIGNMENT
    return places, end
