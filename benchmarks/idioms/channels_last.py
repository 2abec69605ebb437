"""Scale images and return them with channels last in memory.

{kind: layout change, style: output strides unlike the shape's order, dtype: float32, small: [{B: 2, C: 5, H: 6, W: 7}, {B: 1, C: 9, H: 5, W: 8}]}
"""
B, C, H, W = 8, 64, 64, 64


def inputs():
    return [torch.randn(B, C, H, W)]


def reference(x):
    return (x * 2.0).contiguous(memory_format=torch.channels_last)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def to_channels_last(x_ptr, y_ptr, C, S, BC: tl.constexpr, BS: tl.constexpr):
    batch = tl.program_id(2)
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    s = tl.program_id(1) * BS + tl.arange(0, BS)
    mask = (c[:, None] < C) & (s[None, :] < S)
    x = tl.load(x_ptr + (batch * C + c[:, None]) * S + s[None, :], mask=mask)
    tl.store(y_ptr + (batch * S + s[None, :]) * C + c[:, None], x * 2.0, mask=mask)


def kernel_function(x):
    B, C, H, W = x.shape
    y = torch.empty_like(x, memory_format=torch.channels_last)
    to_channels_last[(triton.cdiv(C, 4), triton.cdiv(H * W, 16), B)](x, y, C, H * W, BC=4, BS=16)
    return y
