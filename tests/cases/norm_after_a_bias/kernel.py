import torch
import triton
import triton.language as tl


@triton.jit
def rows(x_ptr, bias_ptr, out_ptr, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < N
    x = tl.load(x_ptr + row * N + at, mask=mask, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total = (x + bias).to(tl.bfloat16).to(tl.float32)
    tl.store(out_ptr + row * N + at, total * tl.rsqrt(tl.sum(total * total) / N + 1e-5), mask=mask)


def kernel_function(x, bias):
    out = torch.empty_like(x)
    rows[(x.shape[0],)](x, bias, out, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
    return out
