"""Convolve in one to three dimensions, dilated and in groups: an implicit product of windows and weights."""

import torch
import triton
import triton.language as tl


@triton.jit
def convolution_kernel(
    x_ptr, weight_ptr, output_ptr, pixels, CHANNELS, OUT_CHANNELS, D, H, W, OD, OH, OW, KD: tl.constexpr,
    KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PD: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, LD: tl.constexpr, LH: tl.constexpr, LW: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):
    """CHANNELS and OUT_CHANNELS are those of one group; axis 2 of the grid is the group; weights lie tap by tap."""
    index = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    out_channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    group, groups = tl.program_id(2), tl.num_programs(2)
    ow, oh, od = index % OW, (index // OW) % OH, (index // (OW * OH)) % OD
    image = index // (OW * OH * OD)
    plane = (image * groups + group).to(tl.int64)
    x_rows = x_ptr + (plane * CHANNELS * D * H * W)[:, None]
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for kd in range(KD):
        d = od * SD - PD + kd * LD
        for kh in range(KH):
            h = oh * SH - PH + kh * LH
            rows = (index < pixels) & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            for kw in range(KW):
                w = ow * SW - PW + kw * LW
                valid = rows & (w >= 0) & (w < W)
                pixel = (d * H + h) * W + w
                tap = (kd * KH + kh) * KW + kw
                for start in range(0, CHANNELS, BLOCK_K):
                    channel = start + tl.arange(0, BLOCK_K)
                    x = tl.load(
                        x_rows + pixel[:, None] + channel[None, :] * (D * H * W),
                        mask=valid[:, None] & (channel < CHANNELS)[None, :], other=0.0,
                    )
                    row = (tap * CHANNELS + channel)[:, None] * (groups * OUT_CHANNELS) + group * OUT_CHANNELS
                    weight = tl.load(
                        weight_ptr + row + out_channel[None, :],
                        mask=(out_channel < OUT_CHANNELS)[None, :] & (channel < CHANNELS)[:, None], other=0.0,
                    )
                    total += tl.dot(x, weight)
    place = (plane[:, None] * OUT_CHANNELS + out_channel[None, :]) * (OD * OH * OW) + (index % (OD * OH * OW))[:, None]
    mask = (index < pixels)[:, None] & (out_channel < OUT_CHANNELS)[None, :]
    tl.store(output_ptr + place, total.to(output_ptr.dtype.element_ty), mask=mask)


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


def convolution(x, weight, stride, padding, dilation, groups):
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
    channels, out_channels = weight.shape[1], weight.shape[0] // groups
    if channels == 1 and groups > 1:
        outputs = output.numel()
        wide = max(outputs, x.numel()) >= 2**31 - 1024
        depthwise_convolution_kernel[(triton.cdiv(outputs, 256),)](
            x, weight, output, outputs, out_channels, groups, D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW,
            LD, LH, LW, BLOCK=256, WIDE=wide, num_warps=4,
        )
        return output
    weight = weight.flatten(2).permute(2, 1, 0).contiguous()
    pixels = x.shape[0] * OD * OH * OW
    block_n = max(16, min(64, triton.next_power_of_2(out_channels)))
    block_k = max(16, min(32, triton.next_power_of_2(channels)))
    convolution_kernel[(triton.cdiv(pixels, 128), triton.cdiv(out_channels, block_n), groups)](
        x, weight, output, pixels, channels, out_channels, D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW,
        LD, LH, LW, BLOCK_M=128, BLOCK_N=block_n, BLOCK_K=block_k, num_warps=4, num_stages=3,
    )
    return output
