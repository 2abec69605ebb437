import torch
import triton
import triton.language as tl


@triton.jit
def norm(x_ptr, w_ptr, b_ptr, y_ptr, mean_ptr, rstd_ptr, N, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < N
    x = tl.load(x_ptr + row * N + at, mask=mask, other=0.0)
    mean = tl.sum(x) / N
    centred = tl.where(mask, x - mean, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(x * x) / N - mean * mean + eps)
    w = tl.load(w_ptr + at, mask=mask, other=0.0)
    b = tl.load(b_ptr + at, mask=mask, other=0.0)
    tl.store(y_ptr + row * N + at, centred * rstd * w + b, mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


def kernel_function(x, w, b):
    y = torch.empty_like(x)
    mean, rstd = x.new_empty(x.shape[0]), x.new_empty(x.shape[0])
    norm[(x.shape[0],)](x, w, b, y, mean, rstd, x.shape[1], 1e-5, BLOCK=triton.next_power_of_2(x.shape[1]))
    return y
