"""Evaluate a polynomial by Horner's rule in float32.

{kind: polynomial, style: string annotations and a table of dtypes, dtype: bfloat16, small: [{n: 504}, {n: 1032}]}
"""
n = 1 << 22


def inputs():
    return [torch.randn(n)]


def reference(x):
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    return (((0.5 * y - 1.0) * y + 2.0) * y + 0.25).to(x.dtype)


# --- kernel ---
from __future__ import annotations

import torch
import triton
import triton.language as tl

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@triton.jit
def horner(x, a, b, c, d):
    return ((a * x + b) * x + c) * x + d


@triton.jit
def polynomial(x_ptr, y_ptr, n: "i32", COMPUTE: "tl.constexpr", OUT: tl.constexpr, BLOCK: "tl.constexpr"):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0).to(COMPUTE)
    tl.store(y_ptr + at, horner(x, 0.5, -1.0, 2.0, 0.25).to(OUT), mask=at < n)


def kernel_function(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    polynomial[(triton.cdiv(x.numel(), 128),)](x, y, x.numel(), COMPUTE=tl.float32, OUT=TYPES[x.dtype], BLOCK=128)
    return y
