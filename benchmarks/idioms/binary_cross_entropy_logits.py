"""Average the binary cross entropy of logits with weights for positives.

{kind: binary cross entropy, style: partial sums joined by a reduction kernel, dtype: float32, inputs: {target: as_given}, small: [{n: 500}, {n: 1027}]}
"""
n = 1 << 21


def inputs():
    return [torch.randn(n), (torch.rand(n) < 0.4).float()]


def reference(logits, target):
    return F.binary_cross_entropy_with_logits(logits, target)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def log1p_exp_minus_abs(x):
    return tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def bce_parts(x_ptr, t_ptr, parts_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    x = tl.load(x_ptr + at, mask=mask, other=0.0)
    t = tl.load(t_ptr + at, mask=mask, other=0.0)
    loss = tl.maximum(x, 0.0) - x * t + log1p_exp_minus_abs(x)
    tl.store(parts_ptr + tl.program_id(0), tl.sum(tl.where(mask, loss, 0.0)))


@triton.jit
def join(parts_ptr, out_ptr, count, n, BLOCK: tl.constexpr):
    acc = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        acc += tl.load(parts_ptr + at, mask=at < count, other=0.0)
    tl.store(out_ptr, tl.sum(acc) / n)


def kernel_function(logits, target):
    n = logits.numel()
    count = triton.cdiv(n, 128)
    parts = torch.empty(count, dtype=torch.float32, device=logits.device)
    out = torch.empty((), dtype=logits.dtype, device=logits.device)
    bce_parts[(count,)](logits, target, parts, n, BLOCK=128)
    join[(1,)](parts, out, count, n, BLOCK=4 if count < 64 else 1024)
    return out
