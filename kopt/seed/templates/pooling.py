"""Pool windows in one to three dimensions: a program computes a piece of some rows of outputs.

A row of a window is read for all outputs of the piece at once, from places that are next to each other for a stride of
one; what windows share is in the cache.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def max_pool_kernel(
    x_ptr, output_ptr, rows, D, H, W, OD, OH, OW, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    LD: tl.constexpr, LH: tl.constexpr, LW: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = row.to(tl.int64)
    ow = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    oh, od, plane = row % OH, row // OH % OD, row // (OH * OD)
    best = tl.full((ROWS, BLOCK), float("-inf"), dtype=tl.float32)
    for kd in range(KD):
        d = od * SD - PD + kd * LD
        for kh in range(KH):
            h = oh * SH - PH + kh * LH
            valid = (row < rows) & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            line = ((plane * D + d) * H + h) * W
            for kw in tl.static_range(KW):
                w = ow * SW - PW + kw * LW
                mask = valid[:, None] & ((w >= 0) & (w < W))[None, :]
                x = tl.load(x_ptr + line[:, None] + w[None, :], mask=mask, other=float("-inf")).to(tl.float32)
                best = tl.where((x > best) | (x != x), x, best)
    mask = (row < rows)[:, None] & (ow < OW)[None, :]
    tl.store(output_ptr + (row * OW)[:, None] + ow[None, :], best.to(output_ptr.dtype.element_ty), mask=mask)


@triton.jit
def average_pool_kernel(
    x_ptr, output_ptr, rows, D, H, W, OD, OH, OW, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    COUNT_PADDING: tl.constexpr, DIVISOR: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if WIDE:
        row = row.to(tl.int64)
    ow = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    oh, od, plane = row % OH, row // OH % OD, row // (OH * OD)
    d0, h0, w0 = od * SD - PD, oh * SH - PH, ow * SW - PW
    total = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for kd in range(KD):
        d = d0 + kd
        for kh in range(KH):
            h = h0 + kh
            valid = (row < rows) & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            line = ((plane * D + d) * H + h) * W
            for kw in tl.static_range(KW):
                w = w0 + kw
                mask = valid[:, None] & ((w >= 0) & (w < W))[None, :]
                total += tl.load(x_ptr + line[:, None] + w[None, :], mask=mask, other=0.0).to(tl.float32)
    if DIVISOR > 0:
        mean = total / DIVISOR
    elif COUNT_PADDING:
        lines = (tl.minimum(d0 + KD, D + PD) - d0) * (tl.minimum(h0 + KH, H + PH) - h0)
        width = tl.minimum(w0 + KW, W + PW) - w0
        mean = total / (lines[:, None] * width[None, :]).to(tl.float32)
    else:
        depth = tl.minimum(d0 + KD, D) - tl.maximum(d0, 0)
        height = tl.minimum(h0 + KH, H) - tl.maximum(h0, 0)
        width = tl.minimum(w0 + KW, W) - tl.maximum(w0, 0)
        mean = total / tl.maximum((depth * height)[:, None] * width[None, :], 1).to(tl.float32)
    mask = (row < rows)[:, None] & (ow < OW)[None, :]
    tl.store(output_ptr + (row * OW)[:, None] + ow[None, :], mean.to(output_ptr.dtype.element_ty), mask=mask)


def piece(columns):
    """Return the length of a piece of a row, and the rows of a program, 1024 outputs together."""
    block = triton.next_power_of_2(max(columns, 1))
    if columns > 64:
        block = min((512, 256, 128), key=lambda length: triton.cdiv(columns, length) * length)
    return block, 1024 // block


def pooled_size(size, kernel, stride, padding, dilation, ceil):
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return reach // stride + 1
    count = (reach + stride - 1) // stride + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def max_pool(x, kernel, stride, padding, dilation, ceil):
    n = len(kernel)
    sizes = [pooled_size(*five, ceil) for five in zip(x.shape[-n:], kernel, stride, padding, dilation)]
    output = torch.empty((*x.shape[:-n], *sizes), dtype=x.dtype, device=x.device)
    x = x.contiguous()
    ones = [1] * (3 - n)
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *kernel]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    LD, LH, LW = [*ones, *dilation]
    rows = output.numel() // max(OW, 1)
    wide = max(output.numel(), x.numel()) >= 2**31 - 1024
    block, at_once = piece(OW)
    max_pool_kernel[(triton.cdiv(rows, at_once), triton.cdiv(OW, block))](
        x, output, rows, D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW, LD, LH, LW,
        ROWS=at_once, BLOCK=block, WIDE=wide, num_warps=4,
    )
    return output


def average_pool(x, kernel, stride, padding, ceil, count_padding, divisor):
    n = len(kernel)
    sizes = [pooled_size(*four, 1, ceil) for four in zip(x.shape[-n:], kernel, stride, padding)]
    output = torch.empty((*x.shape[:-n], *sizes), dtype=x.dtype, device=x.device)
    x = x.contiguous()
    ones = [1] * (3 - n)
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *kernel]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    rows = output.numel() // max(OW, 1)
    wide = max(output.numel(), x.numel()) >= 2**31 - 1024
    block, at_once = piece(OW)
    average_pool_kernel[(triton.cdiv(rows, at_once), triton.cdiv(OW, block))](
        x, output, rows, D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW, count_padding, divisor or 0,
        ROWS=at_once, BLOCK=block, WIDE=wide, num_warps=4,
    )
    return output
