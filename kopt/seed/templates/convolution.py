"""Convolve in one to three dimensions, dilated and in groups: an implicit product of windows and weights."""

import torch
import triton
import triton.language as tl

from kopt.seed.templates.channels_last import channels_last


@triton.jit
def convolution_kernel(
    x_ptr, weight_ptr, output_ptr, images, CHANNELS, OUT_CHANNELS, D, H, W, OD, OH, OW, image_stride, group_stride,
    pixel_stride, channel_stride, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr,
    SH: tl.constexpr, SW: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, LD: tl.constexpr,
    LH: tl.constexpr, LW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    APART: tl.constexpr, ROW: tl.constexpr,
):
    """CHANNELS and OUT_CHANNELS are those of one group; axis 2 of the grid is the group.

    The strides are those of x; weights lie by output channel, then by tap.  APART: a tile has pixels of one image.
    ROW: a row of a window counts as one tap, and the channels of its pixels, pixel_stride each, as its channels.
    """
    pixels = OD * OH * OW
    if APART:
        blocks = tl.cdiv(pixels, BLOCK_M)
        image = (tl.program_id(0) // blocks).to(tl.int64)
        index = tl.program_id(0) % blocks * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = index < pixels
    else:
        index = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = index < images * pixels
        image = (index // pixels).to(tl.int64)
        index = index % pixels
    out_channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    group, groups = tl.program_id(2), tl.num_programs(2)
    ow, oh, od = index % OW, (index // OW) % OH, index // (OW * OH)
    d, h, w = od * SD - PD, oh * SH - PH, ow * SW - PW
    pixel = (d * H + h) * W + w
    x_rows = x_ptr + image * image_stride + group * group_stride + pixel * pixel_stride
    taps: tl.constexpr = KD * KH * KW
    weight_columns = weight_ptr + (group * OUT_CHANNELS + out_channel) * (taps * CHANNELS)
    kept = out_channel < OUT_CHANNELS
    steps = tl.cdiv(CHANNELS, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(0, taps * steps):
        tap = step // steps
        kd, kh, kw = tap // (KW * KH) * LD, tap // KW % KH * LH, tap % KW * LW
        valid = inside
        if PD > 0:
            valid = valid & (d + kd >= 0) & (d + kd < D)
        if PH > 0:
            valid = valid & (h + kh >= 0) & (h + kh < H)
        if PW > 0 and not ROW:
            valid = valid & (w + kw >= 0) & (w + kw < W)
        channel = (step - tap * steps) * BLOCK_K + tl.arange(0, BLOCK_K)
        known = channel < CHANNELS
        mask = valid[:, None] & known[None, :]
        if PW > 0 and ROW:
            column = w[:, None] + (channel // pixel_stride)[None, :]
            mask = mask & (column >= 0) & (column < W)
        x = tl.load(
            x_rows[:, None] + ((kd * H + kh) * W + kw) * pixel_stride + channel[None, :] * channel_stride, mask=mask,
            other=0.0,
        )
        weight = tl.load(
            weight_columns[:, None] + (tap * CHANNELS + channel)[None, :], mask=kept[:, None] & known[None, :],
            other=0.0,
        )
        total = tl.dot(x, tl.trans(weight), total)
    first = image * (groups * OUT_CHANNELS * pixels) + group * OUT_CHANNELS * pixels
    place = (first + index)[:, None] + out_channel[None, :] * pixels
    tl.store(output_ptr + place, total.to(output_ptr.dtype.element_ty), mask=inside[:, None] & kept[None, :])


def convolution(x, weight, stride, padding, dilation, groups):
    n = len(stride)
    ones = [1] * (3 - n)
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[-n:], weight.shape[-n:], stride, padding, dilation)
    ]
    output = torch.empty((x.shape[0], weight.shape[0], *sizes), dtype=x.dtype, device=x.device)
    weight = weight.contiguous()
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *weight.shape[-n:]]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    LD, LH, LW = [*ones, *dilation]
    channels, out_channels = weight.shape[1], weight.shape[0] // groups
    weight = weight.flatten(2).transpose(1, 2).contiguous()
    image_stride = groups * channels * D * H * W
    if KD * KH * KW > 1:
        x = channels_last(x)
        group_stride, pixel_stride, channel_stride = channels, groups * channels, 1
    else:
        x = x.contiguous()
        group_stride, pixel_stride, channel_stride = channels * D * H * W, 1, D * H * W
    row = groups == 1 and channels < 16 and KW > 1 and LW == 1
    if row:
        channels, KW = KW * channels, 1
    images, pixels = x.shape[0], OD * OH * OW
    block_n = max(16, min(128, triton.next_power_of_2(out_channels)))
    block_k = 16 if channels < 64 and 0 < channels % 32 <= 16 else 32
    columns = triton.cdiv(out_channels, block_n) * groups
    block_m = 128 if pixels >= 128 and images * triton.cdiv(pixels, 128) * columns >= 128 else 64
    apart = 2 * pixels > block_m
    rows = images * triton.cdiv(pixels, block_m) if apart else triton.cdiv(images * pixels, block_m)
    convolution_kernel[(rows, triton.cdiv(out_channels, block_n), groups)](
        x, weight, output, images, channels, out_channels, D, H, W, OD, OH, OW, image_stride, group_stride,
        pixel_stride, channel_stride, KD, KH, KW, SD, SH, SW, PD, PH, PW, LD, LH, LW, BLOCK_M=block_m, BLOCK_N=block_n,
        BLOCK_K=block_k, APART=apart, ROW=row, num_warps=4, num_stages=3,
    )
    return output
