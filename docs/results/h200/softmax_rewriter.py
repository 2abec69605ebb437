"""softmax: 1 Triton kernel (softmax_kernel), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    softmax, bfloat16
# run        bar_softmax: preset beam_search, 3 rounds, seed 0, proposers kopt-rewrite
# kernel     r1a0s0, made by kopt 0.1.0
# lineage    the problem's seed kernel, then, in the words of proposers, which nobody checked:
#            1. one tile takes a whole row in softmax_kernel, with 16 warps: what several passes read is loaded once;
#            softmax_kernel multiplies by a reciprocal that elements share: one division for all of them
#            (kopt-rewrite)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       0.0372 ms, 95 % interval 0.0369 to 0.0377 ms, measured on NVIDIA H200; 77 % of the roofline
#            compile 0.0845 ms, 2.27x (2.246 to 2.289)
#            eager 0.1334 ms, 3.59x (3.540 to 3.622)
#            max-autotune 0.0713 ms, 1.92x (1.898 to 1.938)
#            seed 0.0585 ms, 1.58x (1.573 to 1.595)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     b4096_n8192: x bfloat16[4096, 8192] -> output bfloat16[4096, 8192]
#            verified on other sizes too: ragged (batch_size=513, dim=5000); ragged (batch_size=3, dim=4808)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version
# compiles   anew, in seconds, when it first meets another value of columns

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x_ptr, y_ptr, columns: tl.constexpr, stride_x, stride_y, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    largest = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=float("-inf"))
        largest = tl.maximum(largest, x.to(tl.float32))
    row_max = tl.max(largest, axis=0)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=float("-inf"))
        total += tl.exp(x.to(tl.float32) - row_max)
    row_sum = tl.sum(total, axis=0)
    for start in range(0, columns, BLOCK):
        mask = start + offsets < columns
        x = tl.load(x_ptr + row * stride_x + start + offsets, mask=mask, other=float("-inf"))
        y = tl.exp(x.to(tl.float32) - row_max)  *  (1.0 / row_sum)
        tl.store(y_ptr + row * stride_y + start + offsets, y.to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(x):
    rows, columns = x.shape
    y = torch.empty_like(x)
    softmax_kernel[(rows,)](x, y, columns, x.stride(0), y.stride(0), BLOCK=triton.next_power_of_2(columns) if columns <= 32768 else 1024, num_warps=16)
    return y
