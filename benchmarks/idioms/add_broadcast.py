"""Add a column that is expanded over all columns (stride 0) to a transposed matrix.

{kind: broadcasting, style: generated pointwise code with strides, dtype: float32, small: [{rows: 17, cols: 40}, {rows: 33, cols: 71}]}
"""
rows, cols = 2048, 2048


def inputs():
    return [torch.randn(cols, rows).t(), torch.randn(rows, 1).expand(rows, cols)]


def reference(x, y):
    return x + 0.5 * y


# --- kernel ---
import torch
import triton
import triton.language as tl


@triton.jit
def add_scaled(x, y, alpha):
    return x + alpha * y


@triton.jit
def pointwise_rank_2(
    in0_ptr: tl.tensor, in1_ptr: tl.tensor, out0_ptr: tl.tensor,
    in0_stride0: int, in0_stride1: int, in1_stride0: int, in1_stride1: int, out0_stride0: int, out0_stride1: int,
    val0, s0, s1, num_tasks, tile_size: tl.constexpr,
):
    pid = tl.program_id(0)
    tid = pid * tile_size + tl.arange(0, tile_size)
    mask = tid < num_tasks
    i1 = tid % s1
    tid //= s1
    i0 = tid % s0
    in0 = tl.load(in0_ptr + i0 * in0_stride0 + i1 * in0_stride1, mask=mask).to(in0_ptr.type.element_ty)
    in1 = tl.load(in1_ptr + i0 * in1_stride0 + i1 * in1_stride1, mask=mask).to(in1_ptr.type.element_ty)
    out0 = add_scaled(in0, in1, val0)
    tl.store(out0_ptr + i0 * out0_stride0 + i1 * out0_stride1, out0.to(out0_ptr.type.element_ty), mask=mask)


def kernel_function(x, y):
    out = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)
    s0, s1 = x.shape
    tile = min(512, triton.next_power_of_2(x.numel()))
    with torch.cuda.device(x.device) if x.is_cuda else torch.no_grad():
        pointwise_rank_2[(triton.cdiv(x.numel(), tile), 1, 1)](
            x, y, out, *x.stride(), *y.stride(), *out.stride(), 0.5, s0, s1, x.numel(), tile_size=tile, num_warps=4
        )
    return out
