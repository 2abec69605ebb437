import torch
import triton
import triton.language as tl


@triton.jit
def norm(x_ptr, y_ptr, w_ptr, b_ptr, mean_ptr, var_ptr, steps_ptr, N, eps, rate, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    mask = at < N
    x = tl.load(x_ptr + row * N + at, mask=mask).to(tl.float32)
    mean = tl.load(mean_ptr + at, mask=mask).to(tl.float32)
    var = tl.load(var_ptr + at, mask=mask, other=1.0).to(tl.float32)
    w = tl.load(w_ptr + at, mask=mask).to(tl.float32)
    b = tl.load(b_ptr + at, mask=mask).to(tl.float32)
    y = (x - mean) * tl.rsqrt(var + eps) * w + b
    y = y * tl.load(steps_ptr + 1).to(tl.float32) + rate
    tl.store(y_ptr + row * N + at, y, mask=mask)


def kernel_function(x, norm_weight, norm_bias, running_mean, running_var, steps, rate):
    M, N = x.shape
    y = torch.empty_like(x)
    norm[(M,)](x, y, norm_weight, norm_bias, running_mean, running_var, steps, N, 1e-5, rate, BLOCK=1024)
    return y
