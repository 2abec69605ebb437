"""Pool windows as many kernels do: a program computes a block of flat outputs, and reads their windows in turn."""

import torch
import triton
import triton.language as tl


@triton.jit
def max_pool_kernel(
    x_ptr,
    output_ptr,
    outputs,
    D,
    H,
    W,
    OD,
    OH,
    OW,
    KD: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SD: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PD: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    LD: tl.constexpr,
    LH: tl.constexpr,
    LW: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    index = program * BLOCK + tl.arange(0, BLOCK)
    inside = index < outputs
    ow, oh, od = index % OW, (index // OW) % OH, (index // (OW * OH)) % OD
    plane = index // (OW * OH * OD)
    best = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    for kd in range(KD):
        d = od * SD - PD + kd * LD
        for kh in range(KH):
            h = oh * SH - PH + kh * LH
            rows = inside & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            for kw in range(KW):
                w = ow * SW - PW + kw * LW
                place = ((plane * D + d) * H + h) * W + w
                x = tl.load(x_ptr + place, mask=rows & (w >= 0) & (w < W), other=float("-inf")).to(tl.float32)
                best = tl.where((x > best) | (x != x), x, best)
    tl.store(output_ptr + index, best.to(output_ptr.dtype.element_ty), mask=inside)


@triton.jit
def average_pool_kernel(
    x_ptr,
    output_ptr,
    outputs,
    D,
    H,
    W,
    OD,
    OH,
    OW,
    KD: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SD: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PD: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    COUNT_PADDING: tl.constexpr,
    DIVISOR: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    index = program * BLOCK + tl.arange(0, BLOCK)
    inside = index < outputs
    ow, oh, od = index % OW, (index // OW) % OH, (index // (OW * OH)) % OD
    plane = index // (OW * OH * OD)
    d0, h0, w0 = od * SD - PD, oh * SH - PH, ow * SW - PW
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for kd in range(KD):
        d = d0 + kd
        for kh in range(KH):
            h = h0 + kh
            rows = inside & (d >= 0) & (d < D) & (h >= 0) & (h < H)
            for kw in range(KW):
                w = w0 + kw
                place = ((plane * D + d) * H + h) * W + w
                total += tl.load(x_ptr + place, mask=rows & (w >= 0) & (w < W), other=0.0).to(tl.float32)
    if DIVISOR > 0:
        mean = total / DIVISOR
    elif COUNT_PADDING:
        depth = tl.minimum(d0 + KD, D + PD) - d0
        height = tl.minimum(h0 + KH, H + PH) - h0
        width = tl.minimum(w0 + KW, W + PW) - w0
        mean = total / (depth * height * width).to(tl.float32)
    else:
        depth = tl.minimum(d0 + KD, D) - tl.maximum(d0, 0)
        height = tl.minimum(h0 + KH, H) - tl.maximum(h0, 0)
        width = tl.minimum(w0 + KW, W) - tl.maximum(w0, 0)
        mean = total / tl.maximum(depth * height * width, 1).to(tl.float32)
    tl.store(output_ptr + index, mean.to(output_ptr.dtype.element_ty), mask=inside)


def pooled_size(size, kernel, stride, padding, dilation, ceil):
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil:
        return reach // stride + 1
    count = (reach + stride - 1) // stride + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def max_pool(x, kernel, stride, padding, dilation, ceil):
    n = len(kernel)
    sizes = [pooled_size(*five, ceil) for five in zip(x.shape[-n:], kernel, stride, padding, dilation, strict=True)]
    output = torch.empty((*x.shape[:-n], *sizes), dtype=x.dtype, device=x.device)
    x = x.contiguous()
    ones = [1] * (3 - n)
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *kernel]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    LD, LH, LW = [*ones, *dilation]
    outputs = output.numel()
    wide = max(outputs, x.numel()) >= 2**31 - 1024
    max_pool_kernel[(triton.cdiv(outputs, 256),)](
        x,
        output,
        outputs,
        D,
        H,
        W,
        OD,
        OH,
        OW,
        KD,
        KH,
        KW,
        SD,
        SH,
        SW,
        PD,
        PH,
        PW,
        LD,
        LH,
        LW,
        BLOCK=256,
        WIDE=wide,
        num_warps=4,
    )
    return output


def average_pool(x, kernel, stride, padding, ceil, count_padding, divisor):
    n = len(kernel)
    sizes = [pooled_size(*four, 1, ceil) for four in zip(x.shape[-n:], kernel, stride, padding, strict=True)]
    output = torch.empty((*x.shape[:-n], *sizes), dtype=x.dtype, device=x.device)
    x = x.contiguous()
    ones = [1] * (3 - n)
    D, H, W = [*ones, *x.shape[-n:]]
    OD, OH, OW = [*ones, *sizes]
    KD, KH, KW = [*ones, *kernel]
    SD, SH, SW = [*ones, *stride]
    PD, PH, PW = [*[0] * (3 - n), *padding]
    outputs = output.numel()
    wide = max(outputs, x.numel()) >= 2**31 - 1024
    average_pool_kernel[(triton.cdiv(outputs, 256),)](
        x,
        output,
        outputs,
        D,
        H,
        W,
        OD,
        OH,
        OW,
        KD,
        KH,
        KW,
        SD,
        SH,
        SW,
        PD,
        PH,
        PW,
        count_padding,
        divisor or 0,
        BLOCK=256,
        WIDE=wide,
        num_warps=4,
    )
    return output
