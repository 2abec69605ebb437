"""Multiply the SiLU of a gate by a second tensor.

{kind: SwiGLU, style: a row per program with the block sized to the row, dtype: bfloat16, small: [{rows: 5, cols: 264}, {rows: 3, cols: 1000}]}
"""
rows, cols = 1024, 4096


def inputs():
    return [torch.randn(2, rows, cols), torch.randn(2, rows, cols)]


def reference(gate, up):
    return F.silu(gate) * up


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def silu(x):
    return x * tl.sigmoid(x)


@triton.jit
def swiglu_forward_kernel(a_ptr, b_ptr, c_ptr, stride, n_cols: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    program_id = tl.program_id(0).to(tl.int64)
    a_ptr += program_id * stride
    b_ptr += program_id * stride
    c_ptr += program_id * stride
    col_offsets = tl.arange(0, BLOCK_SIZE)
    mask = col_offsets < n_cols
    a_row = tl.load(a_ptr + col_offsets, mask=mask, other=0).to(tl.float32)
    b_row = tl.load(b_ptr + col_offsets, mask=mask, other=0)
    c_row = silu(a_row).cast(b_row.dtype) * b_row
    tl.store(c_ptr + col_offsets, c_row, mask=mask)


def calculate_settings(n):
    block = triton.next_power_of_2(n)
    num_warps = 4
    if block >= 8192:
        num_warps = 16
    elif block >= 2048:
        num_warps = 8
    return block, num_warps


def kernel_function(gate, up):
    shape = gate.shape
    n_cols = shape[-1]
    a, b = gate.view(-1, n_cols), up.view(-1, n_cols)
    c = torch.empty_like(a)
    block, num_warps = calculate_settings(n_cols)
    swiglu_forward_kernel[(a.shape[0],)](a, b, c, c.stride(-2), n_cols=n_cols, BLOCK_SIZE=block, num_warps=num_warps)
    return c.view(*shape)
