"""Layer normalisation of a row: one program a row, read three times (mean, variance, result)."""

import torch
import triton
import triton.language as tl


@triton.jit
def layernorm_kernel(x_ptr, weight_ptr, bias_ptr, y_ptr, columns, stride_x, stride_y, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=0.0)
        total += x.to(tl.float32)
    mean = tl.sum(total, axis=0) / columns
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=0.0)
        centred = tl.where(mask, x.to(tl.float32) - mean, 0.0)
        squares += centred * centred
    inverse = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / columns + eps)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=0.0)
        weight = tl.load(weight_ptr + start + offsets, mask=mask, other=0.0)
        bias = tl.load(bias_ptr + start + offsets, mask=mask, other=0.0)
        y = (x.to(tl.float32) - mean) * inverse * weight.to(tl.float32) + bias.to(tl.float32)
        tl.store(y_ptr + row * stride_y + start + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(x, weight, bias, eps=1e-5):
    rows, columns = x.shape
    y = torch.empty_like(x)
    layernorm_kernel[(rows,)](x, weight, bias, y, columns, x.stride(0), y.stride(0), eps, BLOCK=4096, num_warps=16)
    return y
