"""Add a multiple of one tensor to another in place, and return it.

{kind: in place, style: the input is the output, dtype: float32, mutates: [x], small: [{n: 1000}, {n: 4099}]}
"""
n = 1 << 22


def inputs():
    return [torch.randn(n), torch.randn(n)]


def reference(x, y):
    return x.add_(y, alpha=0.25)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def axpy_(x_ptr, y_ptr, alpha, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(x_ptr + at, mask=mask)
    y = tl.load(y_ptr + at, mask=mask)
    tl.store(x_ptr + at, x + alpha * y, mask=mask)


def kernel_function(x, y):
    axpy_[(triton.cdiv(x.numel(), 1024),)](x, y, 0.25, x.numel(), BLOCK=1024)
    return x
