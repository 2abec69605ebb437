"""maxpool3d: 1 Triton kernel (maxpool3d_kernel), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    maxpool3d, bfloat16
# run        bar_maxpool3d: preset beam_search, 3 rounds, seed 0, proposers kopt-rewrite
# kernel     r3a0s7, made by kopt 0.1.0
# lineage    the problem's seed kernel, then, in the words of proposers, which nobody checked:
#            1. maxpool3d_kernel takes 16 whole lines of outputs: loads of 16 bytes along lines of the input, whose
#            elements neighbouring windows share in registers; D, H, W, OD, OH, OW of maxpool3d_kernel known at
#            compile time: cheaper index arithmetic, known trip counts (kopt-rewrite)
#            2. BLOCK 16 -> 32 in maxpool3d_kernel: more work per step and program (kopt-rewrite)
#            3. maxnreg 96 at the launch of maxpool3d_kernel (kopt-rewrite)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       0.5886 ms, 95 % interval 0.5881 to 0.5890 ms, measured on NVIDIA H200; 82 % of the roofline
#            compile 5.4458 ms, 9.26x (9.247 to 9.264)
#            eager 4.0896 ms, 6.95x (6.944 to 6.957)
#            max-autotune 1.2477 ms, 2.12x (2.119 to 2.122)
#            seed 1.6461 ms, 2.80x (2.794 to 2.799)
# versions   python 3.12.3, torch 2.11.0, triton 3.6.0
# shapes     b16_c32_128: x bfloat16[16, 32, 128, 128, 128] -> output bfloat16[16, 32, 62, 62, 62]
#            verified on other sizes too: ragged (batch_size=2, channels=5, dim1=61, dim2=70, dim3=83); ragged
#            (batch_size=1, channels=2, dim1=12, dim2=21, dim3=23)
# assumes    dtypes and strides as above: inputs as `get_inputs` of the reference makes them
# order      sums are in a fixed order: equal inputs give equal bits on one device and version

import torch
import triton
import triton.language as tl


@triton.jit
def slide_window(
    line, LINES: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, DILATION: tl.constexpr,
):
    tl.static_assert(PADDING >= 0)
    if 8 % STRIDE == 0:
        BLOCKS: tl.constexpr = WIDTH // 8
        bits = tl.reshape(line.to(tl.int32, bitcast=True), (LINES, BLOCKS, 8))
        element = tl.arange(0, 8)[None, None, :]
        block = tl.arange(0, BLOCKS)[None, :]
        output = tl.arange(0, 8 // STRIDE)[None, None, :]
        whole = tl.full((LINES, BLOCKS, 8 // STRIDE), float('-inf'), tl.float32)
        for number in tl.static_range(8 // STRIDE):
            combined = tl.full((LINES, BLOCKS), float('-inf'), tl.float32)
            for tap in tl.static_range(KERNEL):
                place = number * STRIDE + tap * DILATION + (8 - 1) * PADDING
                shift = place // 8 - PADDING
                moved = block + shift
                inside = (moved >= 0) & (moved < BLOCKS)
                found = tl.sum(tl.where(element == place % 8, bits, 0), axis=2)
                if shift != 0:
                    near = tl.broadcast_to(tl.where(inside, moved, 0), (LINES, BLOCKS))
                    found = tl.gather(found, near, 1)
                value = tl.where(inside, found.to(tl.float32, bitcast=True), float('-inf'))
                combined = tl.maximum(combined, value)
            whole = tl.where(output == number, combined[:, :, None], whole)
        slid = tl.reshape(whole, (LINES, COLUMNS))
    else:
        slid = tl.full((LINES, COLUMNS), float('-inf'), tl.float32)
        for tap in tl.static_range(KERNEL):
            place = tl.arange(0, COLUMNS)[None, :] * STRIDE - PADDING + tap * DILATION
            inside = (place >= 0) & (place < WIDTH)
            near = tl.broadcast_to(tl.where(inside, place, 0), (LINES, COLUMNS))
            value = tl.where(inside, tl.gather(line, near, 1), float('-inf'))
            slid = tl.maximum(slid, value)
    return slid


@triton.jit
def maxpool3d_kernel(
    x_ptr, y_ptr,
    D: tl.constexpr, H: tl.constexpr, W: tl.constexpr, OD: tl.constexpr, OH: tl.constexpr, OW: tl.constexpr,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, DILATION: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    plane = tl.program_id(1).to(tl.int64)
    line = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None]
    reach = tl.arange(0, WIDTH)[None, :]
    offsets = line * OW + tl.arange(0, COLUMNS)[None, :]
    outputs = OD * OH * OW
    mask = (offsets < outputs) & (tl.arange(0, COLUMNS)[None, :] < OW)
    ow = tl.arange(0, COLUMNS)[None, :]
    oh = (line) % OH
    od = line // OH
    best = tl.full((BLOCK, WIDTH), float('-inf'), tl.float32)
    x_base = x_ptr + plane * D * H * W
    line_mask = line * OW < outputs
    for kd in tl.static_range(KERNEL):
        d = od * STRIDE - PADDING + kd * DILATION
        for kh in tl.static_range(KERNEL):
            h = oh * STRIDE - PADDING + kh * DILATION
            inside = (d >= 0) & (d < D) & (h >= 0) & (h < H) & (reach >= 0) & (reach < W)
            x = tl.load(x_base + (d * H + h) * W + reach, mask=line_mask & inside, other=float("-inf"))
            best = tl.maximum(best, x.to(tl.float32))
    best = slide_window(best, BLOCK, WIDTH, COLUMNS, KERNEL, STRIDE, PADDING, DILATION)
    tl.store(y_ptr + plane * outputs + offsets, best.to(y_ptr.dtype.element_ty), mask=mask)


def pooled(size, kernel_size, stride, padding, dilation):
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def kernel_function(x, kernel_size=3, stride=2, padding=1, dilation=3):
    N, C, D, H, W = x.shape
    OD, OH, OW = (pooled(size, kernel_size, stride, padding, dilation) for size in (D, H, W))
    y = torch.empty((N, C, OD, OH, OW), dtype=x.dtype, device=x.device)
    BLOCK = 32
    WIDTH = triton.next_power_of_2(max(W, OW * stride, 8))
    COLUMNS = WIDTH // stride if 8 % stride == 0 else triton.next_power_of_2(OW)
    grid = (triton.cdiv(triton.cdiv(OD * OH * OW, OW), BLOCK), N * C)
    maxpool3d_kernel[grid](
        x, y,
        D, H, W, OD, OH, OW,
        KERNEL=kernel_size, STRIDE=stride, PADDING=padding, DILATION=dilation,
        BLOCK=BLOCK, num_warps=4, WIDTH=WIDTH, COLUMNS=COLUMNS, maxnreg=96,
    )  # fmt: skip
    return y
