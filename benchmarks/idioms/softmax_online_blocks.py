"""Apply softmax over rows, reading each row twice.

{kind: softmax, style: online maximum and sum, dtype: bfloat16, small: [{rows: 5, cols: 104}, {rows: 3, cols: 328}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return torch.softmax(x, dim=-1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def softmax(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=float("-inf")).to(tl.float32)
        new = tl.maximum(top, x)
        shift = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp(top - shift) + tl.exp(x - shift)
        top = new
    peak = tl.max(top, 0)
    whole = tl.sum(total * tl.exp(top - peak), 0)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float32)
        tl.store(y_ptr + row * cols + col, tl.exp(x - peak) / whole, mask=col < cols)


def kernel_function(x):
    y = torch.empty_like(x)
    softmax[(x.shape[0],)](x, y, x.shape[1], BLOCK=64)
    return y
