"""Divide rows by their root mean square, cast, and multiply by a weight.

{kind: RMS norm, style: casting modes as constexpr, dtype: bfloat16, small: [{rows: 5, cols: 104}, {rows: 3, cols: 328}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols)]


class Model(nn.Module):
    def __init__(self, cols, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(cols))
        self.eps = eps

    def forward(self, x):
        y = x.to(torch.promote_types(x.dtype, torch.float32))
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * y.to(x.dtype)


def get_init_inputs():
    return [cols]


# --- kernel ---
import torch
import triton
import triton.language as tl

CASTING_NONE: tl.constexpr = tl.constexpr(-1)
CASTING_LLAMA: tl.constexpr = tl.constexpr(0)


@triton.jit
def rms_norm_kernel(Y_ptr, Y_stride, X_ptr, X_stride, W_ptr, n_cols, eps, mode: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    row_idx = tl.program_id(0).to(tl.int64)
    col_offsets = tl.arange(0, BLOCK_SIZE)
    mask = col_offsets < n_cols
    X_row = tl.load(X_ptr + row_idx * X_stride + col_offsets, mask=mask, other=0)
    X_row_dtype = X_row.dtype
    W_row = tl.load(W_ptr + col_offsets, mask=mask, other=0)
    if mode == CASTING_LLAMA:
        X_row = X_row.to(tl.float32)
    if mode == CASTING_NONE:
        eps = eps.to(X_row_dtype)
    mean_square = tl.sum(X_row * X_row, axis=0) / n_cols
    rstd = tl.math.rsqrt(mean_square + eps)
    X_row = X_row * rstd
    if mode == CASTING_LLAMA:
        X_row = X_row.to(X_row_dtype)
    tl.store(Y_ptr + row_idx * Y_stride + col_offsets, X_row * W_row, mask=mask)


MODES = {"llama": CASTING_LLAMA, "none": CASTING_NONE}


def kernel_function(x, weight, eps):
    y = torch.empty_like(x)
    n_rows, n_cols = x.shape
    rms_norm_kernel[(n_rows,)](
        y, y.stride(0), x, x.stride(0), weight, n_cols, eps, MODES["llama"].value,
        BLOCK_SIZE=triton.next_power_of_2(n_cols), num_warps=4,
    )
    return y
