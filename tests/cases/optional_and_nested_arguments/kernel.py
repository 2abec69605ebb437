import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr, a_ptr, b_ptr, y_ptr, n, scale, shift, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    a = tl.load(a_ptr + at, mask=at < n)
    b = tl.load(b_ptr + at, mask=at < n)
    tl.store(y_ptr + at, (x + a * b) * scale + shift, mask=at < n)


def kernel_function(x, pair, table, nothing, mode, count, bias, scale, *, shift, other=7.0):
    assert nothing is None
    assert bias is None
    assert mode == "add"
    assert count == 2
    assert other == 7.0
    y = torch.empty_like(x)
    n = x.numel()
    kernel[(triton.cdiv(n, 256),)](x, pair[0], table["b"], y, n, scale, shift, BLOCK=256)
    return y
