"""Templates give what PyTorch gives, in Triton's own interpreter, for strides, dilations and groups of all kinds."""

import os
import subprocess
import sys

import pytest
import triton
import yaml

from kopt.device.build.build import BuildJob, build_all
from kopt.model.build import Built
from kopt.model.device import Device
from kopt.rewrite.effects import wide_load_share
from kopt.store import Store
from tests.rewrite.more_samples import POOLED as CALL
from tests.rewrite.more_samples import problem
from tests.rewrite.samples import ROOT

OLD = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 7)
TRANSPOSED = """
import torch
import triton.runtime.interpreter  # in whose eyes the CPU is a device
from kopt.seed.templates.convolution_transpose import convolution_transpose

torch.manual_seed(0)
for n, kernel, stride, padding, extra, dilation, groups in [
    (1, [3], [1], [0], [0], [1], 1),
    (1, [2], [4], [0], [1], [1], 1),          # residues that no tap hits
    (1, [5], [3], [2], [2], [2], 2),
    (1, [4], [6], [3], [0], [4], 1),          # two in three residues that no tap hits, one tap in three that hits
    (2, [3, 5], [1, 2], [1, 0], [0, 1], [1, 1], 3),
    (2, [3, 3], [2, 2], [1, 1], [1, 1], [2, 2], 1),
    (2, [2, 3], [5, 3], [1, 2], [0, 2], [3, 1], 1),
    (3, [2, 3, 2], [2, 1, 3], [1, 1, 0], [0, 0, 1], [1, 2, 1], 2),
    (1, [50], [2], [1], [0], [1], 1),         # residues along the last axis one by one
    (2, [3, 30], [2, 2], [1, 3], [1, 0], [1, 2], 1),
]:
    channels, made = 3 * groups, 2 * groups
    x = torch.randn(2, channels, *[4, 3, 5][:n])
    weight = torch.randn(channels, made // groups, *kernel)
    given = (stride, padding, extra, dilation, groups)
    function = getattr(torch.nn.functional, f"conv_transpose{n}d")
    right = function(x, weight, None, stride, padding, extra, groups, dilation)
    torch.testing.assert_close(convolution_transpose(x, weight, *given), right, rtol=1e-4, atol=1e-4)
print("right")
"""
PAIRED = """
import torch
import triton.runtime.interpreter
from kopt.seed.templates import convolution_transpose as template

torch.manual_seed(0)
template.PAIRED_PIXELS = 0
zeros, laid = torch.Tensor.new_zeros, []
torch.Tensor.new_zeros = lambda *args, **kwargs: laid.append(args[1]) or zeros(*args, **kwargs)
for size, kernel, padding, extra, groups, pairs in [
    ([260], [5], [0], [0], 1, True),
    ([260], [5], [3], [0], 2, True),          # neighbours of the first and the last pixel are padding
    ([260], [6], [0], [0], 1, False),         # an odd number of pixels in a row
    ([260], [4], [0], [0], 1, False),         # so few taps that zeros cost more than they save
    ([14, 18], [3, 7], [1, 0], [0, 0], 1, True),
    ([5, 6, 14], [2, 3, 5], [0, 1, 2], [0, 0, 0], 2, True),
]:
    n, made = len(size), 16 * groups
    x, weight = torch.randn(2, 3 * groups, *size), torch.randn(3 * groups, 16, *kernel)
    right = getattr(torch.nn.functional, f"conv_transpose{n}d")(x, weight, None, 1, padding, 0, groups)
    given = ([1] * n, padding, extra, [1] * n, groups)
    torch.testing.assert_close(template.convolution_transpose(x, weight, *given), right, rtol=1e-4, atol=1e-4)
    assert bool(laid) is pairs
    laid.clear()
print("right")
"""
PLAIN = """
import torch
import triton.runtime.interpreter
from kopt.seed.templates.convolution import convolution

torch.manual_seed(0)
for n, channels, made, kernel, stride, padding, dilation, groups in [
    (1, 3, 5, [4], [2], [3], [1], 1),         # a row of a window as one tap, padded
    (2, 3, 5, [2, 3], [2, 3], [1, 2], [1, 1], 1),
    (2, 3, 5, [3, 3], [1, 1], [1, 0], [2, 1], 1),
    (2, 3, 5, [3, 3], [1, 1], [1, 2], [1, 2], 1),    # pixels of a row lie apart
    (2, 6, 4, [3, 3], [1, 2], [1, 1], [1, 1], 2),    # and so do those of a group
    (2, 3, 6, [3, 3], [1, 2], [1, 1], [1, 1], 3),    # one channel a group
    (2, 20, 40, [3, 2], [1, 2], [1, 1], [1, 1], 1),
    (2, 3, 5, [1, 1], [1, 1], [0, 0], [1, 1], 1),
    (3, 1, 2, [2, 2, 3], [1, 1, 2], [0, 1, 2], [1, 1, 1], 1),
    (3, 3, 2, [2, 1, 12], [1, 1, 1], [0, 0, 4], [1, 1, 1], 1),
]:
    x = torch.randn(2, channels, *[5, 7, 6][-n:])
    weight = torch.randn(made, channels // groups, *kernel)
    given = (stride, padding, dilation, groups)
    right = getattr(torch.nn.functional, f"conv{n}d")(x, weight, None, *given)
    torch.testing.assert_close(convolution(x, weight, *given), right, rtol=1e-4, atol=1e-4)
print("right")
"""
DEPTHWISE = """
import torch
import triton.runtime.interpreter
from kopt.seed.templates.depthwise_convolution import depthwise_convolution

torch.manual_seed(0)
for n, channels, made, kernel, stride, padding, dilation in [
    (1, 3, 3, [4], [2], [3], [1]),
    (2, 3, 6, [2, 3], [2, 3], [1, 2], [1, 1]),
    (2, 5, 5, [3, 3], [1, 1], [1, 0], [2, 1]),
    (3, 2, 4, [2, 2, 3], [1, 1, 2], [0, 1, 2], [1, 1, 1]),
    (2, 1, 3, [3, 3], [1, 1], [1, 1], [1, 1]),       # a single group
]:
    x = torch.randn(2, channels, *[5, 7, 6][-n:])
    weight = torch.randn(made, 1, *kernel)
    given = (stride, padding, dilation)
    right = getattr(torch.nn.functional, f"conv{n}d")(x, weight, None, *given, channels)
    torch.testing.assert_close(depthwise_convolution(x, weight, *given), right, rtol=1e-4, atol=1e-4)
print("right")
"""
POOLED = """
from random import Random

import torch
import triton.runtime.interpreter
from kopt.seed.templates import pooling

forms = set()
piece = pooling.piece

def noted(columns, *sizes):
    found = span, halo, taps, rows, width, made, used = piece(columns, *sizes)
    assert width & (width - 1) == 0 and rows & (rows - 1) == 0
    forms.add((bool(span), taps > 1, used < columns))
    return found

def check(n, kernel, stride, padding, dilation, ceil, count, sizes, dtype, at):
    x = torch.randn(1, 2, *sizes).to(dtype)
    x.view(-1)[int(at * x.numel())] = float("nan")
    if all(d * (k - 1) < size + 2 * p for size, k, p, d in zip(sizes, kernel, padding, dilation)):
        right = getattr(torch.nn.functional, f"max_pool{n}d")(x, kernel, stride, padding, dilation, ceil)
        made = pooling.max_pool(x, kernel, stride, padding, dilation, ceil)
        torch.testing.assert_close(made, right, equal_nan=True, rtol=0, atol=0)
    if all(k <= size for size, k in zip(sizes, kernel)):
        right = getattr(torch.nn.functional, f"avg_pool{n}d")(x.float(), kernel, stride, padding, ceil, count)
        made = pooling.average_pool(x, kernel, stride, padding, ceil, count, None)
        torch.testing.assert_close(made, right.to(dtype), equal_nan=True)

torch.manual_seed(0)
pooling.piece = noted
for n, kernel, stride, padding, dilation, ceil, count in [
    (1, [8], [1], [4], [1], False, True),
    (1, [3], [2], [1], [3], True, False),
    (1, [5], [12], [2], [2], True, False),         # windows apart
    (2, [4, 4], [1, 1], [1, 1], [1, 1], False, True),
    (2, [3, 2], [2, 3], [1, 0], [2, 1], True, True),
    (2, [3, 5], [2, 2], [1, 2], [1, 1], True, False),
    (2, [6, 6], [1, 1], [3, 3], [1, 1], False, False),  # more than 32 loads
    (2, [1, 40], [1, 1], [0, 20], [1, 1], False, True),  # too long a window to be put together of vectors
    (3, [2, 3, 3], [1, 2, 1], [1, 1, 0], [1, 2, 1], False, True),
    (3, [3, 3, 3], [2, 2, 2], [1, 1, 1], [1, 1, 1], True, False),
]:
    for sizes in ([6, 7, 9], [3, 4, 140]) if n > 1 else ([600], [601]):
        check(n, kernel, stride, padding, dilation, ceil, count, sizes[-n:], torch.float32, 0.3)
draw = Random(1)
for _ in range(12):
    n = draw.choice((1, 2, 3))
    kernel = [draw.choice((1, 2, 3, 4, 5, 7)) for _ in range(n)]
    sizes = [draw.randint(1, 8) for _ in range(n - 1)] + [draw.choice((7, 16, 24, 33, 128, 264))]
    stride = [draw.choice((1, 1, 2, 3, 4, 9)) for _ in range(n)]
    padding, dilation = [draw.randint(0, k // 2) for k in kernel], [draw.choice((1, 1, 2, 3)) for _ in range(n)]
    kinds = draw.choice((torch.float32, torch.bfloat16, torch.float16))
    check(n, kernel, stride, padding, dilation, draw.random() < 0.5, draw.random() < 0.5, sizes, kinds, draw.random())
x = torch.randn(1, 2, 6, 6)
right = torch.nn.functional.avg_pool2d(x, 3, 2, 1, divisor_override=5)
torch.testing.assert_close(pooling.average_pool(x, [3, 3], [2, 2], [1, 1], False, True, 5), right)
below = torch.full((1, 1, 16), float("-inf"))
assert pooling.max_pool(below, [3], [1], [1], [1], False).equal(below)
several = {(True, False, False), (True, False, True), (False, False, False), (False, False, True), (False, True, False)}
assert several <= forms, forms
print("right")
"""


