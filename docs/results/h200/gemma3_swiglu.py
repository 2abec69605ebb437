"""gemma3_swiglu: 3 Triton kernels (wide_kernel, pair_kernel, pair_strip_kernel), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    gemma3_swiglu, bfloat16
# run        gemma3_swiglu-written: preset beam_search, 2 rounds, seed 0, proposers written
# kernel     r2a0s1, made by kopt absent
# lineage    the problem's seed kernel, then
#            1. For M 128 a program computes 128x128 outputs (128x256 of products) with 8 warps, all three operands
#            brought by host-made TMA descriptors through 4 stages of 48 KB: no pointer registers and no masks in the
#            loop. For M = 128, where weight bandwidth decides, the operands are swapped: gate and up til... (written)
#            2. The widest wgmma (m64n256) lost so far only because its operand was gathered by pointers. Here TMA
#            fills it: gate and up are described as one 3-D tensor [2, N, K] whose outer stride is the distance
#            between the two allocations, so one load of [2, 128, 64] lands as a 256-row operand and each step i...
#            (written)
# verdict    right in 20 comparisons on a GPU, on new inputs after the search
# time       0.1418 ms, 95 % interval 0.1413 to 0.1422 ms, measured on NVIDIA H200; 76 % of the roofline
#            compile 0.1554 ms, 1.10x (1.091 to 1.099)
#            eager 0.3278 ms, 2.31x (2.306 to 2.317)
#            max-autotune 0.1553 ms, 1.09x (1.090 to 1.097)
#            seed 0.3143 ms, 2.22x (2.211 to 2.222)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     m512: x bfloat16[4, 128, 3072], gate bfloat16[24576, 3072], up bfloat16[24576, 3072] -> output
#            bfloat16[4, 128, 24576]
# shapes     m128: x bfloat16[1, 128, 3072], gate bfloat16[24576, 3072], up bfloat16[24576, 3072] -> output
#            bfloat16[1, 128, 24576]
#            verified on other sizes too: m256 (batch=2, seq=128); ragged (batch=3, hidden=1032, intermediate=2088,
#            seq=67); ragged (batch=3, hidden=136, intermediate=200, seq=47)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def gated_gelu(g, u):
    # gelu_tanh(g) * u = g * u * sigmoid(2 * inner): one exp2 and one division
    t = g * (-2.302208198 - 0.10294323958 * g * g)
    return g * u / (1.0 + tl.exp2(t))


@triton.jit
def wide_kernel(
    x_ptr, gate_ptr, up_ptr, out_ptr, M, N, K,
    stride_xm, stride_gn, stride_un, stride_om,
    EVEN_K: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    rows = (pid % num_m) * BLOCK_M + tl.arange(0, BLOCK_M)
    first = (pid // num_m) * BLOCK_N
    lanes = tl.arange(0, 2 * BLOCK_N)
    ks = tl.arange(0, BLOCK_K)
    # rows and columns past the end are clamped: they are computed and never stored
    safe_rows = tl.minimum(rows, M - 1).to(tl.int64)
    w_columns = tl.minimum(first + lanes % BLOCK_N, N - 1).to(tl.int64)
    w_base = tl.where(lanes < BLOCK_N, gate_ptr + w_columns * stride_gn, up_ptr + w_columns * stride_un)
    x_ptrs = x_ptr + safe_rows[:, None] * stride_xm + ks[None, :]
    w_ptrs = w_base[None, :] + ks[:, None]
    acc = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        if EVEN_K:
            x = tl.load(x_ptrs)
            w = tl.load(w_ptrs)
        else:
            x = tl.load(x_ptrs, mask=ks[None, :] < K - k, other=0.0)
            w = tl.load(w_ptrs, mask=ks[:, None] < K - k, other=0.0)
        acc = tl.dot(x, w, acc)
        x_ptrs += BLOCK_K
        w_ptrs += BLOCK_K
    g, u = tl.split(tl.permute(tl.reshape(acc, (BLOCK_M, 2, BLOCK_N)), (0, 2, 1)))
    out = gated_gelu(g, u).to(out_ptr.dtype.element_ty)
    columns = first + tl.arange(0, BLOCK_N)
    out_ptrs = out_ptr + rows.to(tl.int64)[:, None] * stride_om + columns[None, :]
    tl.store(out_ptrs, out, mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def store_tile(out_ptr, out, off_m, off_n, M, N, stride_om, BM: tl.constexpr, BN: tl.constexpr):
    rows = off_m + tl.arange(0, BM)
    columns = off_n + tl.arange(0, BN)
    ptrs = out_ptr + rows.to(tl.int64)[:, None] * stride_om + columns[None, :]
    tl.store(ptrs, out.to(out_ptr.dtype.element_ty), mask=(rows[:, None] < M) & (columns[None, :] < N))


@triton.jit
def split_columns(acc, FLIP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    # the first BN columns and the last BN columns of a BM x 2 BN accumulator
    a, b = tl.split(tl.permute(tl.reshape(acc, (BM, 2, BN)), (0, 2, 1)))
    if FLIP:
        out = gated_gelu(b, a)
    else:
        out = gated_gelu(a, b)
    return out


@triton.jit
def pair_kernel(
    x_desc, w_desc, out_ptr, M, N, K, stride_om, FLIP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    off_m = (pid % num_m) * BLOCK_M
    off_n = (pid // num_m) * BLOCK_N
    acc = tl.zeros((BLOCK_M, 2 * BLOCK_N), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        x = x_desc.load([off_m, k])
        w = w_desc.load([0, off_n, k]).reshape(2 * BLOCK_N, BLOCK_K)
        acc = tl.dot(x, w.T, acc)
    out = split_columns(acc, FLIP, BLOCK_M, BLOCK_N)
    store_tile(out_ptr, out, off_m, off_n, M, N, stride_om, BLOCK_M, BLOCK_N)


@triton.jit
def pair_strip_kernel(
    x_desc, wa_desc, wb_desc, out_ptr, M, N, K, stride_om, FLIP: tl.constexpr,
    BLOCK_M: tl.constexpr, NA: tl.constexpr, NB: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    num_m = tl.cdiv(M, BLOCK_M)
    off_m = (pid % num_m) * BLOCK_M
    off_a = (pid // num_m) * (NA + NB)
    off_b = off_a + NA
    acc_a = tl.zeros((BLOCK_M, 2 * NA), dtype=tl.float32)
    acc_b = tl.zeros((BLOCK_M, 2 * NB), dtype=tl.float32)
    for k in range(0, K, BLOCK_K):
        x = x_desc.load([off_m, k])
        wa = wa_desc.load([0, off_a, k]).reshape(2 * NA, BLOCK_K)
        wb = wb_desc.load([0, off_b, k]).reshape(2 * NB, BLOCK_K)
        acc_a = tl.dot(x, wa.T, acc_a)
        acc_b = tl.dot(x, wb.T, acc_b)
    store_tile(out_ptr, split_columns(acc_a, FLIP, BLOCK_M, NA), off_m, off_a, M, N, stride_om, BLOCK_M, NA)
    store_tile(out_ptr, split_columns(acc_b, FLIP, BLOCK_M, NB), off_m, off_b, M, N, stride_om, BLOCK_M, NB)


def fits_tma(*tensors):
    return all(t.stride(-1) == 1 and t.stride(0) % 8 == 0 and t.data_ptr() % 16 == 0 for t in tensors)


def pairs_up(gate, up):
    # both weights can be one 3-D tensor: equal row strides, and the second one starts after the first
    apart = abs(up.data_ptr() - gate.data_ptr())
    return gate.stride(0) == up.stride(0) and 0 < apart < 2**39 and apart % 16 == 0


def pair_descriptor(gate, up, block_n, block_k):
    # [2, N, K]: plane 0 is the weight with the lower address
    low = gate if gate.data_ptr() < up.data_ptr() else up
    apart = abs(up.data_ptr() - gate.data_ptr()) // gate.element_size()
    shape = [2, gate.shape[0], gate.shape[1]]
    return TensorDescriptor(low, shape, [apart, gate.stride(0), 1], [2, block_n, block_k])


def kernel_function(x, gate, up):
    K = x.shape[-1]
    N = gate.shape[0]
    flat = x.reshape(-1, K)
    M = flat.shape[0]
    out = torch.empty((*x.shape[:-1], N), dtype=x.dtype, device=x.device)
    if not fits_tma(flat, gate, up) or not pairs_up(gate, up):
        BM, BN, BK = 64, 64, 64
        wide_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
            flat, gate, up, out, M, N, K, flat.stride(0), gate.stride(0), up.stride(0), N,
            EVEN_K=K % BK == 0, BLOCK_M=BM, BLOCK_N=BN, BLOCK_K=BK, num_warps=4, num_stages=3,
        )  # fmt: skip
        return out
    if M <= 128:
        BM, NA, NB, BK = 128, 128, 64, 64
        x_desc = TensorDescriptor.from_tensor(flat, [BM, BK])
        wa_desc = pair_descriptor(gate, up, NA, BK)
        wb_desc = pair_descriptor(gate, up, NB, BK)
        pair_strip_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, NA + NB),)](
            x_desc, wa_desc, wb_desc, out, M, N, K, N,
            FLIP=up.data_ptr() < gate.data_ptr(), BLOCK_M=BM, NA=NA, NB=NB, BLOCK_K=BK,
            num_warps=8, num_stages=3,
        )  # fmt: skip
    else:
        BM, BN, BK = 128, 128, 64
        x_desc = TensorDescriptor.from_tensor(flat, [BM, BK])
        w_desc = pair_descriptor(gate, up, BN, BK)
        pair_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
            x_desc, w_desc, out, M, N, K, N,
            FLIP=up.data_ptr() < gate.data_ptr(), BLOCK_M=BM, BLOCK_N=BN, BLOCK_K=BK,
            num_warps=8, num_stages=4,
        )  # fmt: skip
    return out
