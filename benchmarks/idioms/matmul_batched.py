"""Multiply matrices batch by batch, the second transposed in memory.

{kind: batched matmul, style: three-dimensional grid and strides, dtype: float16, small: [{B: 2, M: 24, N: 20, K: 72}, {B: 3, M: 17, N: 33, K: 40}]}
"""
B, M, N, K = 16, 512, 512, 256


def inputs():
    return [torch.randn(B, M, K), torch.randn(B, N, K).transpose(1, 2)]


def reference(a, b):
    return torch.bmm(a, b)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def bmm_kernel(
    A, B, O, M, N, K, sab, sam, sak, sbb, sbk, sbn, sob, som, son,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr,
):
    pid_b = tl.program_id(2)
    A += pid_b * sab
    B += pid_b * sbb
    O += pid_b * sob
    offs_m = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    offs_n = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    mask_m, mask_n = offs_m < M, offs_n < N
    o = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
    for start in range(0, K, TILE_K):
        offs_k = start + tl.arange(0, TILE_K)
        mask_k = offs_k < K
        a = tl.load(A + offs_m[:, None] * sam + offs_k[None, :] * sak, mask=mask_m[:, None] & mask_k[None, :], other=0.0)
        b = tl.load(B + offs_k[:, None] * sbk + offs_n[None, :] * sbn, mask=mask_k[:, None] & mask_n[None, :], other=0.0)
        o += tl.dot(a, b, allow_tf32=False)
    tl.store(O + offs_m[:, None] * som + offs_n[None, :] * son, o, mask=mask_m[:, None] & mask_n[None, :])


def kernel_function(a, b):
    batch, M, K = a.shape
    N = b.shape[2]
    out = torch.empty((batch, M, N), dtype=a.dtype, device=a.device)
    grid = (triton.cdiv(M, 16), triton.cdiv(N, 16), batch)
    bmm_kernel[grid](a, b, out, M, N, K, *a.stride(), *b.stride(), *out.stride(), TILE_M=16, TILE_N=16, TILE_K=32)
    return out
