"""Encode labels as rows with a single one.

{kind: one-hot, style: integers compared with a range, dtype: float32, small: [{n: 9, classes: 20}, {n: 13, classes: 37}]}
"""
n, classes = 8192, 512


def inputs():
    return [torch.randint(0, classes, (n,))]


def reference(labels):
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(torch.int64)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def one_hot(labels, out, classes, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    label = tl.load(labels + row)
    for start in tl.range(0, classes, BLOCK, num_stages=2):
        col = start + tl.arange(0, BLOCK)
        tl.store(out + row * classes + col, (col == label).to(out.dtype.element_ty), mask=col < classes)


def kernel_function(labels, classes):
    out = torch.empty((labels.numel(), classes), dtype=torch.int64, device=labels.device)
    one_hot[(labels.numel(),)](labels, out, classes, BLOCK=16)
    return out
