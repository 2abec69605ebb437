"""Clamp and scale in double precision.

{kind: float64, style: scalar arguments, dtype: float64, small: [{n: 1000}, {n: 2051}]}
"""
n = 1 << 20


def inputs():
    return [torch.randn(n)]


def reference(x):
    return torch.clamp(x, -1.0, 0.75) * 3.0


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def clamp(x_ptr, y_ptr, low, high, factor, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, tl.clamp(x, low.to(tl.float64), high.to(tl.float64)) * factor, mask=at < n)


def kernel_function(x):
    y = torch.empty_like(x)
    clamp[(triton.cdiv(x.numel(), 512),)](x, y, -1.0, 0.75, 3.0, x.numel(), BLOCK=512)
    return y
