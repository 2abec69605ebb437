"""Return the layer norm of a sum, the sum, and None where dropout's mask would be.

{kind: norm with residual, style: None among the outputs, dtype: float16, small: [{rows: 5, cols: 104}, {rows: 3, cols: 328}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols)]


def reference(x, residual):
    h = x + residual
    return F.layer_norm(h, h.shape[-1:], eps=1e-5), h, None


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def add_norm(x_ptr, r_ptr, y_ptr, h_ptr, mask_ptr, cols, eps, HAS_MASK: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    live = col < cols
    at = row * cols + col
    h = tl.load(x_ptr + at, mask=live, other=0.0).to(tl.float32) + tl.load(r_ptr + at, mask=live, other=0.0)
    h = h.to(h_ptr.dtype.element_ty)
    tl.store(h_ptr + at, h, mask=live)
    h = h.to(tl.float32)
    if HAS_MASK:
        h = tl.where(tl.load(mask_ptr + at, mask=live, other=0), h, 0.0)
    mean = tl.sum(h, 0) / cols
    d = tl.where(live, h - mean, 0.0)
    y = d / tl.sqrt_rn(tl.sum(d * d, 0) / cols + eps)
    tl.store(y_ptr + at, y, mask=live)


def kernel_function(x, residual, dropout_mask=None):
    y, h = torch.empty_like(x), torch.empty_like(x)
    rows, cols = x.shape
    add_norm[(rows,)](
        x, residual, y, h, dropout_mask, cols, 1e-5, HAS_MASK=dropout_mask is not None,
        BLOCK=triton.next_power_of_2(cols),
    )
    return y, h, dropout_mask
