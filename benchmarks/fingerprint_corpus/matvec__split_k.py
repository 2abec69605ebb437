# ruff: noqa: D103
"""Matrix-vector product in two launches: partial sums of a row's parts, then their sum."""

import torch
import triton
import triton.language as tl


@triton.jit
def widened(pointer, offsets, inside):
    return tl.load(pointer + offsets, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def partial_kernel(a_ptr, b_ptr, part_ptr, K, stride_am, part, SPLITS: tl.constexpr, BLOCK_K: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    offsets = tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_K,), dtype=tl.float32)
    for start in range(split * part, (split + 1) * part, BLOCK_K):
        inside = start + offsets < K
        a = tl.load(a_ptr + row * stride_am + start + offsets, mask=inside, other=0.0)
        total += a.to(tl.float32) * widened(b_ptr, start + offsets, inside)
    tl.store(part_ptr + row * SPLITS + split, tl.sum(total, axis=0))


@triton.jit
def sum_kernel(part_ptr, y_ptr, SPLITS: tl.constexpr):
    row = tl.program_id(0)
    total = tl.sum(tl.load(part_ptr + row * SPLITS + tl.arange(0, SPLITS)), axis=0)
    tl.store(y_ptr + row, total.to(y_ptr.dtype.element_ty))


def kernel_function(A, B):
    M, K = A.shape
    splits = 4
    parts = torch.empty((M, splits), dtype=torch.float32, device=A.device)
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    partial_kernel[(M, splits)](A, B, parts, K, A.stride(0), K // splits, SPLITS=splits, BLOCK_K=2048, num_warps=8)
    sum_kernel[(M,)](parts, y, SPLITS=splits, num_warps=1)
    return y
