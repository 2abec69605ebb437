"""Max pooling in three dimensions: one program a run of outputs of one channel, the window in three loops."""

import torch
import triton
import triton.language as tl


@triton.jit
def maxpool3d_kernel(
    x_ptr, y_ptr,
    D, H, W, OD, OH, OW,
    KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr, DILATION: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    plane = tl.program_id(1).to(tl.int64)
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    outputs = OD * OH * OW
    mask = offsets < outputs
    ow = offsets % OW
    oh = (offsets // OW) % OH
    od = offsets // (OW * OH)
    best = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    x_base = x_ptr + plane * D * H * W
    for kd in range(KERNEL):
        d = od * STRIDE - PADDING + kd * DILATION
        for kh in range(KERNEL):
            h = oh * STRIDE - PADDING + kh * DILATION
            for kw in range(KERNEL):
                w = ow * STRIDE - PADDING + kw * DILATION
                inside = (d >= 0) & (d < D) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
                x = tl.load(x_base + (d * H + h) * W + w, mask=mask & inside, other=float("-inf"))
                best = tl.maximum(best, x.to(tl.float32))
    tl.store(y_ptr + plane * outputs + offsets, best.to(y_ptr.dtype.element_ty), mask=mask)


def pooled(size, kernel_size, stride, padding, dilation):
    return (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1


def kernel_function(x, kernel_size=3, stride=2, padding=1, dilation=3):
    N, C, D, H, W = x.shape
    OD, OH, OW = (pooled(size, kernel_size, stride, padding, dilation) for size in (D, H, W))
    y = torch.empty((N, C, OD, OH, OW), dtype=x.dtype, device=x.device)
    BLOCK = 256
    grid = (triton.cdiv(OD * OH * OW, BLOCK), N * C)
    maxpool3d_kernel[grid](
        x, y,
        D, H, W, OD, OH, OW,
        KERNEL=kernel_size, STRIDE=stride, PADDING=padding, DILATION=dilation,
        BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return y
