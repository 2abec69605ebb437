"""Apply SiLU and multiply by a constant.

{kind: SiLU, style: custom operator around a wrapped kernel, dtype: float32, small: [{n: 500}, {n: 1027}]}
"""
n = 1 << 21


def inputs():
    return [torch.randn(n)]


def reference(x):
    return F.silu(x) * 1.5


# --- kernel ---
import torch
import triton
import triton.language as tl
from torch.library import triton_op, wrap_triton


@triton.jit
def silu_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.store(y_ptr + at, 1.5 * x / (1.0 + tl.exp(-x)), mask=at < n)


@triton_op("idioms::silu", mutates_args={})
def silu(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    wrap_triton(silu_kernel)[(triton.cdiv(x.numel(), 128),)](x, y, x.numel(), BLOCK=128)
    return y


def kernel_function(x):
    return silu(x)
