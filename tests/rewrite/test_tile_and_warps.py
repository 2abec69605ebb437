"""A tile's size and its warps change together, also where a block of one row stands beside it."""

import re
from random import Random

from kopt.rewrite.source.module import parse
from kopt.rewrite.transformations.tile_and_warps import TRANSFORMATIONS
from tests.rewrite import samples

ROWS = """
import torch
import triton
import triton.language as tl


@triton.jit
def norm_kernel(x_ptr, output_ptr, dim, batch, XBLOCK: tl.constexpr, R0_BLOCK: tl.constexpr):
    row = tl.program_id(0) * XBLOCK + tl.arange(0, XBLOCK)[:, None]
    squares = tl.full([XBLOCK, R0_BLOCK], 0, tl.float32)
    for offset in tl.range(0, dim, R0_BLOCK):
        column = offset + tl.arange(0, R0_BLOCK)[None, :]
        x = tl.load(x_ptr + (column + dim * row), (column < dim) & (row < batch), other=0.0)
        squares += x * x
    norm = tl.sqrt(tl.sum(squares, 1)[:, None])
    for offset in tl.range(0, dim, R0_BLOCK):
        column = offset + tl.arange(0, R0_BLOCK)[None, :]
        x = tl.load(x_ptr + (column + dim * row), (column < dim) & (row < batch), other=0.0)
        tl.store(output_ptr + (column + dim * row), x / norm, (column < dim) & (row < batch))


def kernel_function(x):
    output = torch.empty_like(x)
    norm_kernel[lambda META: (triton.cdiv(x.shape[0], META["XBLOCK"]),)](
        x, output, x.shape[1], x.shape[0], XBLOCK=1, R0_BLOCK=2048, num_warps=16
    )
    return output
"""


def test_rows_get_longer_blocks_and_more_warps_in_one_move():
    (move,) = TRANSFORMATIONS
    (site,) = move.sites(parse(ROWS), samples.facts())
    changes = [site.apply(Random(seed)) for seed in range(200)]
    found = [re.search(r"XBLOCK=(\d+), R0_BLOCK=(\d+), num_warps=(\d+)", one.source).groups() for one in changes if one]
    assert {one for one, _, _ in found} == {"1"}
    assert ("16384", "32") in {(block, warps) for _, block, warps in found}
