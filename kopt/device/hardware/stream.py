"""Read memory as fast as the device can: the rate that no right kernel exceeds by much."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import triton
import triton.language as tl

BLOCKS = ((2048, 4), (4096, 8), (8192, 8), (8192, 16), (16384, 16))
"""Words that a program reads at once, and its warps."""
PROGRAM_BYTES = (1 << 21, 1 << 19)
"""Bytes that a program reads, one run of addresses."""


@triton.jit
def _read(words, sums, BLOCK: tl.constexpr, TURNS: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    offsets = program * (BLOCK * TURNS) + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.int32)
    for turn in range(TURNS):
        total += tl.load(words + offsets + turn * BLOCK, eviction_policy="evict_first")
    tl.store(sums + program, tl.sum(total))


def reading_calls(size: int) -> Iterator[Callable[[], object]]:
    """Yield calls that read `size` bytes of the device once each, in different ways.

    Args:
        size: bytes; a multiple of the bytes that a program reads.
    """
    words = torch.randint(-(1 << 30), 1 << 30, (size // 4,), dtype=torch.int32, device="cuda")
    sums = torch.empty(size // min(PROGRAM_BYTES), dtype=torch.int32, device="cuda")
    for run in PROGRAM_BYTES:
        for block, warps in BLOCKS:

            def call(run: int = run, block: int = block, warps: int = warps) -> object:
                return _read[size // run,](words, sums, BLOCK=block, TURNS=run // 4 // block, num_warps=warps)

            yield call
    yield lambda: torch.sum(words)
