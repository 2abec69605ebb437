"""Softmax of a row: one program a row, read three times (maximum, sum, result)."""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, y_ptr, columns, stride_x, stride_y, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    largest = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=float("-inf"))
        largest = tl.maximum(largest, x.to(tl.float32))
    row_max = tl.max(largest, axis=0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=float("-inf"))
        total += tl.exp(x.to(tl.float32) - row_max)
    row_sum = tl.sum(total, axis=0)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=float("-inf"))
        y = tl.exp(x.to(tl.float32) - row_max) / row_sum
        tl.store(y_ptr + row * stride_y + start + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(x):
    rows, columns = x.shape
    y = torch.empty_like(x)
    softmax_kernel[(rows,)](x, y, columns, x.stride(0), y.stride(0), BLOCK=4096, num_warps=8)
    return y
