"""Kernels whose structure the tests change as a whole: pooling, products side by side, statistics over channels."""

from pathlib import Path

from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload
from tests.rewrite.samples import PRODUCT, ROOT, product_problem

HEAD = """\
import torch
import triton
import triton.language as tl


"""
FLAT = Path(__file__).with_name("flat_pooling.py").read_text()
POOLED = """

def kernel_function(x):
    return {call}
"""

CHANNEL_SOFTMAX = (
    HEAD
    + """\
@triton.jit
def channel_softmax_kernel(x_ptr, y_ptr, channels, positions, BLOCK: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < positions
    start = image * channels * positions
    largest = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    for c in range(channels):
        x = tl.load(x_ptr + start + c * positions + place, mask=inside, other=float("-inf"))
        largest = tl.maximum(largest, x.to(tl.float32))
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for c in range(channels):
        x = tl.load(x_ptr + start + c * positions + place, mask=inside, other=0.0).to(tl.float32)
        total += tl.exp(x - largest)
    for c in range(channels):
        x = tl.load(x_ptr + start + c * positions + place, mask=inside, other=0.0).to(tl.float32)
        y = tl.exp(x - largest) / total
        tl.store(y_ptr + start + c * positions + place, y.to(y_ptr.dtype.element_ty), mask=inside)


def kernel_function(x):
    images, channels, positions = x.shape
    y = torch.empty_like(x)
    BLOCK = 32
    grid = (triton.cdiv(positions, BLOCK), images)
    channel_softmax_kernel[grid](x, y, channels, positions, BLOCK=BLOCK, num_warps=2)
    return y
"""
)

CHANNEL_SPREAD = (
    HEAD
    + """\
@triton.jit
def channel_spread_kernel(x_ptr, y_ptr, channels, positions, BLOCK: tl.constexpr):
    image = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < positions
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for c in range(0, channels):
        x = tl.load(x_ptr + (image * channels + c) * positions + place, mask=inside, other=0.0)
        total += x.to(tl.float32)
    mean = total / channels
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for c in range(0, channels):
        x = tl.load(x_ptr + (image * channels + c) * positions + place, mask=inside, other=0.0)
        centred = x.to(tl.float32) - mean
        squares += centred * centred
    y = tl.sqrt(squares / channels)
    tl.store(y_ptr + image * positions + place, y.to(y_ptr.dtype.element_ty), mask=inside)


def kernel_function(x):
    images, channels, positions = x.shape
    y = torch.empty((images, positions), dtype=x.dtype, device=x.device)
    BLOCK = 64
    channel_spread_kernel[(images, triton.cdiv(positions, BLOCK))](x, y, channels, positions, BLOCK=BLOCK)
    return y
"""
)

TWIN = (
    HEAD
    + """\
@triton.jit
def twin_kernel(
    x_ptr, a_ptr, b_ptr, y_ptr, M, N, K, stride_a, step_a, stride_b, step_b,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    rows = tl.program_id(1) * BM + tl.arange(0, BM)
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    first = tl.zeros((BM, BN), dtype=tl.float32)
    second = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        depth = k + tl.arange(0, BK)
        x = tl.load(x_ptr + rows[:, None] * K + depth[None, :],
                    mask=(rows[:, None] < M) & (depth[None, :] < K), other=0.0)
        a = tl.load(a_ptr + depth[:, None] * step_a + columns[None, :] * stride_a,
                    mask=(depth[:, None] < K) & (columns[None, :] < N), other=0.0)
        b = tl.load(b_ptr + depth[:, None] * step_b + columns[None, :] * stride_b,
                    mask=(depth[:, None] < K) & (columns[None, :] < N), other=0.0)
        first += tl.dot(x, a)
        second += tl.dot(x, b)
    y = tl.maximum(first, 0.0) * second
    tl.store(y_ptr + rows[:, None] * N + columns[None, :], y.to(y_ptr.dtype.element_ty),
             mask=(rows[:, None] < M) & (columns[None, :] < N))


def kernel_function(x, a, b):
    M, K = x.shape
    N = b.shape[0]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    BM, BN = 32, 16
    twin_kernel[(triton.cdiv(N, BN), triton.cdiv(M, BM))](
        x, a, b, y, M, N, K, a.stride(1), a.stride(0), b.stride(0), b.stride(1), BM=BM, BN=BN, BK=32
    )
    return y
"""
)

