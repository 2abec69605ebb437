"""Both products and the gated GELU in one kernel: one program an output tile, two fp32 accumulators."""

import torch
import triton
import triton.language as tl


@triton.jit
def swiglu_kernel(
    x_ptr, gate_ptr, up_ptr, out_ptr,
    M, N, K,
    stride_xm, stride_gn, stride_un, stride_om,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    ks = tl.arange(0, BLOCK_K)
    row_mask = rows[:, None] < M
    column_mask = columns[None, :] < N
    acc_gate = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    acc_up = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        k_left = K - k
        x_mask = row_mask & (ks[None, :] < k_left)
        w_mask = column_mask & (ks[:, None] < k_left)
        x = tl.load(x_ptr + rows[:, None] * stride_xm + (k + ks)[None, :], mask=x_mask, other=0.0)
        gate = tl.load(gate_ptr + columns[None, :] * stride_gn + (k + ks)[:, None], mask=w_mask, other=0.0)
        up = tl.load(up_ptr + columns[None, :] * stride_un + (k + ks)[:, None], mask=w_mask, other=0.0)
        acc_gate = tl.dot(x, gate, acc_gate)
        acc_up = tl.dot(x, up, acc_up)
    inner = 0.7978845608028654 * (acc_gate + 0.044715 * acc_gate * acc_gate * acc_gate)
    tanh = 2.0 * tl.sigmoid(2.0 * inner) - 1.0
    out = 0.5 * acc_gate * (1.0 + tanh) * acc_up
    out_ptrs = out_ptr + rows[:, None] * stride_om + columns[None, :]
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=row_mask & column_mask)


def kernel_function(x, gate, up):
    K = x.shape[-1]
    N = gate.shape[0]
    flat = x.view(-1, K)
    M = flat.shape[0]
    out = torch.empty((*x.shape[:-1], N), dtype=x.dtype, device=x.device)
    BLOCK_M, BLOCK_N, BLOCK_K = 64, 64, 32
    grid = (triton.cdiv(M, BLOCK_M), triton.cdiv(N, BLOCK_N))
    swiglu_kernel[grid](
        flat, gate, up, out,
        M, N, K,
        flat.stride(0), gate.stride(0), up.stride(0), N,
        BLOCK_M=BLOCK_M, BLOCK_N=BLOCK_N, BLOCK_K=BLOCK_K,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    return out
