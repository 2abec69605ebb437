import torch
import triton
import triton.language as tl


@triton.jit
def affine(x_ptr, factors_ptr, shift_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    y = x * tl.load(factors_ptr) * tl.load(factors_ptr + 1) + tl.load(shift_ptr)
    tl.store(y_ptr + at, y, mask=at < n)


def kernel_function(x):
    factors = torch.tensor([0.5, 5.0], device=x.device)
    shift = torch.as_tensor(1.0, device=x.device)
    y = torch.empty_like(x)
    affine[(triton.cdiv(x.numel(), 1024),)](x, factors, shift, y, x.numel(), BLOCK=1024)
    return y
