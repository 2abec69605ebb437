"""Repeat every pixel in squares of two by two.

{kind: nearest upsampling, style: flat output index, dtype: bfloat16, small: [{P: 5, H: 4, W: 10}, {P: 3, H: 5, W: 9}]}
"""
P, H, W = 256, 64, 64


def inputs():
    return [torch.randn(1, P, H, W)]


def reference(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def upsample(x_ptr, y_ptr, total, H, W, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    w = at % (2 * W) // 2
    h = at // (2 * W) % (2 * H) // 2
    plane = at // (4 * H * W)
    tl.store(y_ptr + at, tl.load(x_ptr + (plane * H + h) * W + w, mask=at < total), mask=at < total)


def kernel_function(x):
    B, P, H, W = x.shape
    y = torch.empty((B, P, 2 * H, 2 * W), dtype=x.dtype, device=x.device)
    upsample[(triton.cdiv(y.numel(), 128),)](x, y, y.numel(), H, W, BLOCK=128)
    return y
