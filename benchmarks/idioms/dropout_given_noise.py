"""Drop elements where given noise is below a rate, scale the others, and add a residual.

{kind: dropout with noise, style: keyword-only scale, dtype: float32, inputs: {noise: as_given}, small: [{n: 500}, {n: 1027}]}
"""
n = 1 << 21


def inputs():
    return [torch.randn(n), torch.randn(n), torch.rand(n)]


def reference(x, residual, noise):
    return torch.where(noise > 0.25, x / 0.75, 0.0) + residual


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def dropout(x_ptr, r_ptr, u_ptr, y_ptr, n, p, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(x_ptr + at, mask=mask)
    keep = tl.load(u_ptr + at, mask=mask) > p
    y = tl.where(keep, x / (1 - p), 0.0) + tl.load(r_ptr + at, mask=mask)
    tl.store(y_ptr + at, y, mask=mask)


def kernel_function(x, residual, noise, *, p=0.25):
    y = torch.empty_like(x)
    dropout[(triton.cdiv(x.numel(), 128),)](x, residual, noise, y, x.numel(), p, BLOCK=128)
    return y
