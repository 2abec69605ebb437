"""maxpool3d: 2 Triton kernels (march_kernel, plain_kernel), called by `kernel_function`.

`kernel_function` takes the inputs of the reference's `forward`, then by name what else its signature asks for:
parameters, buffers and attributes of the model.  Where it comes from stands in the comments below.
"""

# problem    maxpool3d, bfloat16
# run        maxpool3d-written: preset beam_search, 2 rounds, seed 0, proposers written
# kernel     r2a0s2, made by kopt absent
# lineage    the problem's seed kernel, then
#            1. All load masks are gone: taps in the padding are redirected to the window's middle tap, which changes
#            no maximum and needs no mask. Stride 2 and dilation 3 keep every window inside one class of depths mod 3,
#            so a program takes the outputs od = c, c+3, ... of one class: each input plane enters it ... (written)
#            2. Asynchronous copies would bypass L1, and L1 is what serves the odd lines that two output lines share,
#            while L2 is already at 96 % of its peak; so the pipeline is built in registers: the six raw 16-byte lines
#            of the next step are requested before the current step is reduced, shuffled and stored, w... (written)
# verdict    right in 16 comparisons on a GPU, on new inputs after the search
# time       0.5337 ms, 95 % interval 0.5334 to 0.5338 ms, measured on NVIDIA H200; 90 % of the roofline
#            compile 5.4461 ms, 10.21x (10.205 to 10.215)
#            eager 4.0919 ms, 7.67x (7.664 to 7.674)
#            max-autotune 1.2494 ms, 2.34x (2.340 to 2.344)
#            seed 1.6479 ms, 3.09x (3.085 to 3.091)
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
def vmax(a, b):
    # a 32-bit word holds two bfloat16: both maxima in one instruction, NaN wins as in torch
    return tl.inline_asm_elementwise(
        "max.NaN.bf16x2 $0, $1, $2;", "=r,r,r", [a, b], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def highs(a, b):
    # (odd of a, odd of b)
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x7632;", "=r,r,r", [a, b], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def lows(a, b):
    # (even of a, even of b)
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x5410;", "=r,r,r", [a, b], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def words(ptrs, inside, FULL: tl.constexpr):
    if FULL:
        v = tl.load(ptrs)
    else:
        v = tl.load(ptrs, mask=inside, other=-8323200)  # 0xFF80FF80: two times -inf
    return v


@triton.jit
def plane_max(p0, p1, p2, s, inside, FULL: tl.constexpr):
    a = words(p0 + s, inside, FULL)
    b = words(p1 + s, inside, FULL)
    c = words(p2 + s, inside, FULL)
    return vmax(vmax(a, b), c)


@triton.jit
def width_max(t, R: tl.constexpr, JB: tl.constexpr, RW: tl.constexpr):
    # out[i] = max(odd[i-1], even[i+1], odd[i+2]); a thread holds words w0..w3 = (e0 o0) .. (e3 o3) and makes two words
    # of outputs. The result is [RW, R / RW, 2 * JB] with row = k * RW + r: a warp keeps its own rows, so the change to
    # the layout of the store stays inside the warp.
    a, b = tl.split(tl.reshape(t, [R, JB, 2, 2]))
    w0, w2 = tl.split(a)
    w1, w3 = tl.split(b)
    j = tl.broadcast_to(tl.arange(0, JB)[None, :], [R, JB])
    before = tl.maximum(j - 1, 0)
    after = tl.minimum(j + 1, JB - 1)
    w3p = tl.where(j == 0, -8323200, tl.gather(w3, before, 1))
    w0n = tl.gather(w0, after, 1)
    w1n = tl.gather(w1, after, 1)
    ya = vmax(vmax(highs(w3p, w0), lows(w1, w2)), highs(w2, w3))
    yb = vmax(vmax(highs(w1, w2), lows(w3, w0n)), highs(w0n, w1n))
    y = tl.reshape(tl.join(ya, yb), [R // RW, RW, JB * 2])
    return tl.permute(y, (1, 0, 2))


@triton.jit
def march_kernel(
    x_ptr, y_ptr,
    D, OD, H: tl.constexpr, W2: tl.constexpr, OH: tl.constexpr, OW2: tl.constexpr,
    R: tl.constexpr, JB: tl.constexpr, RW: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    # x and y are seen as 32-bit words, W2 and OW2 to a line
    HT: tl.constexpr = (OH + R - 1) // R
    pid = tl.program_id(0)
    th = pid % HT
    rest = pid // HT
    c = rest % 3  # windows of outputs od = c (mod 3) touch depths of one class mod 3 only
    plane = (rest // 3).to(tl.int64)
    x_ptr += plane * D * (H * W2)
    y_ptr += plane * OD * (OH * OW2)
    oh = th * R + tl.arange(0, R)
    ohc = tl.minimum(oh, OH - 1)
    h1 = 2 * ohc + 2
    h0 = tl.where(ohc == 0, h1, 2 * ohc - 1)
    h2 = tl.where(2 * ohc + 5 < H, 2 * ohc + 5, h1)
    cols = tl.arange(0, JB * 4)[None, :]
    inside = cols < W2
    p0 = x_ptr + (h0[:, None] * W2 + cols)
    p1 = x_ptr + (h1[:, None] * W2 + cols)
    p2 = x_ptr + (h2[:, None] * W2 + cols)
    ro = th * R + tl.arange(0, R // RW)[None, :, None] * RW + tl.arange(0, RW)[:, None, None]
    wo = tl.arange(0, JB * 2)[None, None, :]
    mask = (ro < OH) & (wo < OW2)
    y_ptrs = y_ptr + (ro * OW2 + wo)
    steps = (OD - c + 2) // 3
    d = tl.where(c == 0, 2, 2 * c - 1)  # the padding repeats a depth of the same window
    carry = plane_max(p0, p1, p2, d * (H * W2), inside, FULL)
    # raw lines of the step to come are held in registers: its six loads fly while this step is reduced
    s = tl.minimum(2 * c + 2, D - 1) * (H * W2)
    e0 = words(p0 + s, inside, FULL)
    e1 = words(p1 + s, inside, FULL)
    e2 = words(p2 + s, inside, FULL)
    s = tl.where(2 * c + 5 < D, 2 * c + 5, tl.minimum(2 * c + 2, D - 1)) * (H * W2)
    o0 = words(p0 + s, inside, FULL)
    o1 = words(p1 + s, inside, FULL)
    o2 = words(p2 + s, inside, FULL)
    for i in range(steps):
        od = c + 3 * i
        nd = tl.minimum(od + 3, c + 3 * (steps - 1))  # the last step asks for its own lines again
        s = (2 * nd + 2) * (H * W2)
        n0 = words(p0 + s, inside, FULL)
        n1 = words(p1 + s, inside, FULL)
        n2 = words(p2 + s, inside, FULL)
        s = tl.where(2 * nd + 5 < D, 2 * nd + 5, 2 * nd + 2) * (H * W2)
        m0 = words(p0 + s, inside, FULL)
        m1 = words(p1 + s, inside, FULL)
        m2 = words(p2 + s, inside, FULL)
        odd = vmax(vmax(o0, o1), o2)
        out = width_max(vmax(vmax(carry, vmax(vmax(e0, e1), e2)), odd), R, JB, RW)
        tl.store(y_ptrs + od * (OH * OW2), out, mask=mask)
        carry = odd
        e0 = n0
        e1 = n1
        e2 = n2
        o0 = m0
        o1 = m1
        o2 = m2


@triton.jit
def fmax(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def pick(x_ptr, s, h, w, good, W):
    # a tap outside the volume counts as -inf
    return tl.load(x_ptr + (s + h * W + w), mask=good, other=float("-inf")).to(tl.float32)


@triton.jit
def plain_kernel(x_ptr, y_ptr, D, H, W, OD, OH, OW, BLOCK: tl.constexpr):
    # lines that are no whole number of output words: one output a lane, 27 masked taps
    od = tl.program_id(1)
    plane = tl.program_id(2).to(tl.int64)
    x_ptr += plane * D * H * W
    y_ptr += (plane * OD + od) * OH * OW
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = o < OH * OW
    oh = o // OW
    ow = o % OW
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    for kd in tl.static_range(3):
        d = 2 * od - 1 + 3 * kd
        for kh in tl.static_range(3):
            h = 2 * oh - 1 + 3 * kh
            for kw in tl.static_range(3):
                w = 2 * ow - 1 + 3 * kw
                good = live & (d >= 0) & (d < D) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
                best = fmax(best, pick(x_ptr, d * H * W, h, w, good, W))
    tl.store(y_ptr + o, best.to(y_ptr.dtype.element_ty), mask=live)


def pooled(size):
    # kernel 3, stride 2, padding 1, dilation 3
    return (size + 2 - 6 - 1) // 2 + 1


def kernel_function(x):
    x = x.contiguous()
    N, C, D, H, W = x.shape
    OD, OH, OW = pooled(D), pooled(H), pooled(W)
    y = torch.empty((N, C, OD, OH, OW), dtype=x.dtype, device=x.device)
    if y.numel() == 0:
        return y
    if W % 4 != 0 or x.storage_offset() % 2 != 0:
        # odd numbers of outputs to a line: no 32-bit words
        BLOCK = 256
        for first in range(0, N * C, 65535):
            last = min(first + 65535, N * C)
            plain_kernel[(triton.cdiv(OH * OW, BLOCK), OD, last - first)](
                x.view(N * C, D, H, W)[first:last], y.view(N * C, OD, OH, OW)[first:last],
                D, H, W, OD, OH, OW, BLOCK=BLOCK, num_warps=4,
            )  # fmt: skip
        return y
    JB = max(triton.next_power_of_2(triton.cdiv(W, 8)), 4)
    RW = max(1, 32 // JB)  # lines that one warp holds
    R = max(RW, 16 * 16 // JB)
    march_kernel[(triton.cdiv(OH, R) * 3 * N * C,)](
        x.view(torch.int32), y.view(torch.int32), D, OD, H=H, W2=W // 2, OH=OH, OW2=OW // 2,
        R=R, JB=JB, RW=RW, FULL=(W == 8 * JB), num_warps=8,
    )  # fmt: skip
    return y
