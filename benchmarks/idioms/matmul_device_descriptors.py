"""Multiply two matrices through tensor descriptors made in the kernel.

{kind: matmul with device descriptors, style: device descriptors with an allocator, dtype: bfloat16, small: [{M: 40, N: 48, K: 80}, {M: 50, N: 40, K: 72}]}
"""
M, N, K = 1024, 1024, 1024


def inputs():
    return [torch.randn(M, K), torch.randn(N, K)]


def reference(a, b):
    return torch.nn.functional.linear(a, b)


# --- kernel ---
from typing import Optional

import torch
import triton
import triton.language as tl


@triton.jit
def matmul(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    a_desc = tl.make_tensor_descriptor(a_ptr, shape=[M, K], strides=[K, 1], block_shape=[BM, BK])
    b_desc = tl.make_tensor_descriptor(b_ptr, shape=[N, K], strides=[K, 1], block_shape=[BN, BK])
    c_desc = tl.make_tensor_descriptor(c_ptr, shape=[M, N], strides=[N, 1], block_shape=[BM, BN])
    m, n = tl.program_id(0) * BM, tl.program_id(1) * BN
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in tl.range(0, K, BK, num_stages=2):
        acc += tl.dot(a_desc.load([m, k]), tl.trans(b_desc.load([n, k])))
    c_desc.store([m, n], acc.to(c_ptr.dtype.element_ty))


def kernel_function(a, b):
    def alloc_fn(size: int, alignment: int, stream: Optional[int]):
        return torch.empty(size, device="cuda", dtype=torch.int8)

    triton.set_allocator(alloc_fn)
    (M, K), N = a.shape, b.shape[0]
    c = torch.empty((M, N), device=a.device, dtype=a.dtype)
    matmul[(triton.cdiv(M, 16), triton.cdiv(N, 32))](a, b, c, M, N, K, BM=16, BN=32, BK=32)
    return c