PRODUCT = """
import torch
import triton.runtime.interpreter
from kopt.seed.templates.product import parts, product

torch.manual_seed(0)
for batch, m, k, n in [((), 37, 70, 45), ((3,), 130, 33, 140), ((2,), 5, 1, 3), ((), 129, 128, 17)]:
    for turned_a in (False, True):
        for turned_b in (False, True):
            a = torch.randn(*batch, k, m).mT if turned_a else torch.randn(*batch, m, k)
            b = torch.randn(*batch, n, k).mT if turned_b else torch.randn(*batch, k, n)
            exact = a.double() @ b.double()
            error = (product(a, b) - exact).abs().max() / (a.double().abs() @ b.double().abs()).max()
            assert error < 2**-20, (m, k, n, error)
            strided = product(a[..., ::2, :], b[..., ::2])
            torch.testing.assert_close(strided, exact[..., ::2, ::2].float(), rtol=1e-5, atol=1e-5)

a, b = torch.randn(37, 70), torch.randn(70, 45)
a[3, 4], a[5, 6], a[5, 20], a[6, 20], a[9, 10] = float("inf"), float("nan"), float("inf"), 0, 3.4028e38
b[7, 8], b[20, 9] = float("-inf"), float("-inf")
a[11] = 1e-38
torch.testing.assert_close(product(a, b), a @ b, equal_nan=True, rtol=1e-5, atol=1e-5)
x = torch.randn(300, 70)
big, small, _ = parts(x)
held = (big + small.double())[0, :300, :70]
assert ((held - x).abs() <= 2**-23 * x.abs()).all()
assert not ((big.view(torch.int32) | small.view(torch.int32)) & 0x1FFF).any()
print("right")
"""


