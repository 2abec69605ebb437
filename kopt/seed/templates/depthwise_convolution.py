"""Compute convolutions of one input channel a group, in one to three dimensions."""

import torch
import triton
import triton.language as tl


@triton.jit
def depthwise_convolution_kernel(
    x_ptr, weight_ptr, output_ptr, outputs, MULTIPLIER, CHANNELS, D, H, W, OD, OH, OW, KD: tl.constexpr,
    KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PD: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, LD: tl.constexpr, LH: tl.constexpr, LW: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One input channel a group; MULTIPLIER output channels a group."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    index = program * BLOCK + tl.arange(0, BLOCK)
    inside = index < outputs
    ow, oh, od = index % OW, (index // OW) % OH, (index // (OW * OH)) % OD
    plane = index // (OW * OH * OD)
    out_channel = plane % (CHANNELS * MULTIPLIER)
    x_plane = plane // (CHANNELS * MULTIPLIER) * CHANNELS + out_channel // MULTIPLIER
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for kd in range(KD):
        d = od * SD - PD + kd * LD
        for kh in range(KH):
            h = oh * SH - PH + kh * LH
            rows = inside & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            for kw in range(KW):
                w = ow * SW - PW + kw * LW
                place = ((x_plane * D + d) * H + h) * W + w
                x = tl.load(x_ptr + place, mask=rows & (w >= 0) & (w < W), other=0.0)
                tap = ((out_channel * KD + kd) * KH + kh) * KW + kw
                weight = tl.load(weight_ptr + tap, mask=inside, other=0.0)
                total += x.to(tl.float32) * weight.to(tl.float32)
    tl.store(output_ptr + index, total.to(output_ptr.dtype.element_ty), mask=inside)


def depthwise_convolution(x, weight, stride, padding, dilation):
    n = len(stride)
    ones = [1] * (3 - n)
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[-n:], weight.shape[-n:], stride, padding, dilation)
    ]
    output = torch.empty((x.shape[0], weight.shape[0], *sizes), dtype=x.dtype, device=x.device)
    x, weight = x.contiguous(), weight.contiguous()
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *weight.shape[-n:]]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    LD, LH, LW = [*ones, *dilation]
    channels, outputs = x.shape[-n - 1], output.numel()
    wide = max(outputs, x.numel()) >= 2**31 - 1024
    depthwise_convolution_kernel[(triton.cdiv(outputs, 256),)](
        x, weight, output, outputs, weight.shape[0] // channels, channels, D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW,
        PD, PH, PW, LD, LH, LW, BLOCK=256, WIDE=wide, num_warps=4,
    )
    return output