ONLINE = (
    "from triton.language.extra import libdevice\n"
    + HEAD
    + """\
@triton.jit
def promote_to_tensor(x):
    return x + tl.zeros((1,), tl.int1)


@triton.jit
def is_floating(x):
    return promote_to_tensor(x).dtype.is_floating()


@triton.jit
def maximum(a, b):
    mask = a > b
    if is_floating(a):
        mask |= a != a
    return tl.where(mask, a, b)


@triton.jit
def max2(a, dim):
    return tl.reduce(a, dim, maximum)


@triton.jit
def softmax_prepare_online_kernel(x_ptr, output_ptr, d, b, XBLOCK: tl.constexpr, R0_BLOCK: tl.constexpr):
    xoffset = tl.program_id(0) * XBLOCK
    xindex = xoffset + tl.arange(0, XBLOCK)[:, None]
    xmask = xindex < b
    r0_base = tl.arange(0, R0_BLOCK)[None, :]
    x0 = xindex
    _tmp2 = tl.full([XBLOCK, R0_BLOCK], float('-inf'), tl.float32)
    for r0_offset in tl.range(0, d, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < d
        r0_1 = r0_index
        tmp0 = tl.load(x_ptr + (r0_1 + d * x0), r0_mask & xmask, eviction_policy='evict_last', other=0.0)
        tmp1 = tl.broadcast_to(tmp0, [XBLOCK, R0_BLOCK])
        tmp3 = maximum(_tmp2, tmp1)
        _tmp2 = tl.where(r0_mask & xmask, tmp3, _tmp2)
    tmp2 = max2(_tmp2, 1)[:, None]
    _tmp8 = tl.full([XBLOCK, R0_BLOCK], 0, tl.float32)
    for r0_offset in tl.range(0, d, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < d
        r0_1 = r0_index
        tmp4 = tl.load(x_ptr + (r0_1 + d * x0), r0_mask & xmask, eviction_policy='evict_last', other=0.0)
        tmp5 = tmp4 - tmp2
        tmp6 = libdevice.exp(tmp5)
        tmp7 = tl.broadcast_to(tmp6, [XBLOCK, R0_BLOCK])
        tmp9 = _tmp8 + tmp7
        _tmp8 = tl.where(r0_mask & xmask, tmp9, _tmp8)
    tmp8 = tl.sum(_tmp8, 1)[:, None]
    for r0_offset in tl.range(0, d, R0_BLOCK):
        r0_index = r0_offset + r0_base
        r0_mask = r0_index < d
        r0_1 = r0_index
        tmp10 = tl.load(x_ptr + (r0_1 + d * x0), r0_mask & xmask, eviction_policy='evict_first', other=0.0)
        tmp11 = tmp10 - tmp2
        tmp12 = libdevice.exp(tmp11)
        tmp13 = tmp12 / tmp8
        tl.store(output_ptr + (r0_1 + d * x0), tmp13, r0_mask & xmask)


def kernel_function(x):
    b = x.shape[0]
    d = x.shape[1]
    output = torch.empty((b, d), dtype=x.dtype, device=x.device)
    grid = lambda META: (triton.cdiv(b, META['XBLOCK']),)
    softmax_prepare_online_kernel[grid](
        x, output, d, b, XBLOCK=1, R0_BLOCK=128, num_warps=4, num_stages=1
    )
    return output
"""
)

STORED_ROW = (
    HEAD
    + """\
@triton.jit
def stored_row_kernel(x_ptr, r_ptr, h_ptr, w_ptr, y_ptr, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offs = tl.arange(0, BLOCK)
    mask = offs < columns
    place = row * columns + offs
    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(tl.float32)
    r = tl.load(r_ptr + place, mask=mask, other=0.0).to(tl.float32)
    tl.store(h_ptr + place, x + r, mask=mask)
    h = tl.load(h_ptr + place, mask=mask, other=0.0).to(tl.float32)
    norm = tl.sqrt(tl.sum(h * h, axis=0) / columns + 1e-5)
    tl.store(w_ptr + place, h / norm, mask=mask)
    again = tl.load(h_ptr + (row * columns + offs), mask=mask, other=0.0).to(tl.float32)
    y = again - tl.load(w_ptr + place, mask=mask, other=0.0)
    tl.store(y_ptr + row * columns + offs, y.to(y_ptr.dtype.element_ty), mask=mask)


def kernel_function(x, r):
    rows, columns = x.shape
    h = torch.empty_like(x)
    w = torch.empty(h.shape, dtype=h.dtype, device=h.device)
    y = torch.empty_like(x)
    stored_row_kernel[(rows,)](x, r, h, w, y, columns, BLOCK=triton.next_power_of_2(columns))
    return h, y
"""
)

TWO_LAUNCHES = (
    (ROOT / "benchmarks/moves/add_norm.py")
    .read_text()
    .replace("BLOCK=2048", "BLOCK=128")
    .replace("BLOCK=1024", "BLOCK=64")
)
"""An addition and a normalisation of its rows, each in a launch."""
REFERENCE = """\
import torch
from torch import nn
from torch.nn import functional

{sizes}


class Model(nn.Module):
    def forward(self, {names}):
        return {result}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
"""


