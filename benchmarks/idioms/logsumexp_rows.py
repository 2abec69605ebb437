"""Return the logarithm of the sum of exponentials of every row.

{kind: log-sum-exp, style: online maximum and sum, dtype: float32, small: [{rows: 5, cols: 104}, {rows: 3, cols: 259}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols) * 3]


def reference(x):
    return torch.logsumexp(x, dim=-1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def lse_kernel(x_ptr, out_ptr, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    m = float("-inf")
    d = 0.0
    for i in range(0, n_cols, BLOCK):
        col = i + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n_cols + col, mask=col < n_cols, other=float("-inf"))
        m_new = tl.maximum(m, tl.max(x))
        d = d * tl.exp(m - m_new) + tl.sum(tl.exp(x - m_new))
        m = m_new
    tl.store(out_ptr + row, m + tl.log(d))


def kernel_function(x):
    out = torch.empty(x.shape[0], dtype=x.dtype, device=x.device)
    lse_kernel[(x.shape[0],)](x, out, x.shape[1], BLOCK=64)
    return out
