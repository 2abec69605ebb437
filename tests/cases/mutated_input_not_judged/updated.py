import torch
import triton
import triton.language as tl


@triton.jit
def step(x_ptr, m_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    m = tl.load(m_ptr + at, mask=at < n) * 0.9 + x * 0.1
    tl.store(m_ptr + at, m, mask=at < n)
    tl.store(y_ptr + at, x - 0.01 * m, mask=at < n)


def kernel_function(x, m):
    y = torch.empty_like(x)
    step[(triton.cdiv(x.numel(), 1024),)](x, m, y, x.numel(), BLOCK=1024)
    return y
