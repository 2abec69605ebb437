"""Convolve transposed in one to three dimensions: a program computes outputs of one residue, whose taps are the same.

An output at `o` is the sum over the taps `k` for which `o + padding - k * dilation` is a multiple of the stride.  For
all outputs of one residue modulo the stride these are the same taps, one in so many; all others are left out.  Outputs
of one residue along the last axis lie apart: where little is computed for an output, a program has all residues along
that axis, tries every tap, and writes memory without gaps.
"""

import torch
import triton
import triton.language as tl

from kopt.seed.templates.channels_last import channels_last


PAIRED_PIXELS = 1 << 18
"""Fewest output pixels for which laying weights out for pairs pays."""


@triton.jit
def first_tap(offset, STRIDE: tl.constexpr, DILATION: tl.constexpr, KERNEL: tl.constexpr, STEP: tl.constexpr):
    """Return the first tap that outputs at `offset` modulo the stride have, and KERNEL where they have none."""
    first = KERNEL
    for back in tl.static_range(STEP):
        tap = STEP - 1 - back
        first = tl.where((offset + (STEP * STRIDE - tap) * DILATION) % STRIDE == 0, tap, first)
    return first


@triton.jit
def convolution_transpose_kernel(
    x_ptr, weight_ptr, output_ptr, images, CHANNELS, OUT_CHANNELS, GROUPS, D, H, W, OD, OH, OW, ND, NH, NW,
    KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, LD: tl.constexpr, LH: tl.constexpr, LW: tl.constexpr,
    TD: tl.constexpr, TH: tl.constexpr, TW: tl.constexpr, RW: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, APART: tl.constexpr, PAIR: tl.constexpr,
):
    """CHANNELS and OUT_CHANNELS are those of one group; axis 2 of the grid is group and residue.

    One tap in TD, TH, TW along each axis hits.  In x channels are adjacent; weights lie by output channel, then by tap.
    RW: residues along the last axis, SW or 1.  APART: a tile has pixels of one image.  PAIR: 2 where a row of a tile is
    two neighbouring pixels, whose channels lie side by side among the OUT_CHANNELS; NW counts such rows.
    """
    pixels = ND * NH * NW
    if APART:
        blocks_of_image = tl.cdiv(pixels, BLOCK_M)
        image = (tl.program_id(0) // blocks_of_image).to(tl.int64)
        index = tl.program_id(0) % blocks_of_image * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = index < pixels
    else:
        index = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = index < images * pixels
        image = (index // pixels).to(tl.int64)
        index = index % pixels
    out_channel = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    group, residue = tl.program_id(2) % GROUPS, tl.program_id(2) // GROUPS
    rw, rh, rd = residue % RW, residue // RW % SH, residue // (RW * SH)
    ow = index % NW * (RW * PAIR) + rw
    oh = index // NW % NH * SH + rh
    od = index // (NW * NH) * SD + rd
    if RW * SH * SD > 1:
        inside = inside & (ow < OW) & (oh < OH) & (od < OD)
    x_images = x_ptr + image * (D * H * W * GROUPS * CHANNELS) + group * CHANNELS
    weight_rows = weight_ptr + (group * OUT_CHANNELS + out_channel) * (KD * KH * KW * CHANNELS)
    first_d = first_tap(rd + PD, SD, LD, KD, TD)
    first_h = first_tap(rh + PH, SH, LH, KH, TH)
    first_w = 0
    if RW == SW:
        first_w = first_tap(rw + PW, SW, LW, KW, TW)
    taps_d, taps_h = (KD - first_d + TD - 1) // TD, (KH - first_h + TH - 1) // TH
    taps_w = (KW - first_w + TW - 1) // TW
    blocks = tl.cdiv(CHANNELS, BLOCK_K)
    rows, columns = tl.maximum(taps_h, 1), tl.maximum(taps_w, 1)  # without taps the loop ends before it divides
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(taps_d * taps_h * taps_w * blocks):
        hit = step // blocks
        kd = first_d + hit // (rows * columns) * TD
        kh = first_h + hit // columns % rows * TH
        kw = first_w + hit % columns * TW
        shift_d, shift_h, shift_w = od + PD - kd * LD, oh + PH - kh * LH, ow + PW + PAIR - 1 - kw * LW
        d, h, w = shift_d // SD, shift_h // SH, shift_w // SW
        valid = inside & (shift_d >= 0) & (d < D) & (shift_h >= 0) & (h < H) & (shift_w >= 0) & (w < W)
        if RW < SW:
            valid = valid & (shift_w % SW == 0)
        channel = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
        pixel = ((d * H + h) * W + w) * (GROUPS * CHANNELS)
        x = tl.load(
            (x_images + pixel)[:, None] + channel[None, :], mask=valid[:, None] & (channel < CHANNELS)[None, :],
            other=0.0,
        )
        weight = tl.load(
            weight_rows[:, None] + (((kd * KH + kh) * KW + kw) * CHANNELS + channel)[None, :],
            mask=(out_channel < OUT_CHANNELS)[:, None] & (channel < CHANNELS)[None, :], other=0.0,
        )
        total = tl.dot(x, tl.trans(weight), total)
    plane = OD * OH * OW
    first = (image * GROUPS + group) * (OUT_CHANNELS // PAIR) * plane
    kept = out_channel < OUT_CHANNELS
    if PAIR == 2:
        total = tl.reshape(total, (2 * BLOCK_M, BLOCK_N // 2))
        index = tl.program_id(0) % blocks_of_image * (2 * BLOCK_M) + tl.arange(0, 2 * BLOCK_M)
        inside = index < 2 * pixels
        out_channel = tl.arange(0, BLOCK_N // 2)
        kept = out_channel < OUT_CHANNELS // 2
    place = index  # outputs of an image lie as they are numbered
    if RW * SH * SD > 1:
        place = (od * OH + oh) * OW + ow
    place = (first + place)[:, None] + out_channel.to(tl.int64)[None, :] * plane
    mask = inside[:, None] & kept[None, :]
    tl.store(output_ptr + place, total.to(output_ptr.dtype.element_ty), mask=mask)


def convolution_transpose(x, weight, stride, padding, output_padding, dilation, groups):
    n = len(stride)
    ones = [1] * (3 - n)
    sizes = [
        (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for size, k, s, p, extra, d in zip(x.shape[-n:], weight.shape[-n:], stride, padding, output_padding, dilation)
    ]
    output = torch.empty((x.shape[0], weight.shape[1] * groups, *sizes), dtype=x.dtype, device=x.device)
    weight = weight.contiguous()
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *weight.shape[-n:]]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    LD, LH, LW = [*ones, *dilation]
    channels, out_channels = x.shape[1] // groups, weight.shape[1]
    multiplied = channels * KD * KH * KW * (SW - 1) // (SD * SH * SW)  # further products of an output
    RW = 1 if multiplied < 16 * x.element_size() * (min(SW, 8) - 1) else SW
    ND, NH, NW = triton.cdiv(OD, SD), triton.cdiv(OH, SH), triton.cdiv(OW, RW)
    TD, TH, TW = [next(t for t in range(1, s + 1) if t * d % s == 0) for s, d in ((SD, LD), (SH, LH), (RW, LW))]
    weight = weight.view(groups, channels, out_channels, KD * KH, KW)
    pair = 1
    # From 5 taps on, a pixel of x that is read once for two outputs saves more than the products with zeros cost.
    if out_channels in (16, 32, 64) and KW >= 5 and LW * SD * SH * SW == 1 and OW % 2 == 0:
        pair = 2 if x.shape[0] * OD * OH * OW >= PAIRED_PIXELS and OD * OH * OW >= 256 else 1
    if pair == 2:
        both = weight.new_zeros((groups, channels, 2, out_channels, KD * KH, KW + 1))
        both[:, :, 0, :, :, 1:], both[:, :, 1, :, :, :KW] = weight, weight
        weight, out_channels, KW, NW = both.flatten(2, 3), 2 * out_channels, KW + 1, OW // 2
    weight = weight.flatten(3).permute(0, 2, 3, 1).contiguous()
    x = channels_last(x)
    images, pixels = x.shape[0], ND * NH * NW
    block_n = max(16, min(128, triton.next_power_of_2(out_channels)))
    apart = pixels > 64
    rows = images * triton.cdiv(pixels, 128) if apart else triton.cdiv(images * pixels, 128)
    convolution_transpose_kernel[(rows, triton.cdiv(out_channels, block_n), groups * SD * SH * RW)](
        x, weight, output, images, channels, out_channels, groups, D, H, W, OD, OH, OW, ND, NH, NW, KD, KH, KW, SD, SH,
        SW, PD, PH, PW, LD, LH, LW, TD, TH, TW, RW, BLOCK_M=128, BLOCK_N=block_n, BLOCK_K=32, APART=apart, PAIR=pair,
        num_warps=4, num_stages=3,
    )
    return output
