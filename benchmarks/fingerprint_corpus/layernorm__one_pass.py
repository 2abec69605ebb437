# ruff: noqa: D103
"""Layer normalisation with the whole row in registers and a fixed grid."""

import torch
import triton
import triton.language as tl


@triton.jit
def persistent_layernorm(x_ptr, w_ptr, b_ptr, y_ptr, rows, columns, stride, eps, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    weight = tl.load(w_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(b_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        base = row.to(tl.int64) * stride
        x = tl.load(x_ptr + base + offsets, mask=inside, other=0.0).to(tl.float32)
        mean = tl.sum(x, axis=0) / columns
        centred = tl.where(inside, x - mean, 0.0)
        scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / columns + eps)
        y = centred * scale * weight + bias
        tl.store(y_ptr + base + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)


def kernel_function(x, weight, bias, eps=1e-5):
    rows, columns = x.shape
    y = torch.empty_like(x)
    programs = min(rows, 132)
    persistent_layernorm[(programs,)](
        x, weight, bias, y, rows, columns, x.stride(0), eps, BLOCK=triton.next_power_of_2(columns), num_warps=16
    )
    return y
