"""Divide every row by its length.

{kind: L2 normalisation, style: several rows per program, dtype: float16, small: [{rows: 11, cols: 40}, {rows: 7, cols: 100}]}
"""
rows, cols = 8192, 512


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    return (y / torch.sqrt((y * y).sum(-1, keepdim=True) + 1e-5)).to(x.dtype)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def l2_norm(X, Y, T, D: tl.constexpr, eps, BT: tl.constexpr, BD: tl.constexpr):
    i_t = tl.program_id(0)
    o_t = i_t * BT + tl.arange(0, BT)[:, None]
    o_d = tl.arange(0, BD)[None, :]
    m = (o_t < T) & (o_d < D)
    b_x = tl.load(X + o_t * D + o_d, mask=m, other=0.0).to(tl.float32)
    b_r = tl.rsqrt(tl.sum(b_x * b_x, 1) + eps)
    tl.store(Y + o_t * D + o_d, (b_x * b_r[:, None]).to(Y.dtype.element_ty), mask=m)


def kernel_function(x):
    T, D = x.shape
    y = torch.empty_like(x)
    l2_norm[(triton.cdiv(T, 4),)](x, y, T, D, 1e-5, BT=4, BD=triton.next_power_of_2(D))
    return y
