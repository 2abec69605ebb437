"""Add gradients of tokens to the rows of a table.

{kind: scatter-add, style: atomic additions, dtype: float32, small: [{tokens: 19, vocabulary: 12, width: 40}, {tokens: 33, vocabulary: 7, width: 71}]}
"""
tokens, vocabulary, width = 4096, 4096, 1024


def inputs():
    return [torch.randn(tokens, width), torch.randint(0, vocabulary, (tokens,))]


def reference(grad, ids):
    return torch.zeros(vocabulary, width, dtype=grad.dtype, device=grad.device).index_add(0, ids, grad)


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def scatter_add(grad_ptr, ids_ptr, out_ptr, width, BLOCK: tl.constexpr):
    token = tl.program_id(0)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(ids_ptr + token)
    grad = tl.load(grad_ptr + token * width + col, mask=col < width, other=0.0)
    tl.atomic_add(out_ptr + row * width + col, grad, mask=col < width)


def kernel_function(grad, ids, vocabulary):
    tokens, width = grad.shape
    out = torch.zeros((vocabulary, width), dtype=grad.dtype, device=grad.device)
    scatter_add[(tokens, triton.cdiv(width, 32))](grad, ids, out, width, BLOCK=32)
    return out
