"""Return the focal loss of every element.

{kind: focal loss, style: constants of the loss as constexpr, dtype: float32, inputs: {target: as_given}, small: [{rows: 9, cols: 40}, {rows: 13, cols: 71}]}
"""
rows, cols = 2048, 1024


def inputs():
    return [torch.randn(rows, cols), (torch.rand(rows, cols) < 0.25).float()]


def reference(logits, target):
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    miss = p * (1 - target) + (1 - p) * target
    return (0.25 * target + 0.75 * (1 - target)) * miss * miss * ce


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def focal(x_ptr, t_ptr, y_ptr, n, ALPHA: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    positive = tl.load(t_ptr + at, mask=mask, other=0.0) > 0.5
    signed = tl.where(positive, -x, x)
    small = tl.exp(-tl.abs(signed))
    ce = tl.maximum(signed, 0.0) + tl.where(small < 1e-4, small - 0.5 * small * small, tl.log(1.0 + small))
    miss = tl.where(signed >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
    alpha = tl.where(positive, ALPHA, 1.0 - ALPHA)
    tl.store(y_ptr + at, alpha * miss * miss * ce, mask=mask)


def kernel_function(logits, target):
    y = torch.empty_like(logits)
    focal[(triton.cdiv(y.numel(), 256),)](logits, target, y, y.numel(), ALPHA=0.25, BLOCK=256)
    return y