TRIANGLES = """
import torch
import triton.runtime.interpreter
from triton.runtime.interpreter import InterpreterBuilder
from kopt.seed.templates.product import product

torch.manual_seed(0)
steps, multiply = [], InterpreterBuilder.create_dot
InterpreterBuilder.create_dot = lambda *args: (steps.append(1), multiply(*args))[1]
for batch, m, k, n in [((), 300, 40, 270), ((2,), 130, 3, 400), ((), 37, 20, 45)]:
    a, b = torch.randn(*batch, m, k), torch.randn(*batch, k, n)
    a[..., 0, 0] = float("inf")
    for keep, triangle in ((torch.triu, 1), (torch.tril, -1)):
        for diagonal in (0, 1, 127, 128, -128, -129, -500):
            right = keep(a @ b, diagonal)
            steps.clear()
            made = product(a, b, triangle, diagonal)
            torch.testing.assert_close(made, right, rtol=1e-4, atol=1e-4, equal_nan=True)
            ones = keep(torch.ones(-(-m // 128) * 128, -(-n // 128) * 128), diagonal)
            tiles = [tile for row in ones.split(128) for tile in row.split(128, 1)]
            needed = sum(bool(tile.any()) for tile in tiles) * a.shape[:-2].numel()
            assert len(steps) == 3 * -(-k // 32) * needed, (m, n, triangle, diagonal, len(steps), needed)
print("right")
"""


