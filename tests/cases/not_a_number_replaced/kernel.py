import torch
import triton
import triton.language as tl


@triton.jit
def clean(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0)
    x = tl.where(x == float("inf"), 1e4, tl.where(x == float("-inf"), -1e4, x))
    tl.store(y_ptr + at, tl.where(x == x, x, 0.0), mask=at < n)


def kernel_function(x):
    y = torch.empty_like(x)
    n = x.numel()
    clean[(triton.cdiv(n, 1024),)](x, y, n, BLOCK=1024)
    return y