def problem(name: str, source: str, names: str, inputs: str, result: str, *workloads: dict[str, int]) -> Problem:
    """Make a problem of a kernel, with its small workloads; the first one is also the main workload."""
    sizes = "\n".join(f"{key} = {value}" for key, value in workloads[0].items())
    return Problem(
        name=name, seed=Kernel(source=source), dtype=Dtype.BFLOAT16,
        reference=REFERENCE.format(sizes=sizes, names=names, result=result, inputs=inputs),
        main=(Workload(name="main"),),
        small=tuple(Workload(name=f"small{n}", constants=constants) for n, constants in enumerate(workloads)),
    )  # fmt: skip


def _pool(name: str, call: str, result: str, *shapes: tuple[int, ...]) -> Problem:
    letters = {3: "NCW", 4: "NCHW", 5: "NCDHW"}[len(shapes[0])]
    workloads = [dict(zip(letters, shape, strict=True)) for shape in shapes]
    source = FLAT + POOLED.format(call=call)
    return problem(name, source, "x", f"torch.randn({', '.join(letters)})", result, *workloads)


EXACT = (
    PRODUCT.replace("product_kernel", "exact_kernel")
    .replace("    pid_m =", "    ALLOW_TF32: tl.constexpr = False\n    pid_m =")
    .replace("tl.dot(a, b)", "tl.dot(a, b, allow_tf32=ALLOW_TF32)")
)
"""A product of float32 numbers, as TorchInductor writes it where PyTorch does not permit TF32."""


def problems() -> dict[str, Problem]:
    """Problems by name."""
    channels = ({"N": 2, "C": 16, "P": 40}, {"N": 3, "C": 11, "P": 37})
    found = [
        _pool("max_wide_padding", "max_pool(x, [5, 4], [1, 2], [2, 2], [1, 1], False)",
              "functional.max_pool2d(x, (5, 4), (1, 2), (2, 2))", (1, 3, 9, 16), (2, 1, 7, 11)),
        _pool("max_dilated", "max_pool(x, [3], [4], [1], [5], False)",
              "functional.max_pool1d(x, 3, 4, 1, 5)", (2, 3, 64), (1, 2, 45)),
        _pool("max_stride_three", "max_pool(x, [2, 3], [3, 3], [0, 1], [1, 1], False)",
              "functional.max_pool2d(x, (2, 3), 3, (0, 1))", (2, 2, 9, 24), (1, 3, 8, 13)),
        _pool("max_deep", "max_pool(x, [3, 3, 3], [2, 2, 2], [1, 1, 1], [3, 3, 3], False)",
              "functional.max_pool3d(x, 3, 2, 1, 3)", (1, 2, 10, 9, 16), (1, 1, 8, 11, 13)),
        _pool("average_padded", "average_pool(x, [3, 3], [1, 1], [1, 1], False, True, None)",
              "functional.avg_pool2d(x, 3, 1, 1)", (1, 2, 8, 16), (2, 1, 7, 9)),
        _pool("average_inner", "average_pool(x, [4], [2], [2], False, False, None)",
              "functional.avg_pool1d(x, 4, 2, 2, count_include_pad=False)", (2, 2, 32), (1, 3, 27)),
        _pool("average_long", "average_pool(x, [11, 11], [11, 11], [0, 0], False, True, None)",
              "functional.avg_pool2d(x, 11)", (1, 2, 24, 64), (1, 1, 23, 37)),
        problem("channel_softmax", CHANNEL_SOFTMAX, "x", "torch.randn(N, C, P)", "torch.softmax(x, 1)", *channels),
        problem("channel_spread", CHANNEL_SPREAD, "x", "torch.randn(N, C, P)",
                "torch.std(x.float(), 1, unbiased=False).to(x.dtype)", *channels),
        problem("online", ONLINE, "x", "torch.randn(B, D)", "torch.softmax(x, 1)", {"B": 6, "D": 512},
                {"B": 3, "D": 300}),
        problem("stored_row", STORED_ROW, "x, r", "torch.randn(B, D), torch.randn(B, D)",
                "((h := x + r), h - h * torch.rsqrt(h.float().pow(2).mean(1, keepdim=True) + 1e-5).to(x.dtype))",
                {"B": 4, "D": 128}, {"B": 3, "D": 75}),
        problem("two_launches", TWO_LAUNCHES, "x, r, w", "torch.randn(B, D), torch.randn(B, D), torch.randn(D)",
                "((h := (x + r).float()) * torch.rsqrt(h.pow(2).mean(1, keepdim=True) + 1e-5) * w).to(x.dtype)",
                {"B": 4, "D": 256}, {"B": 3, "D": 75}),
        problem("twin", TWIN, "x, a, b", "torch.randn(M, K), torch.randn(K, N), torch.randn(N, K)",
                "torch.relu(x @ a) * (x @ b.T)", {"M": 64, "N": 48, "K": 64}, {"M": 37, "N": 21, "K": 75}),
    ]  # fmt: skip
    exact = product_problem("exact", EXACT, 64).model_copy(update={"dtype": Dtype.FLOAT32})
    return {each.name: each for each in (*found, exact)}
