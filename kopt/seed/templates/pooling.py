"""Pool windows in one to three dimensions: a program computes a piece of some rows of outputs.

It joins the rows of a window first, for all outputs at once, and then what lies in one row, in one of three ways:

- SPAN > 0, where the stride divides the elements of 16 bytes: it loads a piece of a row in such vectors, each once, and
  finds the elements of windows in the vectors of its own thread and of its neighbours;
- TAPS > 1, where windows share nothing along a row: the elements of a window lie in neighbouring threads;
- else it loads the first elements of all windows, then the second ones, and so on, which are in the cache.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def larger(a, b):
    return tl.where((b > a) | (b != b), b, a)


@triton.jit
def slide(
    row, ROWS: tl.constexpr, WIDTH: tl.constexpr, SPAN: tl.constexpr, HALO: tl.constexpr, KERNEL: tl.constexpr,
    STRIDE: tl.constexpr, PADDING: tl.constexpr, DILATION: tl.constexpr, AVERAGE: tl.constexpr,
):
    IDENTITY: tl.constexpr = 0.0 if AVERAGE else float("-inf")
    VECTORS: tl.constexpr = WIDTH // SPAN
    MADE: tl.constexpr = SPAN // STRIDE
    bits = tl.reshape(row.to(tl.int32, bitcast=True), (ROWS, VECTORS, SPAN))
    element = tl.arange(0, SPAN)[None, None, :]
    vector = tl.arange(0, VECTORS)[None, :]
    output = tl.arange(0, MADE)[None, None, :]
    made = tl.full((ROWS, VECTORS, MADE), IDENTITY, tl.float32)
    for number in tl.static_range(MADE):
        joined = tl.full((ROWS, VECTORS), IDENTITY, tl.float32)
        for tap in tl.static_range(KERNEL):
            place = number * STRIDE + tap * DILATION + HALO + (SPAN - 1) * PADDING
            moved = vector + (place // SPAN - PADDING)
            inside = (moved >= 0) & (moved < VECTORS)
            found = tl.sum(tl.where(element == place % SPAN, bits, 0), axis=2)
            if place // SPAN != PADDING:
                found = tl.gather(found, tl.broadcast_to(tl.where(inside, moved, 0), (ROWS, VECTORS)), 1)
            x = tl.where(inside, found.to(tl.float32, bitcast=True), IDENTITY)
            joined = joined + x if AVERAGE else larger(joined, x)
        made = tl.where(output == number, joined[:, :, None], made)
    return tl.reshape(made, (ROWS, VECTORS * MADE))


@triton.jit
def pool_kernel(
    x_ptr, output_ptr, rows, pieces, D, H, W, OD, OH, OW, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SD: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    LD: tl.constexpr, LH: tl.constexpr, LW: tl.constexpr, AVERAGE: tl.constexpr, COUNT_PADDING: tl.constexpr,
    DIVISOR: tl.constexpr, SPAN: tl.constexpr, HALO: tl.constexpr, TAPS: tl.constexpr, ROWS: tl.constexpr,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, USED: tl.constexpr, WIDE: tl.constexpr,
):
    IDENTITY: tl.constexpr = 0.0 if AVERAGE else float("-inf")
    LOADS: tl.constexpr = KW if SPAN == 0 and TAPS == 1 else 1
    FEW: tl.constexpr = KD * KH * LOADS <= 32
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    row = program // pieces * ROWS + tl.arange(0, ROWS)
    oh, od, plane = row % OH, row // OH % OD, row // (OH * OD)
    first = program % pieces * USED
    reach = tl.arange(0, WIDTH)
    if SPAN > 0:
        width = W // SPAN * SPAN
        start = first * SW - HALO + reach
        wanted = reach >= 0
    else:
        width = W
        start = (first + reach // TAPS) * SW - PW + reach % TAPS * LW
        wanted = reach % TAPS < KW
    joined = tl.full((ROWS, WIDTH), IDENTITY, tl.float32)
    for kd in tl.range(KD, loop_unroll_factor=KD if FEW else 1):
        d = od * SD - PD + kd * LD
        for kh in tl.range(KH, loop_unroll_factor=KH if FEW else 1):
            h = oh * SH - PH + kh * LH
            valid = (row < rows) & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            line = ((plane * D + d) * H + h) * width
            for kw in tl.range(LOADS, loop_unroll_factor=LOADS if LOADS <= 32 else 4):
                w = start + kw * LW
                mask = valid[:, None] & (wanted & (w >= 0) & (w < width))[None, :]
                x = tl.load(x_ptr + line[:, None] + w[None, :], mask=mask, other=IDENTITY).to(tl.float32)
                joined = joined + x if AVERAGE else larger(joined, x)
    if SPAN > 0:
        joined = slide(joined, ROWS, WIDTH, SPAN, HALO, KW, SW, PW, LW, AVERAGE)
    elif TAPS > 1:
        windows = tl.reshape(joined, (ROWS, COLUMNS, TAPS))
        joined = tl.sum(windows, axis=2) if AVERAGE else tl.reduce(windows, 2, larger)
    column = tl.arange(0, COLUMNS)
    ow = first + column
    if AVERAGE:
        d0, h0, w0 = od * SD - PD, oh * SH - PH, ow * SW - PW
        if DIVISOR > 0:
            joined = joined / DIVISOR
        elif COUNT_PADDING:
            lines = (tl.minimum(d0 + KD, D + PD) - d0) * (tl.minimum(h0 + KH, H + PH) - h0)
            elements = tl.minimum(w0 + KW, W + PW) - w0
            joined = joined / (lines[:, None] * elements[None, :]).to(tl.float32)
        else:
            lines = (tl.minimum(d0 + KD, D) - tl.maximum(d0, 0)) * (tl.minimum(h0 + KH, H) - tl.maximum(h0, 0))
            elements = tl.minimum(w0 + KW, W) - tl.maximum(w0, 0)
            joined = joined / tl.maximum(lines[:, None] * elements[None, :], 1).to(tl.float32)
    mask = (row < rows)[:, None] & ((column < USED) & (ow < OW))[None, :]
    tl.store(output_ptr + (row * OW)[:, None] + ow[None, :], joined.to(output_ptr.dtype.element_ty), mask=mask)


def pooled_size(size, kernel, stride, padding, dilation, ceil):
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return reach // stride + 1
    count = (reach + stride - 1) // stride + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def piece(columns, width, kernel, stride, padding, dilation, item_bytes):
    """Return SPAN, HALO, TAPS, ROWS, WIDTH, COLUMNS and USED for rows of so many outputs and elements."""
    span, length, tile = 16 // item_bytes, 512 // item_bytes, 4096 // item_bytes
    reach = (kernel - 1) * dilation
    if span % stride == 0 and width % span == 0 and kernel * span // stride <= 128:
        whole = triton.next_power_of_2(max(width, columns * stride))
        halo = triton.cdiv(padding, span) * span
        used = (length - halo + padding - reach - 1 + stride) // span * span // stride
        parts = triton.cdiv(columns, used) if used * stride > length // 2 else 8
        if whole <= length or (whole <= 4 * length and whole < parts * length):
            return span, 0, 1, tile // whole, whole, whole // stride, whole // stride
        if used * stride > length // 2:
            return span, halo, 1, tile // length, length, length // stride, used
    taps = triton.next_power_of_2(kernel) if reach < stride and kernel <= 512 else 1
    block = triton.next_power_of_2(max(columns, 1))
    if columns > 64:
        block = min((512, 256, 128), key=lambda length: triton.cdiv(columns, length) * length)
    block = min(block, tile // taps)
    return 0, 0, taps, tile // (block * taps), block * taps, block, block


def pooled(x, kernel, stride, padding, dilation, ceil, average, count_padding, divisor):
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
    wide = max(output.numel(), x.numel()) >= 2**31 - 4096
    SPAN, HALO, TAPS, ROWS, WIDTH, COLUMNS, USED = piece(OW, W, KW, SW, PW, LW, x.element_size())
    ROWS = min(ROWS, triton.next_power_of_2(max(rows, 1)))
    pieces = triton.cdiv(OW, USED)
    pool_kernel[(triton.cdiv(rows, ROWS) * pieces,)](
        x, output, rows, pieces, D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW, LD, LH, LW,
        AVERAGE=average, COUNT_PADDING=count_padding, DIVISOR=divisor, SPAN=SPAN, HALO=HALO, TAPS=TAPS, ROWS=ROWS,
        WIDTH=WIDTH, COLUMNS=COLUMNS, USED=USED, WIDE=wide, num_warps=2,
    )
    return output


def max_pool(x, kernel, stride, padding, dilation, ceil):
    return pooled(x, kernel, stride, padding, dilation, ceil, False, False, 0)


def average_pool(x, kernel, stride, padding, ceil, count_padding, divisor):
    return pooled(x, kernel, stride, padding, [1] * len(kernel), ceil, True, count_padding, divisor or 0)