NOT_OLD = pytest.mark.skipif(OLD, reason="the interpreter of Triton 3.6 takes no tensor as a bound of range")


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(TRANSPOSED, id="transposed", marks=NOT_OLD),
        pytest.param(PAIRED, id="transposed, in pairs of pixels", marks=NOT_OLD),
        pytest.param(PLAIN, id="plain", marks=NOT_OLD),
        pytest.param(DEPTHWISE, id="depthwise"),
        pytest.param(POOLED, id="pooled"),
        pytest.param(PRODUCT, id="product", marks=NOT_OLD),
        pytest.param(TRIANGLES, id="triangles", marks=NOT_OLD),
    ],
)
def test_a_template_gives_what_pytorch_gives(program):
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "right", done.stderr[-2000:]


ROWS_OF_A_PRODUCT = """
import torch
from kopt.seed.templates import product

grids = []

class Kernel:
    def __getitem__(self, grid):
        grids.append(grid)
        return lambda *arguments, **options: None

product.split_kernel = product.product_kernel = Kernel()
product.product(torch.empty((8_500_000, 128), device="meta"), torch.empty((128, 256), device="meta"))
product.product(torch.empty((70_000, 16, 8), device="meta"), torch.empty((70_000, 8, 16), device="meta"))
print({len(grid) for grid in grids}, max(grid[0] for grid in grids) < 2**31)
"""


def test_blocks_of_a_product_are_counted_on_the_first_axis_of_the_grid():
    done = subprocess.run([sys.executable, "-c", ROWS_OF_A_PRODUCT], capture_output=True, text=True, check=True)
    assert done.stdout == "{1} True\n"


LONG = """
import torch
from kopt.seed.templates import pooling

class Kernel:
    def __getitem__(self, grid):
        self.grid = grid
        return lambda *arguments, **options: setattr(self, "rows", options["ROWS"])

pooling.pool_kernel = Kernel()
for kernel, stride, length in (8, 1, 8 << 20), (3, 2, 1 << 27), (400, 400, 1 << 26):
    pooling.max_pool(torch.empty((1, length), device="meta"), [kernel], [stride], [0], [1], False)
    print(len(pooling.pool_kernel.grid), pooling.pool_kernel.grid[0] > 65535, pooling.pool_kernel.rows)
"""


def test_the_pieces_of_a_long_row_are_counted_on_the_first_axis_of_the_grid_and_one_row_takes_one_row():
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, check=True)
    assert done.stdout == "1 True 1\n" * 3


@pytest.mark.parametrize("width", [40, 41, 1000])
def test_pooling_loads_rows_in_vectors_of_16_bytes_where_they_consist_of_such(width, tmp_path):
    template = (ROOT / "kopt/seed/templates/pooling.py").read_text()
    source = template + CALL.format(call="max_pool(x, [3, 3], [1, 1], [1, 1], [1, 1], False)")
    sizes = {"N": 2, "C": 3, "H": 9, "W": width}
    given = problem("pool", source, "x", "torch.randn(N, C, H, W)", "functional.max_pool2d(x, 3, 1, 1)", sizes)
    device = Device(**yaml.safe_load((ROOT / "config/devices/h200.yaml").read_text()))
    store = Store(tmp_path)
    ((_, built),) = build_all([BuildJob(kernel=given.seed, problem=given, device=device)], store=store, workers=1)
    assert isinstance(built, Built), built
    (launch,) = built.workloads[0].launches
    assert wide_load_share(store.text("ptx", launch.ptx, ".ptx")) == (1.0 if width % 8 == 0 else 0.0)
