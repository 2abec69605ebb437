import torch
import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr, y_ptr, sign_ptr, largest_ptr, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * N + at, mask=at < N, other=float("-inf"))
    tl.store(y_ptr + row * N + at, x + x, mask=at < N)
    tl.store(sign_ptr + row * N + at, x > 0, mask=at < N)
    tl.store(largest_ptr + row, tl.argmax(x, axis=0).to(tl.int64))


def kernel_function(x):
    M, N = x.shape
    y = torch.empty_like(x)
    sign = torch.empty((M, N), dtype=torch.bool, device=x.device)
    largest = torch.empty((M,), dtype=torch.int64, device=x.device)
    kernel[(M,)](x, y, sign, largest, N, BLOCK=triton.next_power_of_2(N))
    return {"rest": [sign, largest, 7, None], "y": y}
