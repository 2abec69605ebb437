"""Add to the residual in place and return its RMS norm.

{kind: fused residual norm, style: in place and returned, dtype: bfloat16, mutates: [residual], small: [{rows: 5, cols: 104}, {rows: 3, cols: 328}]}
"""
rows, cols = 2048, 4096


def inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols), torch.randn(cols)]


def reference(x, residual, weight):
    residual.add_(x)
    h = residual.to(torch.promote_types(x.dtype, torch.float32))
    return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def fused_add_rms_norm(x_ptr, r_ptr, w_ptr, y_ptr, cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    mask = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=mask, other=0.0)
    r = tl.load(r_ptr + row * cols + col, mask=mask, other=0.0)
    total = (x.to(tl.float32) + r.to(tl.float32)).to(r.dtype)
    tl.store(r_ptr + row * cols + col, total, mask=mask)
    h = total.to(tl.float32)
    y = (h * tl.rsqrt(tl.sum(h * h) / cols + eps)).to(x.dtype)
    w = tl.load(w_ptr + col, mask=mask, other=0.0)
    tl.store(y_ptr + row * cols + col, y * w, mask=mask)


def kernel_function(x, residual, weight):
    y = torch.empty_like(x)
    rows, cols = x.shape
    fused_add_rms_norm[(rows,)](x, residual, weight, y, cols, 1e-6, BLOCK=triton.next_power_of_2(cols))
    return y
