import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr, b_ptr, y_ptr, N, x_row, x_column, b_row, b_column, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * x_row + at * x_column, mask=at < N)
    b = tl.load(b_ptr + row * b_row + at * b_column, mask=at < N)
    tl.store(y_ptr + row * N + at, x + b, mask=at < N)


def kernel_function(x, b):
    M, N = x.shape
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    kernel[(M,)](x, b, y, N, N, 1, *b.stride(), BLOCK=triton.next_power_of_2(N))
    return y
