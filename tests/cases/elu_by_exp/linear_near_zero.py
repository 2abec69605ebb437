import torch
import triton
import triton.language as tl


@triton.jit
def elu(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    tl.store(y_ptr + at, tl.where(x > 0, x, tl.where(x > -0.01, x, tl.exp(x) - 1.0)), mask=at < n)


def kernel_function(x):
    y = torch.empty_like(x)
    elu[(triton.cdiv(x.numel(), 256),)](x, y, x.numel(), BLOCK=256)
    return y
