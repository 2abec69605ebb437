"""layernorm: 2 Triton kernels (welford_combine, native_layer_norm_kernel), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    layernorm, bfloat16
# run        bar_layernorm: preset beam_search, 3 rounds, seed 0, proposers kopt-rewrite
# kernel     r2a0s8, made by kopt 0.1.0
# lineage    a seed kernel made of the reference, then, in the words of proposers, which nobody checked:
#            1. num_stages 2 on the loop over (0, dim, R0_BLOCK) in native_layer_norm_kernel: loads of later steps
#            overlap with this one; 4 warps in native_layer_norm_kernel: 16 elements of a tile per thread; one tile
#            takes a whole row in native_layer_norm_kernel, with 16 warps: what several passes read is loaded once;
#            masks on batch_size in native_layer_norm_kernel fall away where it is a multiple of XBLOCK (kopt-rewrite)
#            2. XBLOCK 1 and 8 warps in native_layer_norm_kernel: 32 elements of a tile per thread; masks on dim in
#            native_layer_norm_kernel fall away where it is a multiple of R0_BLOCK; batch_size of
#            native_layer_norm_kernel known at compile time: cheaper index arithmetic, known trip counts
#            (kopt-rewrite)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       0.0402 ms, 95 % interval 0.0396 to 0.0403 ms, measured on NVIDIA H200; 70 % of the roofline
#            compile 0.0431 ms, 1.08x (1.072 to 1.097)
#            eager 0.0674 ms, 1.66x (1.653 to 1.667)
#            max-autotune 0.0426 ms, 1.07x (1.061 to 1.078)
#            seed 0.0578 ms, 1.46x (1.448 to 1.472)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     b4096_n8192: x bfloat16[4096, 8192], weight bfloat16[8192], bias bfloat16[8192] -> output bfloat16[4096,
#            8192]
#            verified on other sizes too: ragged (batch_size=513, dim=5000); ragged (batch_size=3, dim=4808)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version
# compiles   anew, in seconds, when it first meets another value of dim, batch_size

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def welford_combine(mean_1, m2_1, weight_1, mean_2, m2_2, weight_2):
    delta = mean_2 - mean_1
    new_weight = weight_1 + weight_2
    w2_over_w = tl.where(new_weight == 0.0, 0.0, weight_2 / new_weight)
    return (mean_1 + delta * w2_over_w, m2_1 + m2_2 + delta * (delta * (weight_1 * w2_over_w)), new_weight)


@triton.jit
def welford(mean, m2, weight, dim):
    return tl.reduce((mean, m2, weight), dim, welford_combine)


@triton.jit
def welford_reduce(value, mean, m2, weight, first_iteration):
    if first_iteration:
        new_weight = tl.full(weight.shape, 1, weight.dtype)
        new_mean = value
        new_m2 = tl.zeros_like(m2)
    else:
        delta = value - mean
        new_weight = weight + 1
        new_mean = mean + delta / new_weight
        new_m2 = m2 + delta * (value - new_mean)
    return (new_mean, new_m2, new_weight)


@triton.jit
def native_layer_norm_kernel(x_ptr, weight_ptr, bias_ptr, output_ptr, dim: tl.constexpr, batch_size: tl.constexpr, XBLOCK: tl.constexpr, R0_BLOCK: tl.constexpr, EVEN_BATCH_SIZE_XBLOCK: tl.constexpr, EVEN_DIM_R0_BLOCK: tl.constexpr):
    xoffset = tl.program_id(0) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:, None]
    xmask = (xindex < batch_size) | EVEN_BATCH_SIZE_XBLOCK
    r0_base = tl.arange(0, R0_BLOCK)[None, :]
    x0 = xindex
    tmp3_mean = tl.zeros([XBLOCK, R0_BLOCK], tl.float32)
    tmp3_m2 = tl.zeros([XBLOCK, R0_BLOCK], tl.float32)
    tmp3_weight = tl.zeros([XBLOCK, R0_BLOCK], tl.float32)
    for r0_offset in tl.range(0, dim, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = (r0_index < dim) | EVEN_DIM_R0_BLOCK
        roffset = r0_offset
        r0_1 = r0_index
        tmp0 = tl.load(x_ptr + (r0_1 + dim * x0), r0_mask & xmask, eviction_policy="", other=0.0).to(tl.float32)
        tmp1 = tmp0.to(tl.float32)
        tmp2 = tl.broadcast_to(tmp1, [XBLOCK, R0_BLOCK])
        tmp3_mean_next, tmp3_m2_next, tmp3_weight_next = welford_reduce(tmp2, tmp3_mean, tmp3_m2, tmp3_weight, roffset == 0)
        tmp3_mean = tl.where(r0_mask & xmask, tmp3_mean_next, tmp3_mean)
        tmp3_m2 = tl.where(r0_mask & xmask, tmp3_m2_next, tmp3_m2)
        tmp3_weight = tl.where(r0_mask & xmask, tmp3_weight_next, tmp3_weight)
    tmp4, tmp5, tmp6 = welford(tmp3_mean, tmp3_m2, tmp3_weight, 1)
    tmp3 = tmp4[:, None]
    tmp7 = tmp5[:, None]
    for r0_offset in tl.range(0, dim, R0_BLOCK, num_stages=2):
        r0_index = r0_offset + r0_base
        r0_mask = (r0_index < dim) | EVEN_DIM_R0_BLOCK
        roffset = r0_offset
        r0_1 = r0_index
        tmp9 = tl.load(x_ptr + (r0_1 + dim * x0), r0_mask & xmask, eviction_policy="", other=0.0).to(tl.float32)
        tmp19 = tl.load(weight_ptr + r0_1, r0_mask, eviction_policy="", other=0.0).to(tl.float32)
        tmp22 = tl.load(bias_ptr + r0_1, r0_mask, eviction_policy="", other=0.0).to(tl.float32)
        tmp10 = tmp9.to(tl.float32)
        tmp11 = tmp10 - tmp3
        tmp12 = dim
        tmp13 = tmp12.to(tl.float32)
        tmp14 = tmp7 / tmp13
        tmp15 = tl.full([1, 1], 1e-05, tl.float32)
        tmp16 = tmp14 + tmp15
        tmp17 = libdevice.rsqrt(tmp16)
        tmp18 = tmp11 * tmp17
        tmp20 = tmp19.to(tl.float32)
        tmp21 = tmp18 * tmp20
        tmp23 = tmp22.to(tl.float32)
        tmp24 = tmp21 + tmp23
        tmp25 = tmp24.to(tl.float32)
        tl.store(output_ptr + (r0_1 + dim * x0), tmp25, r0_mask & xmask)


def kernel_function(x, weight, bias):
    batch_size = x.shape[0]
    dim = x.shape[1]
    output = torch.empty((batch_size, dim), dtype=torch.bfloat16, device=x.device)
    XBLOCK = 1
    native_layer_norm_kernel[lambda META: (triton.cdiv(batch_size, META['XBLOCK']),)](x, weight, bias, output, dim, batch_size, XBLOCK=XBLOCK, R0_BLOCK=triton.next_power_of_2(dim) if dim <= 32768 else 2048, num_warps=8, num_stages=1, EVEN_BATCH_SIZE_XBLOCK=batch_size % XBLOCK == 0 < batch_size, EVEN_DIM_R0_BLOCK=dim % (triton.next_power_of_2(dim) if dim <= 32768 else 2048) == 0 < dim)
    return output
