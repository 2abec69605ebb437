"""Average the cross entropy over labels that are not ignored.

{kind: cross entropy, style: row losses and a second kernel, dtype: float32, small: [{n: 9, classes: 40}, {n: 13, classes: 101}]}
"""
n, classes = 2048, 4096


def inputs():
    labels = torch.randint(0, classes, (n,))
    labels[::3] = -100
    return [torch.randn(n, classes), labels]


def reference(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=-100)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def row_loss(logits, labels, losses, live, classes, IGNORE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + row)
    if label == IGNORE:
        tl.store(losses + row, 0.0)
        tl.store(live + row, 0)
        return
    m = float("-inf")
    d = 0.0
    for start in range(0, classes, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(logits + row * classes + col, mask=col < classes, other=float("-inf"))
        new = tl.maximum(m, tl.max(x))
        d = d * tl.exp(m - new) + tl.sum(tl.exp(x - new))
        m = new
    picked = tl.load(logits + row * classes + label)
    tl.store(losses + row, m + tl.log(d) - picked)
    tl.store(live + row, 1)


@triton.jit
def mean_loss(losses, live, out, n, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, n, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total += tl.load(losses + at, mask=at < n, other=0.0)
        count += tl.load(live + at, mask=at < n, other=0)
    tl.store(out, tl.sum(total) / tl.sum(count))


def kernel_function(logits, labels):
    n, classes = logits.shape
    losses = torch.empty(n, dtype=torch.float32, device=logits.device)
    live = torch.empty(n, dtype=torch.int32, device=logits.device)
    out = torch.empty((), dtype=logits.dtype, device=logits.device)
    row_loss[(n,)](logits, labels, losses, live, classes, IGNORE=-100, BLOCK=32)
    mean_loss[(1,)](losses, live, out, n, BLOCK=8)
    return out
