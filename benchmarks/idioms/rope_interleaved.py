"""Rotate neighbouring pairs of every head.

{kind: interleaved rotary embedding, style: split and join of pairs, dtype: float32, inputs: {cos: {range: [-1, 1]}, sin: {range: [-1, 1]}}, small: [{T: 5, H: 3, D: 16}, {T: 7, H: 4, D: 24}]}
"""
T, H, D = 1024, 16, 128


def inputs():
    angle = torch.randn(T, D // 2)
    return [torch.randn(T, H, D), torch.cos(angle), torch.sin(angle)]


def reference(x, cos, sin):
    a, b = x[..., ::2], x[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def rope(x_ptr, cos_ptr, sin_ptr, y_ptr, H, D, HALF: tl.constexpr):
    t, h = tl.program_id(0), tl.program_id(1)
    half = D // 2
    base = (t * H + h) * D
    d = tl.arange(0, 2 * HALF)
    x = tl.load(x_ptr + base + d, mask=d < D, other=0.0)
    a, b = tl.split(tl.reshape(x, (HALF, 2)))
    i = tl.arange(0, HALF)
    cos = tl.load(cos_ptr + t * half + i, mask=i < half, other=0.0)
    sin = tl.load(sin_ptr + t * half + i, mask=i < half, other=0.0)
    y = tl.interleave(a * cos - b * sin, a * sin + b * cos)
    tl.store(y_ptr + base + d, y, mask=d < D)


def kernel_function(x, cos, sin):
    T, H, D = x.shape
    y = torch.empty_like(x)
    rope[(T, H)](x, cos, sin, y, H, D, HALF=triton.next_power_of_2(D // 2))
    return y
