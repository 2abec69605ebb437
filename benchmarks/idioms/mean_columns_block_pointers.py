"""Average every column.

{kind: mean of columns, style: block pointers, dtype: float32, small: [{rows: 37, cols: 40}, {rows: 65, cols: 100}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


def reference(x):
    return x.mean(dim=0, keepdim=True)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def mean_columns(x_ptr, out_ptr, rows, cols, stride_r, stride_c, BR: tl.constexpr, BC: tl.constexpr):
    x_block = tl.make_block_ptr(
        base=x_ptr, shape=(rows, cols), strides=(stride_r, stride_c), offsets=(0, tl.program_id(0) * BC),
        block_shape=(BR, BC), order=(1, 0),
    )
    acc = tl.zeros((BR, BC), dtype=tl.float32)
    for _ in range(0, tl.cdiv(rows, BR)):
        acc += tl.load(x_block, boundary_check=(0, 1), padding_option="zero")
        x_block = tl.advance(x_block, (BR, 0))
    out_block = tl.make_block_ptr(out_ptr, (cols,), (1,), (tl.program_id(0) * BC,), (BC,), (0,))
    tl.store(out_block, tl.sum(acc, axis=0) / rows, boundary_check=(0,))


def kernel_function(x):
    rows, cols = x.shape
    out = torch.empty((1, cols), dtype=x.dtype, device=x.device)
    mean_columns[(triton.cdiv(cols, 32),)](x, out, rows, cols, x.stride(0), x.stride(1), BR=16, BC=32)
    return out
