"""Replace logits by the gradient of their cross entropy and return the loss of every row.

{kind: cross entropy with gradient, style: the gradient overwrites the logits, dtype: float32, mutates: [logits], small: [{n: 9, classes: 40}, {n: 13, classes: 101}]}
"""
n, classes = 1024, 4096


def inputs():
    labels = torch.randint(0, classes, (n,))
    labels[1::4] = -100
    return [torch.randn(n, classes), labels]


def reference(logits, labels):
    live = labels != -100
    safe = labels.clamp(min=0)
    loss = torch.where(live, torch.logsumexp(logits, -1) - logits.gather(1, safe[:, None]).squeeze(1), 0.0)
    grad = torch.softmax(logits, -1) - F.one_hot(safe, logits.shape[1]).to(logits.dtype)
    logits.copy_(torch.where(live[:, None], grad / logits.shape[0], 0.0))
    return loss


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def cross_entropy_kernel(X_ptr, X_stride, Y_ptr, loss_ptr, n_cols, n_rows, ignore_index, BLOCK_SIZE: tl.constexpr):
    program_id = tl.program_id(0).to(tl.int64)
    y = tl.load(Y_ptr + program_id)
    X_ptr += program_id * X_stride
    if y == ignore_index:
        for i in range(0, n_cols, BLOCK_SIZE):
            X_offsets = i + tl.arange(0, BLOCK_SIZE)
            tl.store(X_ptr + X_offsets, 0.0, mask=X_offsets < n_cols)
        tl.store(loss_ptr + program_id, 0.0)
        return
    m = float("-inf")
    d = 0.0
    ori_X_y = tl.load(X_ptr + y)
    for i in range(0, n_cols, BLOCK_SIZE):
        X_offsets = i + tl.arange(0, BLOCK_SIZE)
        X_block = tl.load(X_ptr + X_offsets, mask=X_offsets < n_cols, other=float("-inf"))
        m_new = tl.maximum(m, tl.max(X_block))
        d = d * tl.exp(m - m_new) + tl.sum(tl.exp(X_block - m_new))
        m = m_new
    lse = m + tl.log(d)
    for i in range(0, n_cols, BLOCK_SIZE):
        X_offsets = i + tl.arange(0, BLOCK_SIZE)
        X_block = tl.load(X_ptr + X_offsets, mask=X_offsets < n_cols, other=float("-inf"))
        X_block = tl.exp(X_block - m) / d
        X_block = tl.where(X_offsets != y, X_block, X_block - 1.0)
        tl.store(X_ptr + X_offsets, X_block / n_rows, mask=X_offsets < n_cols)
    tl.debug_barrier()
    tl.store(loss_ptr + program_id, lse - ori_X_y)


def kernel_function(logits, labels):
    n_rows, n_cols = logits.shape
    loss = torch.zeros(n_rows, dtype=logits.dtype, device=logits.device)
    cross_entropy_kernel[(n_rows,)](logits, logits.stride(-2), labels, loss, n_cols, n_rows, -100, BLOCK_SIZE=32)
    return loss
