import torch
import triton
import triton.language as tl


@triton.jit
def rows(x_ptr, y_ptr, out_ptr, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < N
    x = tl.load(x_ptr + row * N + at, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(y_ptr + row * N + at, mask=mask, other=0.0).to(tl.float32)
    norm = tl.sqrt(tl.sum(y * y))
    tl.store(out_ptr + row * N + at, x * y / tl.maximum(norm, 1e-12), mask=mask)


def kernel_function(x, y):
    out = torch.empty_like(x)
    rows[(x.shape[0],)](x, y, out, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return out
