"""Average the Kullback-Leibler divergence of log-probabilities from probabilities over the batch.

{kind: KL divergence, style: atomic scalar, dtype: float32, inputs: {target: {range: [0, 1]}}, small: [{n: 9, classes: 40}, {n: 13, classes: 101}]}
"""
n, classes = 2048, 2048


def inputs():
    return [torch.log_softmax(torch.randn(n, classes), -1), torch.softmax(torch.randn(n, classes), -1)]


def reference(log_p, target):
    return F.kl_div(log_p, target, reduction="batchmean")


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def kl(p_ptr, t_ptr, out_ptr, n, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    acc = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        mask = col < cols
        log_p = tl.load(p_ptr + row * cols + col, mask=mask, other=0.0)
        t = tl.load(t_ptr + row * cols + col, mask=mask, other=0.0)
        acc += tl.where(t > 0, t * (tl.log(tl.where(t > 0, t, 1.0)) - log_p), 0.0)
    tl.atomic_add(out_ptr, tl.sum(acc) / n)


def kernel_function(log_p, target):
    out = torch.zeros((), dtype=torch.float32, device=log_p.device)
    kl[(log_p.shape[0],)](log_p, target, out, *log_p.shape, BLOCK=32)
    return out
