"""Multiply matrices of float32 on the tensor cores: each number is, to 2**-23 of it, the sum of two that TF32 holds."""

import torch
import triton
import triton.language as tl


@triton.jit
def split_kernel(
    x_ptr, big_ptr, small_ptr, ROWS, COLUMNS, batch_stride, row_stride, column_stride, HEIGHT, DEPTH,
    WIDE: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):
    """Write each number as two parts of 11 bits into matrices of HEIGHT x DEPTH, padded with 0.

    The small part is what the big one leaves, rounded.  An infinity is 1 and infinity, so that no product of parts is one of infinity and 0; NaN likewise.  Numbers that would
    round to infinity have a big part that is cut off.
    """
    across = DEPTH // BLOCK_C
    block, blocks = tl.program_id(0), HEIGHT // BLOCK_R * across
    batch = block // blocks
    row = block % blocks // across * BLOCK_R + tl.arange(0, BLOCK_R)
    column = block % across * BLOCK_C + tl.arange(0, BLOCK_C)
    if WIDE:
        batch, row, column = batch.to(tl.int64), row.to(tl.int64), column.to(tl.int64)
    inside = (row < ROWS)[:, None] & (column < COLUMNS)[None, :]
    place = batch * batch_stride + row[:, None] * row_stride + column[None, :] * column_stride
    x = tl.load(x_ptr + place, mask=inside, other=0.0)
    bits = x.to(tl.int32, bitcast=True)
    cut = (bits & ~0x1FFF).to(tl.float32, bitcast=True)
    rounded = ((bits + 0x1000) & ~0x1FFF).to(tl.float32, bitcast=True)
    finite = tl.abs(x) < float("inf")
    big = tl.where(finite, tl.where(tl.abs(rounded) < float("inf"), rounded, cut), tl.where(x < 0, -1.0, 1.0))
    left = (x - big).to(tl.int32, bitcast=True)
    small = ((left + 0x1000) & ~0x1FFF).to(tl.float32, bitcast=True)
    made = (batch * HEIGHT + row[:, None]) * DEPTH + column[None, :]
    tl.store(big_ptr + made, big)
    tl.store(small_ptr + made, tl.where(finite, small, x))


@triton.jit
def product_kernel(
    big_a_ptr, small_a_ptr, big_b_ptr, small_b_ptr, output_ptr, M, N, HEIGHT_A, HEIGHT_B, DEPTH, DIAGONAL,
    WIDE: tl.constexpr, TRIANGLE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """Add three products of parts for each step; that of the two small parts, 2**-22 of the result, is left out.

    Each step is summed by itself and added in float32, since sums within tensor cores are cut off, not rounded.  With TRIANGLE 1 what lies below the diagonal is 0, with -1 what
    lies above it; a tile that is all 0 has no steps.
    """
    blocks_m, blocks_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    program, batch = tl.program_id(0) % (blocks_m * blocks_n), tl.program_id(0) // (blocks_m * blocks_n)
    group = program // (GROUP_M * blocks_n)
    group_size = min(blocks_m - group * GROUP_M, GROUP_M)
    within = program % (GROUP_M * blocks_n)
    first_row, first_column = (group * GROUP_M + within % group_size) * BLOCK_M, within // group_size * BLOCK_N
    row, column = first_row + tl.arange(0, BLOCK_M), first_column + tl.arange(0, BLOCK_N)
    depth, end = tl.arange(0, BLOCK_K), DEPTH
    if TRIANGLE != 0:
        reach = (BLOCK_N if TRIANGLE > 0 else BLOCK_M) - 1
        end = tl.where(TRIANGLE * (first_column - first_row - DIAGONAL) + reach >= 0, DEPTH, 0)
    if WIDE:
        batch, row, column = batch.to(tl.int64), row.to(tl.int64), column.to(tl.int64)
    a_place = (batch * HEIGHT_A + row[:, None]) * DEPTH + depth[None, :]
    b_place = (batch * HEIGHT_B + column[:, None]) * DEPTH + depth[None, :]
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, end, BLOCK_K):
        big_a = tl.load(big_a_ptr + a_place + k)
        small_a = tl.load(small_a_ptr + a_place + k)
        big_b = tl.load(big_b_ptr + b_place + k)
        small_b = tl.load(small_b_ptr + b_place + k)
        step = tl.dot(small_a, tl.trans(big_b), input_precision="tf32")
        step = tl.dot(big_a, tl.trans(small_b), step, input_precision="tf32")
        step = tl.dot(big_a, tl.trans(big_b), step, input_precision="tf32")
        total += step
    if TRIANGLE != 0:
        total = tl.where(TRIANGLE * (column[None, :] - row[:, None] - DIAGONAL) >= 0, total, 0.0)
    place = (batch * M + row[:, None]) * N + column[None, :]
    tl.store(output_ptr + place, total, mask=(row < M)[:, None] & (column < N)[None, :])


def parts(x):
    batches, (rows, columns) = x.shape[:-2].numel(), x.shape[-2:]
    height, depth = triton.cdiv(rows, 128) * 128, triton.cdiv(columns, 32) * 32
    big, small = torch.empty((2, batches, height, depth), dtype=x.dtype, device=x.device)
    wide = max(big.numel(), sum((size - 1) * step for size, step in zip(x.shape, x.stride()))) >= 2**31 - 2**16
    split_kernel[(depth // 32 * (height // 128) * batches,)](
        x, big, small, rows, columns, x.stride(0) if x.dim() == 3 else 0, x.stride(-2), x.stride(-1), height, depth,
        WIDE=wide, BLOCK_R=128, BLOCK_C=32, num_warps=4,
    )
    return big, small, wide


def product(a, b, triangle=0, diagonal=0):
    output = torch.empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device=a.device)
    batches, (m, n) = a.shape[:-2].numel(), output.shape[-2:]
    big_a, small_a, wide_a = parts(a)
    big_b, small_b, wide_b = parts(b.transpose(-2, -1))
    wide = wide_a or wide_b or output.numel() >= 2**31 - 2**16
    product_kernel[(triton.cdiv(m, 128) * triton.cdiv(n, 128) * batches,)](
        big_a, small_a, big_b, small_b, output, m, n, big_a.shape[-2], big_b.shape[-2], big_a.shape[-1], diagonal,
        WIDE=wide, TRIANGLE=triangle, BLOCK_M=128, BLOCK_N=128, BLOCK_K=32, GROUP_M=8, num_warps=8, num_stages=3,
    )
    return output
