"""Small kernels, each with one thing that Triton's language has, and what a GPU computes for them.

`ROWS` maps a name to a function that returns what a kernel made and what it should have made.  Run this module in a
process of its own: launches of its process are interpreted for good.
"""

import json
import sys
from collections import namedtuple

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.tools.tensor_descriptor import TensorDescriptor

ROWS = {}
N = 64
torch.manual_seed(3)


def row(function):
    ROWS[function.__name__.replace("_", " ")] = function
    return function


def launch(kernel, *args, like=None, size=N, dtype=torch.float32, grid=(1,), **meta):
    """Launch with a new output as the last argument, and return the output."""
    out = torch.full((size,) if like is None else like.shape, 77, dtype=dtype if like is None else like.dtype)
    kernel[grid](*args, out, **meta)
    return out


def normal(*shape, dtype=torch.float32):
    return torch.randn(*(shape or (N,))).to(dtype)


# --- casts ------------------------------------------------------------------------------------------------------------

TYPES = {
    "int8": tl.int8, "uint8": tl.uint8, "int16": tl.int16, "int32": tl.int32, "int64": tl.int64, "float16": tl.float16,
    "bfloat16": tl.bfloat16, "float32": tl.float32, "float64": tl.float64, "float8_e4m3fn": tl.float8e4nv,
    "float8_e5m2": tl.float8e5,
}  # fmt: skip


@triton.jit
def cast(x_ptr, y_ptr, TYPE: tl.constexpr):
    at = tl.arange(0, 8)
    tl.store(y_ptr + at, tl.load(x_ptr + at).to(TYPE))


def check_casts(source):
    values = torch.tensor([0, 1, 2.5, 3, 100, 77, 40, 5])
    if source not in ("uint8",):
        values[4:6] *= -1
    x = values.to(getattr(torch, source))
    made, wanted = [], []
    for target, kind in TYPES.items():
        if "float8" in source and "float8" in target and source != target:
            continue  # the compiler has no such conversion
        if "float8" in source + target and not (x.is_floating_point() and getattr(torch, target).is_floating_point):
            continue
        if target == "uint8":
            x = x.abs() if source != "uint8" and "float8" not in source else x.float().abs().to(x.dtype)
        dtype = getattr(torch, target)
        wide = x.float() if "float8" in source or "float8" in target else x
        out = torch.zeros(8, dtype=dtype)
        cast[(1,)](x, out, TYPE=kind)
        made.append(out.double())
        wanted.append(wide.to(dtype).double())
    return torch.stack(made), torch.stack(wanted)


for _source in TYPES:
    ROWS[f"casts from {_source}"] = lambda source=_source: check_casts(source)


