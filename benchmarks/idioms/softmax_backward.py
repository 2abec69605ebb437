"""Return the gradient of a softmax.

{kind: softmax backward, style: saved output, dtype: float32, inputs: {y: {range: [0, 1]}}, small: [{rows: 5, cols: 100}, {rows: 3, cols: 257}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(rows, cols), torch.softmax(torch.randn(rows, cols), -1)]


def reference(dy, y):
    return y * (dy - (dy * y).sum(-1, keepdim=True))


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def softmax_backward_kernel(dy_ptr, y_ptr, dx_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    mask = col < cols
    dy = tl.load(dy_ptr + row * cols + col, mask=mask, other=0.0)
    y = tl.load(y_ptr + row * cols + col, mask=mask, other=0.0)
    dot = tl.sum(dy * y, axis=0)
    tl.store(dx_ptr + row * cols + col, y * (dy - dot), mask=mask)


def kernel_function(dy, y):
    dx = torch.empty_like(dy)
    softmax_backward_kernel[(dy.shape[0],)](dy, y, dx, dy.shape[1], BLOCK=triton.next_power_of_2(dy.shape[1]))
    return dx
