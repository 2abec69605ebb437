"""Normalise every image of every channel.

{kind: instance norm, style: a whole image per program, dtype: float32, small: [{B: 2, C: 3, H: 7, W: 9}, {B: 1, C: 5, H: 11, W: 13}]}
"""
B, C, H, W = 16, 64, 64, 64


def inputs():
    return [torch.randn(B, C, H, W)]


def reference(x):
    return F.instance_norm(x, eps=1e-5)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def instance_norm(x_ptr, y_ptr, size, eps, BLOCK: tl.constexpr):
    base = tl.program_id(0).to(tl.int64) * size
    at = tl.arange(0, BLOCK)
    mask = at < size
    x = tl.load(x_ptr + base + at, mask=mask, other=0.0)
    x -= tl.sum(x) / size
    x = tl.where(mask, x, 0.0)
    y = x * tl.rsqrt(tl.sum(x * x) / size + eps)
    tl.store(y_ptr + base + at, y, mask=mask)


def kernel_function(x):
    B, C, H, W = x.shape
    y = torch.empty_like(x)
    instance_norm[(B * C,)](x, y, H * W, 1e-5, BLOCK=triton.next_power_of_2(H * W), num_warps=8)
    return y
