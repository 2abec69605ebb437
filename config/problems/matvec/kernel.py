"""Matrix-vector product: one program a row, one sum a step, accumulated in fp32."""

import torch
import triton
import triton.language as tl


@triton.jit
def matvec_kernel(a_ptr, b_ptr, y_ptr, K, stride_am, stride_bk, BLOCK_K: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK_K)
    acc = 0.0
    for k in range(0, K, BLOCK_K):
        mask = k + offsets < K
        a = tl.load(a_ptr + row * stride_am + k + offsets, mask=mask, other=0.0)
        b = tl.load(b_ptr + (k + offsets) * stride_bk, mask=mask, other=0.0)
        acc += tl.sum(a.to(tl.float32) * b.to(tl.float32), axis=0)
    tl.store(y_ptr + row, acc.to(y_ptr.dtype.element_ty))


def kernel_function(A, B):
    M, K = A.shape
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    matvec_kernel[(M,)](A, B, y, K, A.stride(0), B.stride(0), BLOCK_K=256, num_warps=4)
    return y
