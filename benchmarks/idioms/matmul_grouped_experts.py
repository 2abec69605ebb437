"""Multiply groups of rows, each by the matrix of its expert.

{kind: grouped matmul, style: tiles searched in offsets by a while loop, dtype: bfloat16, inputs: {offsets: as_given}, small: [{experts: 3, rows: 20, N: 24, K: 40}, {experts: 4, rows: 18, N: 40, K: 24}]}
"""
experts, rows, N, K = 8, 256, 512, 512


def inputs():
    sizes = torch.arange(experts) * 7 % (2 * rows)
    offsets = F.pad(sizes.cumsum(0), (1, 0)).to(torch.int32)
    total = sum(e * 7 % (2 * rows) for e in range(experts))
    return [torch.randn(total, K), torch.randn(experts, K, N), offsets]


def reference(x, w, offsets):
    row = torch.arange(x.shape[0], device=x.device)
    out = torch.zeros(x.shape[0], w.shape[2], dtype=x.dtype, device=x.device)
    for e in range(w.shape[0]):
        mine = (row >= offsets[e]) & (row < offsets[e + 1])
        out = torch.where(mine[:, None], x @ w[e], out)
    return out


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def grouped_mm(x_ptr, w_ptr, o_ptr, offsets_ptr, experts, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    tile = tl.program_id(0)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    expert = 0
    before = 0
    begin = tl.load(offsets_ptr)
    end = tl.load(offsets_ptr + 1)
    tiles = tl.cdiv(end - begin, BM)
    while (expert < experts - 1) & (before + tiles <= tile):
        before += tiles
        expert += 1
        begin = end
        end = tl.load(offsets_ptr + expert + 1)
        tiles = tl.cdiv(end - begin, BM)
    m = begin + (tile - before) * BM + tl.arange(0, BM)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(x_ptr + m[:, None] * K + k[None, :], mask=(m[:, None] < end) & (k[None, :] < K), other=0.0)
        w = tl.load(w_ptr + expert * K * N + k[:, None] * N + n[None, :], mask=(k[:, None] < K) & (n[None, :] < N), other=0.0)
        acc += tl.dot(x, w)
    tl.store(o_ptr + m[:, None] * N + n[None, :], acc.to(o_ptr.dtype.element_ty), mask=(m[:, None] < end) & (n[None, :] < N))


def kernel_function(x, w, offsets):
    total, K = x.shape
    experts, _, N = w.shape
    out = torch.empty((total, N), dtype=x.dtype, device=x.device)
    tiles = triton.cdiv(total, 16) + experts
    grouped_mm[(tiles, triton.cdiv(N, 16))](x, w, out, offsets, experts, N, K, BM=16, BN=16, BK=16)
    return out
