"""longsm: one kernel that TorchInductor wrote, cleaned by kopt.

Sizes that may change: x_0, x_1.
Strides are those of the problem's inputs.
"""

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def promote_to_tensor(x):
    return x + tl.zeros((1,), tl.int1)


@triton.jit
def is_floating(x):
    return promote_to_tensor(x).dtype.is_floating()


@triton.jit
def maximum(a, b):
    mask = a > b
    if is_floating(a):
        mask |= a != a
    return tl.where(mask, a, b)


@triton.jit
def max2(a, dim):
    return tl.reduce(a, dim, maximum)


@triton.jit
def softmax_prepare_online_kernel(x_ptr, output_ptr, x_1, x_0, XBLOCK: tl.constexpr, R0_BLOCK: tl.constexpr):
    xoffset = tl.program_id(0) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:, None]
    xmask = xindex < x_0
    r0_base = tl.arange(0, R0_BLOCK)[None, :]
    x0 = xindex
    _tmp3 = tl.full([XBLOCK, R0_BLOCK], float('-inf'), tl.float32)
    for r0_offset in tl.range(0, x_1, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < x_1
        r0_1 = r0_index
        tmp0 = tl.load(x_ptr + (r0_1 + x_1 * x0), r0_mask & xmask, eviction_policy='evict_last', other=0.0).to(tl.float32)
        tmp1 = tmp0.to(tl.float32)
        tmp2 = tl.broadcast_to(tmp1, [XBLOCK, R0_BLOCK])
        tmp4 = maximum(_tmp3, tmp2)
        _tmp3 = tl.where(r0_mask & xmask, tmp4, _tmp3)
    tmp3 = max2(_tmp3, 1)[:, None]
    _tmp10 = tl.full([XBLOCK, R0_BLOCK], 0, tl.float32)
    for r0_offset in tl.range(0, x_1, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < x_1
        r0_1 = r0_index
        tmp5 = tl.load(x_ptr + (r0_1 + x_1 * x0), r0_mask & xmask, eviction_policy='evict_last', other=0.0).to(tl.float32)
        tmp6 = tmp5.to(tl.float32)
        tmp7 = tmp6 - tmp3
        tmp8 = libdevice.exp(tmp7)
        tmp9 = tl.broadcast_to(tmp8, [XBLOCK, R0_BLOCK])
        tmp11 = _tmp10 + tmp9
        _tmp10 = tl.where(r0_mask & xmask, tmp11, _tmp10)
    tmp10 = tl.sum(_tmp10, 1)[:, None]
    for r0_offset in tl.range(0, x_1, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < x_1
        r0_1 = r0_index
        tmp12 = tl.load(x_ptr + (r0_1 + x_1 * x0), r0_mask & xmask, eviction_policy='evict_first', other=0.0).to(tl.float32)
        tmp13 = tmp12.to(tl.float32)
        tmp14 = tmp13 - tmp3
        tmp15 = libdevice.exp(tmp14)
        tmp16 = tmp15 / tmp10
        tmp17 = tmp16.to(tl.float32)
        tl.store(output_ptr + (r0_1 + x_1 * x0), tmp17, r0_mask & xmask)


def kernel_function(x):
    x_0 = x.shape[0]
    x_1 = x.shape[1]
    output = torch.empty((x_0, x_1), dtype=torch.bfloat16, device=x.device)
    softmax_prepare_online_kernel[lambda META: (triton.cdiv(x_0, META['XBLOCK']),)](x, output, x_1, x_0, XBLOCK=1, R0_BLOCK=2048, num_warps=16, num_stages=1)
    return output