@triton.jit
def truncate(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    tl.store(y_ptr + at, tl.load(x_ptr + at).to(tl.bfloat16, fp_downcast_rounding="rtz"))


@row
def a_cast_towards_zero():
    x = normal()
    return launch(truncate, x, dtype=torch.bfloat16), (x.view(torch.int32) & -65536).view(torch.float32).bfloat16()


@triton.jit
def bits(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    tl.store(y_ptr + at, tl.load(x_ptr + at).to(tl.int16, bitcast=True))


@row
def a_bitcast_of_bfloat16():
    x = normal(dtype=torch.bfloat16)
    return launch(bits, x, dtype=torch.int16), x.view(torch.int16)


@triton.jit
def saturate(x_ptr, y_ptr):
    at = tl.arange(0, 4)
    tl.store(y_ptr + at, tl.load(x_ptr + at).to(tl.int32))


@row
def floats_beyond_int32_saturate():
    x = torch.tensor([1e20, -1e20, float("nan"), 7.9])
    return launch(saturate, x, size=4, dtype=torch.int32), torch.tensor([2**31 - 1, -(2**31), 0, 7], dtype=torch.int32)


# --- expressions ------------------------------------------------------------------------------------------------------


@triton.jit
def logic(x_ptr, y_ptr, M, N):
    i, j = tl.arange(0, 8)[:, None], tl.arange(0, 8)[None, :]
    inside = i < M and j < N
    outside = not inside
    odd = (i == 0) or (j == 0)
    between = (j > 1) & (j < 5)
    tl.store(y_ptr + i * 8 + j, (inside * 1 + outside * 2 + odd * 4 + between * 8).to(tl.int32))


@row
def and_or_not_of_blocks():
    out = torch.zeros(64, dtype=torch.int32)
    logic[(1,)](normal(), out, 3, 5)
    i, j = torch.arange(8)[:, None], torch.arange(8)[None, :]
    inside = (i < 3) & (j < 5)
    want = inside * 1 + ~inside * 2 + ((i == 0) | (j == 0)) * 4 + ((j > 1) & (j < 5)) * 8
    return out, want.reshape(-1).int()


@triton.jit
def divisions(a_ptr, b_ptr, y_ptr):
    at = tl.arange(0, 8)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    tl.store(y_ptr + at, a // b)
    tl.store(y_ptr + 8 + at, a % b)
    first, second = tl.load(a_ptr), tl.load(b_ptr)
    tl.store(y_ptr + 16, first // second)
    tl.store(y_ptr + 17, first % second)


@row
def division_is_that_of_c():
    a = torch.tensor([-7, 7, -7, 7, -8, 9, 0, 5], dtype=torch.int32)
    b = torch.tensor([2, 2, -2, -2, 3, -4, 5, 5], dtype=torch.int32)
    q = torch.div(a, b, rounding_mode="trunc")
    want = torch.cat([q, torch.fmod(a, b), q[:1], torch.fmod(a, b)[:1]])
    return launch(divisions, a, b, size=18, dtype=torch.int32), want.int()


@triton.jit
def wrap(x_ptr, y_ptr, big):
    at = tl.arange(0, 8)
    tl.store(y_ptr + at, (big * 4 + at).to(tl.int64))


@row
def int32_wraps_around():
    out = torch.zeros(8, dtype=torch.int64)
    wrap[(1,)](normal(), out, 2**30)
    return out, torch.arange(8)


@triton.jit
def unsigned(x_ptr, y_ptr):
    at = tl.arange(0, 8)
    x = tl.load(x_ptr + at).to(tl.uint32, bitcast=True)
    tl.store(y_ptr + at, (x >> 28).to(tl.int32) + (x > 5).to(tl.int32) * 100 + (x // 3 > 1000).to(tl.int32) * 1000)


@row
def unsigned_integers():
    x = torch.tensor([-1, 0, 4, 6, -100, 3001, 100, 2**31 - 1], dtype=torch.int32)
    u = x.long() & 0xFFFFFFFF
    want = (u >> 28) + (u > 5) * 100 + (u // 3 > 1000) * 1000
    return launch(unsigned, x, size=8, dtype=torch.int32), want.int()


@triton.jit
def loop_variables(y_ptr, n, S: tl.constexpr):
    total = tl.zeros((1,), tl.int64)
    for i in range(tl.program_id(0), n, tl.num_programs(0)):
        total += (i // S).to(tl.int64) * 10 + tl.cdiv(i, 2).to(tl.int64) + tl.minimum(i, 3).to(tl.int64)
    for j in range(3, -1, -1):
        total += j.to(tl.int64) * 1000
    tl.store(y_ptr + tl.arange(0, 1), total)


@row
def loop_variables_are_tensors():
    out = torch.zeros(1, dtype=torch.int64)
    loop_variables[(1,)](out, 10, S=3)
    return out, torch.tensor([sum(i // 3 * 10 + -(-i // 2) + min(i, 3) for i in range(10)) + 6000])


@triton.jit
def lowest(kind):
    value: tl.constexpr = kind.value
    if value.is_floating():
        return -1.5
    else:
        return 7


@triton.jit
def dtype_argument(x_ptr, y_ptr, TYPE: "tl.constexpr"):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at, mask=at < 32, other=lowest(x_ptr.dtype.element_ty))
    tl.store(y_ptr + at, x.to(TYPE))


@row
def dtypes_are_constexpr_and_annotations_may_be_texts():
    x = normal()
    out = torch.zeros(N, dtype=torch.float16)
    dtype_argument[(1,)](x, out, TYPE=tl.float16)
    return out, torch.where(torch.arange(N) < 32, x, torch.tensor(-1.5)).half()


@triton.jit
def scalar_choice(x_ptr, y_ptr, a, b):
    at = tl.arange(0, 64)
    scale = 2.0 if a < b else 3.0
    largest = a if a > b else b
    if a > 5:
        return
    x = tl.load(x_ptr + at)
    while largest > 10:
        largest -= 3
        x += 1
    tl.store(y_ptr + at, x * scale + largest)


@row
def conditions_of_scalars_and_early_return():
    x = normal()
    out, other = torch.zeros(N), torch.zeros(N)
    scalar_choice[(1,)](x, out, 2, 20)
    scalar_choice[(1,)](x, other, 6, 20)
    return torch.cat([out, other]), torch.cat([(x + 4) * 2 + 8, torch.zeros(N)])


Pair = namedtuple("Pair", ["first", "second"])


@triton.jit
def tuples(pair, factors, y_ptr):
    at = tl.arange(0, 64)
    total = tl.zeros((64,), tl.float32)
    for i in tl.static_range(2):
        total += tl.load(pair[i] + at) * factors[i]
    tl.store(y_ptr + at, total + tl.load(pair.first + at))


@row
def tuples_as_arguments():
    a, b = normal(), normal()
    return launch(tuples, Pair(a, b), (2, 0.5)), a * 2 + b * 0.5 + a


@triton.constexpr_function
def next_power(n):
    return triton.next_power_of_2(n)


@triton.jit(noinline=True)
def called(n):
    return n * 2 + 1


@triton.jit
def helper(x, y):
    return x * y, x + y


@triton.jit
def nested(x_ptr, y_ptr, n: tl.constexpr):
    BLOCK: tl.constexpr = next_power(n)
    tl.static_assert(n <= BLOCK)
    at = tl.max_contiguous(tl.multiple_of(tl.arange(0, BLOCK), 8), 8)
    tl.assume(n > 0)
    x = tl.load(x_ptr + at, mask=at < n, other=0.0, eviction_policy="evict_last", cache_modifier=".ca")
    product, total = helper(x, 3.0)
    total += called(tl.program_id(0))
    for _ in tl.range(0, 2, num_stages=3, loop_unroll_factor=2, flatten=True, warp_specialize=True):
        total += product
    tl.device_assert(BLOCK > 0)
    tl.device_print("x", x)
    tl.debug_barrier()
    tl.store(y_ptr + at, total, mask=at < n)


@row
def helper_functions_and_hints():
    x = normal()
    out = torch.zeros(N)
    nested[(1,)](x, out, n=50)
    return out, torch.where(torch.arange(N) < 50, x + 4 + 6 * x, torch.tensor(0.0))


# --- mathematics ------------------------------------------------------------------------------------------------------


@triton.jit
def mathematics(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    a = tl.exp2(x) + tl.log(tl.abs(x) + 1) + tl.rsqrt(tl.abs(x) + 1) + tl.erf(x) + tl.sigmoid(x) + tl.floor(x)
    b = tl.fma(x, 2.0, 1.0) + tl.clamp(x, -0.5, 0.5) + tl.maximum(x, 0.0) + tl.div_rn(x, 3.0) + tl.sqrt_rn(tl.abs(x))
    tl.store(y_ptr + at, a + b + tl.cos(x) + tl.softmax(x))


@row
def functions_of_the_language():
    x = normal()
    want = x.exp2() + (x.abs() + 1).log() + (x.abs() + 1).rsqrt() + x.erf() + x.sigmoid() + x.floor()
    want += 2 * x + 1 + x.clamp(-0.5, 0.5) + x.relu() + x / 3 + x.abs().sqrt() + x.cos() + x.softmax(0)
    return launch(mathematics, x), want


@triton.jit
def propagate(x_ptr, y_ptr):
    at = tl.arange(0, 4)
    x = tl.load(x_ptr + at)
    tl.store(y_ptr + at, tl.clamp(x, -1.0, 1.0, propagate_nan=tl.PropagateNan.ALL))
    tl.store(y_ptr + 4 + at, tl.maximum(x, 0.0))
    tl.store(y_ptr + 8 + at, tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL))


@row
def nan_is_propagated_where_it_is_asked_for():
    nan = float("nan")
    x = torch.tensor([nan, 5.0, -5.0, 0.5])
    want = torch.tensor([nan, 1, -1, 0.5, 0, 5, 0, 0.5, nan, 5, 0, 0.5])
    return launch(propagate, x, size=12), want


@triton.jit
def library(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    a = libdevice.pow(x, 3) + libdevice.pow(tl.abs(x), 0.5) + libdevice.tanh(x) + libdevice.erfinv(x / 10)
    b = libdevice.llrint(x * 3).to(tl.float32) + libdevice.cyl_bessel_i0(x) + libdevice.fast_expf(x) + libdevice.j0(x)
    c = (
        libdevice.isnan(x).to(tl.float32)
        + libdevice.round(x)
        + libdevice.lgamma(tl.abs(x) + 1)
        + libdevice.norm3d(x, x, x)
    )
    d = libdevice.tanh(x.to(tl.float64)).to(tl.float32) + libdevice.float2int_rd(x) + libdevice.fmod(x, 0.3)
    tl.store(y_ptr + at, a + b + c + d + libdevice.popc(at) + libdevice.clz(at + 1) + libdevice.normcdf(x))


@row
def functions_of_the_device_library():
    x = normal()
    at = torch.arange(N)
    want = x**3 + x.abs().sqrt() + x.tanh() + (x / 10).erfinv() + (x * 3).round() + torch.special.i0(x) + x.exp()
    want += (
        torch.special.bessel_j0(x) + x.sign() * (x.abs() + 0.5).floor() + torch.lgamma(x.abs() + 1) + x.abs() * 3**0.5
    )
    want += x.tanh() + x.floor() + torch.fmod(x, torch.tensor(0.3)) + torch.special.ndtr(x)
    want += torch.tensor([bin(i).count("1") + 32 - (i + 1).bit_length() for i in at.tolist()])
    return launch(library, x), want


@row
def every_symbol_of_the_device_library_is_known():
    import re
    from pathlib import Path

    from triton.language.extra.cuda import libdevice as module

    from kopt.device.interpret.device_library import function

    symbols = set(re.findall(r'"(__nv_\w+)"', Path(module.__file__).read_text()))
    return sorted(symbol for symbol in symbols if function(symbol) is None), []


# --- products ---------------------------------------------------------------------------------------------------------


@triton.jit
def product(a_ptr, b_ptr, y_ptr, PRECISION: tl.constexpr, OUT: tl.constexpr):
    i, j = tl.arange(0, 32)[:, None], tl.arange(0, 32)[None, :]
    c = tl.dot(tl.load(a_ptr + i * 32 + j), tl.load(b_ptr + i * 32 + j), input_precision=PRECISION, out_dtype=OUT)
    tl.store(y_ptr + i * 32 + j, c)


def tf32(x):
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def cut_tf32(x):
    return (x.view(torch.int32) & ~0x1FFF).view(torch.float32)


def products(dtype, precision=None, out=tl.float32, dtype_out=torch.float32):
    a, b = ((torch.randn(32, 32) * 20).to(dtype) for _ in range(2))
    made = torch.zeros(32, 32, dtype=dtype_out)
    product[(1,)](a, b, made, PRECISION=precision, OUT=out)
    return a, b, made


@row
def a_product_of_float32_is_tf32():
    a, b, made = products(torch.float32)
    assert (made - a @ b).abs().max() > 0.01
    return made, cut_tf32(a) @ cut_tf32(b)


@row
def a_product_of_float32_is_tf32_in_so_many_words():
    a, b, made = products(torch.float32, "tf32")
    return made, cut_tf32(a) @ cut_tf32(b)


@row
def a_product_of_float32_in_ieee():
    a, b, made = products(torch.float32, "ieee")
    return made, a @ b


@row
def a_product_of_float32_in_tf32x3():
    a, b, made = products(torch.float32, "tf32x3")
    return made, a @ b


@row
def a_product_of_int8():
    a, b, made = products(torch.int8, None, tl.int32, torch.int32)
    return made, a.int() @ b.int()


@row
def a_product_of_eight_bit_floats():
    a, b, made = products(torch.float8_e4m3fn)
    return made, a.float() @ b.float()


@row
def a_product_with_a_float16_result():
    a, b, made = products(torch.float16, None, tl.float16, torch.float16)
    return made, (a.float() @ b.float()).half()


@triton.jit
def scaled(a_ptr, s_ptr, b_ptr, t_ptr, y_ptr):
    i, j = tl.arange(0, 128)[:, None], tl.arange(0, 64)[None, :]
    a, b = tl.load(a_ptr + i * 64 + j), tl.load(b_ptr + tl.arange(0, 64)[:, None] * 128 + tl.arange(0, 128)[None, :])
    s = tl.load(s_ptr + i * 2 + tl.arange(0, 2)[None, :])
    t = tl.load(t_ptr + i * 2 + tl.arange(0, 2)[None, :])
    c = tl.dot_scaled(a, s, "e4m3", b, t, "e4m3")
    tl.store(y_ptr + i * 128 + tl.arange(0, 128)[None, :], c)


@row
def a_product_of_scaled_operands():
    a, b = normal(128, 64, dtype=torch.float8_e4m3fn), normal(64, 128, dtype=torch.float8_e4m3fn)
    s, t = (torch.randint(125, 130, (128, 2), dtype=torch.uint8) for _ in range(2))
    made = torch.zeros(128, 128)
    scaled[(1,)](a, s, b, t, made)
    left = a.float() * (2.0 ** (s.float() - 127)).repeat_interleave(32, 1)
    right = b.float() * (2.0 ** (t.float() - 127)).repeat_interleave(32, 1).T
    return made, left @ right


# --- blocks -----------------------------------------------------------------------------------------------------------


@triton.jit
def shapes(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    even, odd = tl.split(tl.reshape(x, (32, 2)))
    again = tl.interleave(odd, even)
    flipped = tl.flip(x, 0)
    grid = tl.trans(tl.reshape(x, (8, 8)))
    cube = tl.permute(tl.reshape(x, (4, 4, 4)), (2, 0, 1))
    index = tl.gather(x, 63 - at, 0)
    total = again + flipped * 2 + tl.ravel(grid) * 4 + tl.reshape(cube, (64,)) * 8 + index * 16
    tl.store(y_ptr + at, total + tl.reshape(tl.join(even, odd), (64,)) * 32 + tl.cat(even, even, can_reorder=True) * 0)


@row
def shape_operations():
    x = normal()
    swapped = x.reshape(32, 2).flip(1).reshape(-1)
    want = swapped + x.flip(0) * 2 + x.reshape(8, 8).T.reshape(-1) * 4
    want = want + x.reshape(4, 4, 4).permute(2, 0, 1).reshape(-1) * 8 + x.flip(0) * 16 + x * 32
    return launch(shapes, x), want


@triton.jit
def reductions(x_ptr, y_ptr):
    i, j = tl.arange(0, 8)[:, None], tl.arange(0, 8)[None, :]
    x = tl.load(x_ptr + i * 8 + j)
    rows = tl.arange(0, 8)
    tl.store(y_ptr + rows, tl.sum(x, 1))
    tl.store(y_ptr + 8 + rows, tl.max(x, 0))
    tl.store(y_ptr + 16 + rows, tl.argmax(x, 1).to(tl.float32))
    tl.store(y_ptr + 24 + rows, tl.min(x, 1, keep_dims=True).reshape(8))
    tl.store(y_ptr + 32 + rows, tl.argmin(x, 0).to(tl.float32))
    tl.store(y_ptr + 40, tl.sum(x))
    tl.store(y_ptr + 41, tl.xor_sum(tl.arange(0, 8), 0).to(tl.float32))
    value, index = tl.max(x, 1, return_indices=True)
    tl.store(y_ptr + 42 + rows, value + index)


@row
def reductions_of_the_language():
    x = torch.randint(0, 5, (8, 8)).float()  # with ties: the first one counts
    top = x.max(1).values
    first = torch.stack([(line == line.max()).nonzero()[0, 0] for line in x]).float()
    low = torch.stack([(line == line.min()).nonzero()[0, 0] for line in x.T]).float()
    want = [x.sum(1), x.max(0).values, first, x.min(1).values, low, x.sum()[None], torch.tensor([0.0]), top + first]
    return launch(reductions, x, size=50), torch.cat(want)


@triton.jit
def welford(mean, m2, weight, other_mean, other_m2, other_weight):
    total = weight + other_weight
    delta = other_mean - mean
    ratio = tl.where(total == 0.0, 0.0, other_weight / total)
    return mean + delta * ratio, m2 + other_m2 + delta * delta * weight * ratio, total


@triton.jit
def custom_reduction(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    mean, m2, weight = tl.reduce((x, tl.zeros_like(x), tl.full((64,), 1.0, tl.float32)), 0, welford)
    tl.store(y_ptr, mean)
    tl.store(y_ptr + 1, m2 / weight)


@row
def a_reduction_of_tuples():
    x = normal()
    return launch(custom_reduction, x, size=2), torch.stack([x.mean(), x.var(unbiased=False)])


@triton.jit
def combine(a, b, c, d):
    return a * c, b * c + d


@triton.jit
def scans(x_ptr, y_ptr):
    at = tl.arange(0, 16)
    x = tl.load(x_ptr + at)
    tl.store(y_ptr + at, tl.cumsum(x, 0))
    tl.store(y_ptr + 16 + at, tl.cumsum(x, 0, reverse=True))
    tl.store(y_ptr + 32 + at, tl.cumprod(x, 0))
    _, state = tl.associative_scan((x * 0 + 0.5, x), 0, combine)
    tl.store(y_ptr + 48 + at, state)


@row
def scans_and_a_scan_of_tuples():
    x = normal(16)
    states, state = [], torch.tensor(0.0)
    for value in x:
        state = state * 0.5 + value
        states.append(state)
    want = [x.cumsum(0), x.flip(0).cumsum(0).flip(0), x.cumprod(0), torch.stack(states)]
    return launch(scans, x), torch.cat(want)


@triton.jit
def sorts(x_ptr, y_ptr):
    at = tl.arange(0, 32)
    x = tl.load(x_ptr + at)
    tl.store(y_ptr + at, tl.sort(x))
    tl.store(y_ptr + 32 + tl.arange(0, 8), tl.topk(x, 8))
    counts = tl.histogram((tl.abs(x) * 2).to(tl.int32), 8)
    tl.store(y_ptr + 40 + tl.arange(0, 8), counts.to(tl.float32))


@row
def sorting_and_counting():
    x = normal(32).clamp(-3.9, 3.9)
    counts = torch.bincount((x.abs() * 2).int(), minlength=8).float()
    want = torch.cat([x.sort().values, x.sort(descending=True).values[:8], counts])
    return launch(sorts, x, size=48), want


@triton.jit
def randoms(seed, y_ptr):
    at = tl.arange(0, 64)
    a = tl.rand(seed, at)
    tl.store(y_ptr + at, a)
    n = tl.randn(seed, at)
    tl.store(y_ptr + 64 + at, n)


@row
def random_numbers():
    made = launch(randoms, 42, size=128)
    uniform, gauss = made[:64], made[64:]
    fair = bool(((uniform >= 0) & (uniform < 1)).all()) and abs(uniform.mean() - 0.5) < 0.15 and abs(gauss.mean()) < 0.5
    return [fair, round(float(uniform[0]), 4)], [True, round(first_uniform(42), 4)]


def first_uniform(seed):
    """Compute Philox 4x32-10 for offset 0, as Random123 defines it."""
    mask = 0xFFFFFFFF
    c, k = [0, 0, 0, 0], [seed & mask, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & mask, (a >> 32) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    value = c[0] - 2**32 if c[0] >= 2**31 else c[0]
    return (-value - 1 if value < 0 else value) * 4.6566127342e-10


@triton.jit
def selu(x):
    if x > 0:
        return x * 1.5
    else:
        return tl.exp(x) - 1


@triton.jit
def elementwise(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    tl.store(y_ptr + at, tl.map_elementwise(selu, tl.load(x_ptr + at)))


@row
def a_function_mapped_over_elements():
    x = normal()
    return launch(elementwise, x), torch.where(x > 0, x * 1.5, x.exp() - 1)


# --- memory -----------------------------------------------------------------------------------------------------------


@triton.jit
def padded(x_ptr, y_ptr):
    block = tl.make_block_ptr(x_ptr, (6, 10), (10, 1), (4, 8), (4, 4), (1, 0))
    x = tl.load(block, boundary_check=(0, 1), padding_option="zero")
    back = tl.load(tl.advance(block, (-4, -8)), boundary_check=(0, 1), padding_option="zero")
    i, j = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    tl.store(y_ptr + i * 4 + j, x)
    tl.store(y_ptr + 16 + i * 4 + j, back)
    out = tl.make_block_ptr(y_ptr + 32, (3, 3), (4, 1), (0, 0), (4, 4), (1, 0))
    tl.store(out, back, boundary_check=(0, 1))


@row
def block_pointers_with_padding():
    x = normal(6, 10)
    corner = torch.zeros(4, 4)
    corner[:2, :2] = x[4:, 8:]
    kept = torch.full((4, 4), 77.0)
    kept[:3, :3] = x[:3, :3]
    return launch(padded, x, size=48), torch.cat([corner.reshape(-1), x[:4, :4].reshape(-1), kept.reshape(-1)])


@triton.jit
def descriptors(desc, x_ptr, y_ptr):
    here = tl.make_tensor_descriptor(x_ptr, [6, 8], [8, 1], [4, 8], padding_option="nan")
    i, j = tl.arange(0, 4)[:, None], tl.arange(0, 8)[None, :]
    tl.store(y_ptr + i * 8 + j, desc.load([4, 0]))
    tl.store(y_ptr + 32 + i * 8 + j, here.load([4, 0]))
    out = tl.make_tensor_descriptor(y_ptr + 64, [3, 8], [8, 1], [4, 8])
    out.store([0, 0], desc.load([0, 0]))


@row
def tensor_descriptors_of_host_and_device():
    x = normal(6, 8)
    out = torch.full((96,), 77.0)
    descriptors[(1,)](TensorDescriptor.from_tensor(x, [4, 8]), x, out)
    rest = torch.zeros(4, 8)
    rest[:2] = x[4:]
    nan = rest.clone()
    nan[2:] = float("nan")
    want = [rest.reshape(-1), nan.reshape(-1), x[:3].reshape(-1), torch.full((8,), 77.0)]
    return out, torch.cat(want)


@triton.jit
def atomics(x_ptr, n_ptr, y_ptr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    tl.atomic_add(y_ptr + at % 8, x, sem="relaxed", mask=at < 60)
    before = tl.atomic_max(n_ptr + tl.arange(0, 2), tl.arange(0, 2) * 9)
    tl.atomic_min(n_ptr + 2, 3, scope="cta")
    tl.atomic_or(n_ptr + 3, 6)
    old = tl.atomic_cas(n_ptr + 4, 5, 50)
    tl.atomic_xchg(n_ptr + 5, old)
    tl.atomic_add(n_ptr + 6, tl.sum(before))


@row
def atomic_operations():
    rows = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x, out = torch.randint(-3, 4, (N,)).to(dtype), torch.zeros(8, dtype=dtype)
        numbers = torch.tensor([5, 5, 5, 5, 5, 5, 5], dtype=torch.int32)
        atomics[(1,)](x, numbers, out)
        sums = torch.stack([x[k:60:8].float().sum() for k in range(8)])
        rows.append(
            (torch.cat([out.float(), numbers.float()]), torch.cat([sums, torch.tensor([5.0, 9, 3, 7, 50, 5, 15])]))
        )
    return torch.stack([one for one, _ in rows]), torch.stack([other for _, other in rows])


@triton.jit
def odd_loads(x_ptr, flags_ptr, y_ptr):
    at = tl.arange(0, 64)
    flags = tl.load(flags_ptr + at)
    x = tl.load(x_ptr + 63 - at, mask=at < 32, other=3.0)
    wide = (at.to(tl.int64) - 2**40) + 2**40
    tl.store(y_ptr + wide, tl.where(flags, x.to(tl.float32), -1.0))
    tl.store(flags_ptr + at, at % 2 == 0)


@row
def truth_values_and_negative_strides():
    x, flags, out = normal(dtype=torch.float8_e5m2), torch.arange(N) % 3 == 0, torch.zeros(N)
    before = flags.clone()
    odd_loads[(1,)](x, flags, out)
    wide = torch.where(torch.arange(N) < 32, x.float().flip(0), torch.tensor(3.0))
    want = torch.where(before, wide, torch.tensor(-1.0))
    return torch.cat([out, flags.float()]), torch.cat([want, (torch.arange(N) % 2 == 0).float()])


@triton.jit
def rows_by_index(desc, out_desc, index_ptr):
    rows = desc.gather(tl.load(index_ptr + tl.arange(0, 8)), 0)
    out_desc.scatter(rows * 2, tl.arange(0, 8), 0)


@row
def descriptors_gather_and_scatter():
    x, out, index = normal(20, 16), torch.zeros(8, 16), torch.tensor([3, 5, 7, 1, 0, 19, 2, 2], dtype=torch.int32)
    rows_by_index[(1,)](TensorDescriptor.from_tensor(x, [1, 16]), TensorDescriptor.from_tensor(out, [1, 16]), index)
    return out, x[index.long()] * 2


@triton.jit
def add_block(desc, x_ptr):
    at = tl.arange(0, 8)[:, None] * 16 + tl.arange(0, 16)[None, :]
    desc.atomic_add([0, 0], tl.load(x_ptr + at))


@row
def descriptors_add_atomically():
    total, x = normal(6, 16), normal(8, 16)
    want = total + x[:6]
    add_block[(1,)](TensorDescriptor.from_tensor(total, [8, 16]), x)
    return total, want


@triton.jit
def scalars(x_ptr, y_ptr, flag, f, h, n: tl.int64, m: "tl.int32", k: tl.uint32):
    y = f + h if flag else f - h
    tl.store(y_ptr, y + n + m + k)
    tl.store(y_ptr + 1, tl.load(x_ptr.to(tl.pointer_type(tl.int32), bitcast=True)).to(tl.float32, bitcast=True))


@row
def scalar_arguments_and_pointer_casts():
    x, out = normal(), torch.zeros(2)
    scalars[(1,)](x, out, True, 1.5, 2, 7, 3, 4)
    return out, torch.stack([torch.tensor(17.5), x[0]])


@triton.jit
def batched_product(a_ptr, b_ptr, y_ptr):
    at = tl.arange(0, 2)[:, None, None] * 256 + tl.arange(0, 16)[None, :, None] * 16 + tl.arange(0, 16)[None, None, :]
    tl.store(y_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at), allow_tf32=False))


@row
def a_batch_of_products():
    a, b = normal(2, 16, 16), normal(2, 16, 16)
    return launch(batched_product, a, b, like=a), a @ b


# --- inline assembly --------------------------------------------------------------------------------------------------


@triton.jit
def one_operand(x_ptr, y_ptr, TEXT: tl.constexpr, CONSTRAINTS: tl.constexpr, PACK: tl.constexpr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    tl.store(
        y_ptr + at, tl.inline_asm_elementwise(TEXT, CONSTRAINTS, [x], y_ptr.dtype.element_ty, is_pure=True, pack=PACK)
    )


@triton.jit
def two_operands(x_ptr, z_ptr, y_ptr, TEXT: tl.constexpr, CONSTRAINTS: tl.constexpr, PACK: tl.constexpr):
    at = tl.arange(0, 64)
    x, z = tl.load(x_ptr + at), tl.load(z_ptr + at)
    tl.store(
        y_ptr + at,
        tl.inline_asm_elementwise(TEXT, CONSTRAINTS, [x, z], y_ptr.dtype.element_ty, is_pure=True, pack=PACK),
    )


def asm_row(name, text, constraints, function, dtype=torch.float32, pack=1, operands=1):
    def check():
        values = [normal(dtype=dtype) if dtype.is_floating_point else torch.randint(-9999, 9999, (N,)).to(dtype)
                  for _ in range(operands)]  # fmt: skip
        want = function(*values)
        out = torch.zeros(N, dtype=want.dtype)
        (one_operand if operands == 1 else two_operands)[(1,)](
            *values, out, TEXT=text, CONSTRAINTS=constraints, PACK=pack
        )
        return out, want

    ROWS[f"assembly: {name}"] = check


asm_row("ex2.approx", "ex2.approx.ftz.f32 $0, $1;", "=f,f", torch.exp2)
asm_row("tanh.approx", "tanh.approx.f32 $0, $1;", "=f,f", torch.tanh)
asm_row("rcp.approx", "rcp.approx.ftz.f32 $0, $1;", "=f,f", torch.reciprocal)
asm_row("mov", "mov.b32 $0, $1;", "=r,r", lambda x: x)
asm_row("fma", "fma.rn.f32 $0, $1, $2, $2;", "=f,f,f", lambda x, z: x * z + z, operands=2)
asm_row("add.f16x2", "add.f16x2 $0, $1, $2;", "=r,r,r", lambda x, z: x + z, torch.float16, 2, 2)
asm_row("lop3", "lop3.b32 $0, $1, $2, $2, 0xC0;", "=r,r,r", lambda x, z: x & z, torch.int32, 1, 2)
asm_row("shifts in a scope", "{ .reg .b32 t; shl.b32 t, $1, 3; shr.u32 $0, t, 1; }", "=r,r",
        lambda x: (((x.long() << 3) & 0xFFFFFFFF) >> 1).int(), torch.int32)  # fmt: skip
asm_row("bfe", "bfe.u32 $0, $1, 4, 5;", "=r,r", lambda x: (x >> 4) & 31, torch.int32)
asm_row(
    "mul.hi", "mul.hi.s32 $0, $1, $2;", "=r,r,r", lambda x, z: ((x.long() * z.long()) >> 32).int(), torch.int32, 1, 2
)
asm_row("predicates", "{ .reg .pred p; setp.gt.s32 p, $1, $2; selp.s32 $0, $1, $2, p; }", "=r,r,r", torch.maximum,
        torch.int32, 1, 2)  # fmt: skip
asm_row("cvt.rn.bf16x2", "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,r,r", lambda x: x.bfloat16(), torch.float32, 2)
asm_row("cvt.rna.tf32", "cvt.rna.tf32.f32 $0, $1;", "=r,f", tf32)
asm_row("prmt", "prmt.b32 $0, $1, $1, 0x0123;", "=r,r",
        lambda x: x.view(torch.uint8).reshape(-1, 4).flip(1).reshape(-1).contiguous().view(torch.int32),
        torch.int32)  # fmt: skip


# --- the language that the interpreter must refuse --------------------------------------------------------------------


@triton.jit
def clock(x_ptr, y_ptr):
    now = tl.inline_asm_elementwise("mov.u64 $0, %globaltimer;", "=l", [], tl.int64, is_pure=False, pack=1)
    tl.store(y_ptr, now.to(tl.float32))


@triton.jit
def branch_on_block(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    x = tl.load(x_ptr + at)
    if x > 0:
        tl.store(y_ptr + at, x)


@triton.jit
def chained(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    tl.store(y_ptr + at, (0 < at < 5).to(tl.float32))


@triton.jit
def atomic_by_assembly(x_ptr, y_ptr):
    at = tl.arange(0, 64)
    y = tl.inline_asm_elementwise("ld.global.b32 $0, [$1];", "=r,l", [x_ptr + at], tl.float32, is_pure=False, pack=1)
    tl.store(y_ptr + at, y)


def refusal(kernel, words):
    def check():
        try:
            launch(kernel, normal())
        except Exception as error:  # noqa: BLE001 - whatever refuses it
            return words in str(error), True
        return "not refused", True

    ROWS[f"refused: {kernel.fn.__name__}"] = check


refusal(clock, "%globaltimer")
refusal(atomic_by_assembly, "ld.global.b32")
refusal(branch_on_block, "ambiguous")
refusal(chained, "multiple comparison")


def main():
    """Run every row and print, by name, what is wrong with it."""
    from kopt.device.interpret import facade
    from kopt.device.interpret import launch as launches
    from kopt.device.interpret.session import Session

    session = Session()
    launches.install(session)
    facade.install(session)
    print(json.dumps({name: fault(check) for name, check in ROWS.items() if name in sys.argv[1:] or len(sys.argv) < 2}))


def fault(check):
    """Return what is wrong with a row; empty for nothing."""
    try:
        made, wanted = check()
    except Exception as error:  # noqa: BLE001 - the fault of this row alone
        return f"{type(error).__name__}: {error}"[-1500:]
    if not isinstance(made, torch.Tensor):
        return "" if made == wanted else f"{made} instead of {wanted}"
    made, wanted = made.double(), wanted.double()
    if torch.allclose(made, wanted, rtol=1e-4, atol=1e-4, equal_nan=True):
        return ""
    wrong = ~torch.isclose(made, wanted, rtol=1e-4, atol=1e-4, equal_nan=True)
    return f"{int(wrong.sum())} wrong: {made[wrong][:8].tolist()} instead of {wanted[wrong][:8].tolist()}"


if __name__ == "__main__":
    main()
