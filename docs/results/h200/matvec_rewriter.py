"""matvec: 2 Triton kernels (matvec_kernel, matvec_kernel_split_reduce), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    matvec, bfloat16
# run        bar_matvec: preset beam_search, 3 rounds, seed 0, proposers kopt-rewrite
# kernel     r3a0s6, made by kopt 0.1.0
# lineage    the problem's seed kernel, then, in the words of proposers, which nobody checked:
#            1. num_stages 3 on the loop over (0, K, BLOCK_K) in matvec_kernel: loads of later steps overlap with this
#            one; acc of matvec_kernel is summed once after the loop, not in every step; 4 rows per program in
#            matvec_kernel: what rows share is loaded once for all of them; 2 warps in matvec_kernel: 16 elements of a
#            tile per thread; the loop of matvec_kernel is split among 2 programs, with a kernel that  ...
#            (kopt-rewrite)
#            2. autotuner over 3 configurations of matvec_kernel_split_reduce, chosen by numel; ROWS 4 -> 16 in
#            matvec_kernel: more work per step and program; ROWS 16 and 4 warps in matvec_kernel: 32 elements of a
#            tile per thread (kopt-rewrite)
#            3. K, stride_am, stride_bk, num_rows, split_stride of matvec_kernel known at compile time: cheaper index
#            arithmetic, known trip counts (kopt-rewrite)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       0.9684 ms, 95 % interval 0.9674 to 0.9694 ms, measured on NVIDIA H200; 96 % of the roofline
#            compile 1.0698 ms, 1.10x (1.100 to 1.108)
#            eager 1.0704 ms, 1.10x (1.100 to 1.110)
#            max-autotune 0.9975 ms, 1.03x (1.029 to 1.031)
#            seed 2.6814 ms, 2.77x (2.767 to 2.774)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     m2048_k1048576: A bfloat16[2048, 1048576], B bfloat16[1048576, 1] -> output bfloat16[2048, 1]
#            verified on other sizes too: ragged (K=131080, M=1000); ragged (K=9352, M=3)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version
# tuning     an autotuner times its configurations when it first meets a shape of another size than the timed ones,
#            for which it has the one that won
# compiles   anew, in seconds, when it first meets another value of K, stride_am (A.stride(0)), stride_bk
#            (B.stride(0)), num_rows (M), split_stride (y.numel())

import torch
import triton
import triton.language as tl


@triton.jit
def matvec_kernel(a_ptr, b_ptr, y_ptr, K: tl.constexpr, stride_am: tl.constexpr, stride_bk: tl.constexpr, BLOCK_K: tl.constexpr, num_rows: tl.constexpr, ROWS: tl.constexpr, split_stride: tl.constexpr, SPLIT_K: tl.constexpr):
    row_mask = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None] < num_rows
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]).to(tl.int64)
    offsets = tl.arange(0, BLOCK_K)[None, :]
    acc_parts = tl.zeros((ROWS, BLOCK_K,), dtype=tl.float32)
    split = tl.program_id(1)
    split_start = tl.minimum(K, split * tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K) * BLOCK_K)
    split_stop = tl.minimum(K, (split + 1) * tl.cdiv(tl.cdiv(K, BLOCK_K), SPLIT_K) * BLOCK_K)
    turns = tl.maximum(tl.cdiv(split_stop - split_start, BLOCK_K), 0)
    first_turn = tl.program_id(0) % 65536 * 1 % tl.maximum(turns, 1)
    for turn in tl.range(0, turns, num_stages=3, loop_unroll_factor=4):
        k = split_start + (turn + first_turn) % turns * BLOCK_K
        mask = k + offsets < K
        a = tl.load(a_ptr + row * stride_am + k + offsets, mask=mask & row_mask, other=0.0)
        b = tl.load(b_ptr + (k + offsets) * stride_bk, mask=mask, other=0.0)
        acc_parts += a.to(tl.float32) * b.to(tl.float32)
    acc = tl.sum(acc_parts, axis=1, keep_dims=True)
    tl.store(y_ptr + row + split.to(tl.int64) * split_stride, acc, mask=row_mask)


@triton.autotune(
    configs=[
        triton.Config({}, num_warps=4, num_stages=3),
        triton.Config({}, num_warps=8, num_stages=3),
        triton.Config({}, num_warps=2, num_stages=3),
    ],
    key=["numel"],
)
@triton.jit
def matvec_kernel_split_reduce(partial_ptr, out_ptr, numel, SPLIT_K: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < numel
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for split in tl.static_range(SPLIT_K):
        total += tl.load(partial_ptr + split * numel + offsets, mask=mask, other=0.0)
    tl.store(out_ptr + offsets, total.to(out_ptr.dtype.element_ty), mask=mask)


def kernel_function(A, B):
    M, K = A.shape
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    ROWS = 16
    BLOCK_K = 256
    SPLIT_K = 2
    y_partial = torch.empty((SPLIT_K, y.numel()), dtype=torch.float32, device=y.device)
    matvec_kernel[(triton.cdiv(M, ROWS), SPLIT_K,)](A, B, y_partial, K, A.stride(0), B.stride(0), BLOCK_K=BLOCK_K, num_warps=4, num_rows=M, ROWS=ROWS, split_stride=y.numel(), SPLIT_K=SPLIT_K)
    matvec_kernel_split_reduce[(triton.cdiv(y.numel(), 256),)](y_partial, y, y.numel(), SPLIT_K=SPLIT_K, BLOCK=256)
    return y


TUNED = [  # autotuner, key and number of the configuration that won for a timed shape
    (matvec_kernel_split_reduce, (2048, 'torch.float32', 'torch.bfloat16'), 0),
]


def _remember_configurations():
    """Give autotuners their configurations for the timed shapes; for other shapes they try all that they have."""
    for tuner, key, number in TUNED:
        while not hasattr(tuner, "configs"):
            tuner = tuner.fn
        tuner.cache[key] = tuner.configs[number]


_remember_configurations()
