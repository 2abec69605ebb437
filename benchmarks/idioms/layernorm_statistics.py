"""Normalise rows and return mean and reciprocal deviation beside the result.

{kind: layer norm with statistics, style: class around a kernel, dtype: float32, small: [{rows: 5, cols: 100}, {rows: 3, cols: 259}]}
"""
rows, cols = 4096, 1024


def inputs():
    return [torch.randn(rows, cols), torch.randn(cols), torch.randn(cols)]


def reference(x, weight, bias):
    mean = x.mean(-1, keepdim=True)
    rstd = torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
    return (x - mean) * rstd * weight + bias, mean.squeeze(-1), rstd.squeeze(-1)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def norm(x_ptr, w_ptr, b_ptr, y_ptr, mean_ptr, rstd_ptr, cols, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    col = tl.arange(0, BLOCK)
    mask = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=mask, other=0.0)
    mean = tl.sum(x, axis=0) / cols
    centred = tl.where(mask, x - mean, 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, axis=0) / cols + eps)
    w = tl.load(w_ptr + col, mask=mask, other=0.0)
    b = tl.load(b_ptr + col, mask=mask, other=0.0)
    tl.store(y_ptr + row * cols + col, tl.fma(centred * rstd, w, b), mask=mask)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        rows, cols = x.shape
        y = torch.empty_like(x)
        mean = torch.empty(rows, dtype=torch.float32, device=x.device)
        rstd = torch.empty(rows, dtype=torch.float32, device=x.device)
        norm[(rows,)](x, weight, bias, y, mean, rstd, cols, eps, BLOCK=triton.next_power_of_2(cols))
        ctx.save_for_backward(x, weight, mean, rstd)
        return y, mean, rstd


def kernel_function(x, weight, bias):
    return LayerNorm.apply(x, weight, bias, 1e-5)
