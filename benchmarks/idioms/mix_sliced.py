"""Interpolate between two slices of a larger tensor, by a factor that is a Python number.

{kind: interpolation, style: sliced inputs with strides, dtype: float32, small: [{rows: 9, cols: 20}, {rows: 13, cols: 37}]}
"""
rows, cols = 2048, 1024


def inputs():
    whole = torch.randn(rows, 2 * cols)
    return [whole[:, :cols], whole[:, cols:], 0.3]


def reference(x, y, weight):
    return torch.lerp(x, y, weight)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def lerp(x_ptr, y_ptr, out_ptr, weight, cols, sx, sy, so, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * sx + col, mask=col < cols)
    y = tl.load(y_ptr + row * sy + col, mask=col < cols)
    tl.store(out_ptr + row * so + col, x + weight * (y - x), mask=col < cols)


def kernel_function(x, y, weight):
    rows, cols = x.shape
    out = torch.empty((rows, cols), dtype=x.dtype, device=x.device)
    lerp[(rows, triton.cdiv(cols, 16))](x, y, out, weight, cols, x.stride(0), y.stride(0), out.stride(0), BLOCK=16)
    return out
