"""An exported kernel is checked without a GPU, in Triton's interpreter, by the file that holds it."""

import subprocess
import sys

import pytest

from kopt.model.problem import Dtype, Workload
from kopt.winner.standalone import standalone
from kopt.winner.targets import kernelbench, module, torch_library
from tests.device.small import SCALE, SOURCE
from tests.winner.test_winner import winner

WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "", "HOME": "/tmp", "OMP_NUM_THREADS": "1"}
INTERPRETED = WITHOUT_GPU | {"TRITON_INTERPRET": "1"}
WRONG = SOURCE.replace("x * w * factor", "x * w + factor")
ASSEMBLY = SOURCE.replace(
    "x * w * factor",
    'tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x.to(tl.float32)], dtype=tl.float32, is_pure=True, pack=1)',
)


def run(text, folder, environment=WITHOUT_GPU):
    file = folder / "exported.py"
    file.write_text(text)
    alone = f"import runpy, sys; sys.modules['kopt'] = None; runpy.run_path({str(file)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("form", "environment"),
    [(standalone, WITHOUT_GPU), (module.write, WITHOUT_GPU), (torch_library.write, INTERPRETED)],
    ids=["script", "module", "torch-library"],
)
def test_a_file_as_a_script_checks_its_kernel_without_a_gpu(form, environment, tmp_path):
    done = run(form(winner()), tmp_path, environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Triton's interpreter on the CPU" in done.stdout
    assert done.stdout.splitlines()[-1] == "the kernel is right on small; on tensors of the CPU PyTorch runs"


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [(WRONG, 1, "the kernel is WRONG on small"), (ASSEMBLY, 2, "judges the kernel: kopt evaluate ")],
    ids=["wrong", "assembly"],
)
def test_a_wrong_kernel_and_one_that_the_interpreter_does_not_know_are_no_right_ones(source, status, words, tmp_path):
    done = run(standalone(winner(source, source)), tmp_path)
    assert (done.returncode, done.stderr) == (status, "")
    assert words in done.stdout
    assert ("cannot be run here: " in done.stdout) is (status == 2)


def test_a_wrong_result_decides_the_status_where_a_later_workload_cannot_be_run(tmp_path):
    source = WRONG.replace(
        "    rows, columns = x.shape\n", "    rows, columns = x.shape\n    assert rows != 5, 'too few rows'\n"
    )
    sizes = tuple(Workload(name=name, constants={"rows": rows}) for name, rows in (("first", 6), ("second", 5)))
    done = run(standalone(winner(source, source, SCALE.model_copy(update={"small": sizes}))), tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "second                   cannot be run here: AssertionError: too few rows" in done.stdout
    assert done.stdout.splitlines()[-1] == "the kernel is WRONG on first"


@pytest.mark.parametrize(("fast", "status"), [(1, 0), (0, 2)], ids=["later ones", "all"])
def test_what_takes_too_long_is_left_out(fast, status, tmp_path):
    """A kernel that works for ever on other numbers of rows than 6."""
    source = SOURCE.replace(
        "    rows, columns = x.shape\n", f"    rows, columns = x.shape\n    while rows != {6 * fast}: pass\n"
    )
    sizes = tuple(Workload(name=name, constants={"rows": rows}) for name, rows in (("first", 6), ("second", 5)))
    text = standalone(winner(source, source, SCALE.model_copy(update={"small": sizes})))
    done = run(text.replace("MOST_S = 60", "MOST_S = 12"), tmp_path)
    assert (done.returncode, done.stderr) == (status, "")
    assert " left out, and what follows: the check has taken " in done.stdout
    assert ("the kernel is right on first; " in done.stdout) is (status == 0)


NAMED = """
import torch

ROWS, COLUMNS = 999, 16


class Model(torch.nn.Module):
    def forward(self, x, y):
        return torch.softmax(x.float(), -1).to(torch.bfloat16) @ y


def get_inputs():
    return [torch.randn(ROWS, COLUMNS), torch.randn(COLUMNS, COLUMNS)]


def get_init_inputs():
    return []
"""
PRODUCT = """
import torch
import triton
import triton.language as tl


@triton.jit
def product_kernel(x, y, out, rows, N: tl.constexpr):
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    a = tl.load(x + row * N + column, mask=row < rows, other=0.0).to(tl.float32)
    a = tl.exp(a - tl.max(a, 1)[:, None])
    a = (a / tl.sum(a, 1)[:, None]).to(tl.bfloat16)
    tl.store(out + row * N + column, tl.dot(a, tl.load(y + row * N + column)), mask=row < rows)


def kernel_function(x, y):
    out = torch.empty_like(x)
    product_kernel[(1,)](x, y, out, len(x), 16)
    return out
"""
TO_8_BITS = """
import torch

rows = 999


class Model(torch.nn.Module):
    def forward(self, x):
        return (x.float() * 100).clamp(-448, 448).to(torch.float8_e4m3fn), x.float().abs().amax(-1)


def get_inputs():
    return [torch.randn(rows, 16)]


def get_init_inputs():
    return []
"""
CAST = """
import torch
import triton
import triton.language as tl


@triton.jit
def cast_kernel(x, out, largest, N: tl.constexpr):
    places = tl.program_id(0) * N + tl.arange(0, N)
    value = tl.load(x + places).to(tl.float32)
    tl.store(out + places, (value * 100).to(tl.float8e4nv))
    tl.store(largest + tl.program_id(0), tl.max(tl.abs(value), 0))


def kernel_function(x):
    out, largest = torch.empty_like(x, dtype=torch.float8_e4m3fn), torch.empty(len(x), device=x.device)
    cast_kernel[(len(x),)](x, out, largest, 16)
    return out, largest
"""
REFERENCE = """
import torch

rows = 999


class Model(torch.nn.Module):
    def forward(self, NAMES):
        BODY


def get_inputs():
    return [INPUTS]


def get_init_inputs():
    return []
"""


def reference_of(body, *inputs):
    """Return a reference of x, or of x and y, with the number of rows of x as a constant."""
    names = ", ".join("xy"[: len(inputs)])
    return REFERENCE.replace("NAMES", names).replace("BODY", body).replace("INPUTS", ", ".join(inputs))


IN_HALF = reference_of(
    "scores = (x.half() @ y.half().t()).float()\n        return (torch.softmax(scores, -1).half() @ y.half()).float()",
    "torch.randn(rows, 16)",
    "torch.randn(16, 16)",
)
ATTENTION = """
import torch
import triton
import triton.language as tl


@triton.jit
def attention_kernel(x, y, out, rows, N: tl.constexpr):
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    a = tl.load(x + row * N + column, mask=row < rows, other=0.0).to(tl.float16)
    b = tl.load(y + row * N + column).to(tl.float16)
    scores = tl.dot(a, tl.trans(b))
    scores = tl.exp(scores - tl.max(scores, 1)[:, None])
    total = tl.sum(scores, 1)[:, None]
    tl.store(out + row * N + column, tl.dot(scores.to(tl.float16), b) / total, mask=row < rows)


def kernel_function(x, y):
    out = torch.empty_like(x)
    attention_kernel[(1,)](x, y, out, len(x), 16)
    return out
"""
READS_BITS = NAMED.replace("return torch.softmax", "return 0 * x.view(torch.int16) + torch.softmax")
ON_GPU = ("torch.randn(rows, 16).cuda()", 'torch.randn(16, 16, device="cuda")')
IN_BFLOAT16 = reference_of("return (x.bfloat16() @ y.bfloat16()).float()", *ON_GPU)
AUTOCAST = reference_of("with torch.autocast('cuda', torch.bfloat16):\n            return (x @ y).float()", *ON_GPU)
ROUNDED = """
import torch
import triton
import triton.language as tl


@triton.jit
def rounded_kernel(x, y, out, rows, N: tl.constexpr):
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    a = tl.load(x + row * N + column, mask=row < rows, other=0.0).to(tl.bfloat16)
    b = tl.load(y + row * N + column).to(tl.bfloat16)
    tl.store(out + row * N + column, tl.dot(a, b), mask=row < rows)


def kernel_function(x, y):
    out = torch.empty_like(x)
    rounded_kernel[(1,)](x, y, out, len(x), 16)
    return out
"""
ELEMENT = """
import torch
import triton
import triton.language as tl


@triton.jit
def element_kernel(x, out, N: tl.constexpr):
    places = tl.program_id(0) * N + tl.arange(0, N)
    value = tl.load(x + places)
    tl.store(out + places, BODY)


def kernel_function(x):
    out = torch.empty_like(x)
    element_kernel[(len(x),)](x, out, 16)
    return out
"""


def of_elements(reference, kernel, wrong):
    """Return a kind: a reference and a kernel of single elements, and how the kernel becomes a wrong one."""
    made = reference_of(f"return {reference}", "torch.randn(rows, 16)")
    return made, ELEMENT.replace("BODY", kernel), {"rows": 13}, (kernel, wrong)


KINDS = {
    "in bfloat16": (IN_BFLOAT16, ROUNDED, {"rows": 13}, ("tl.dot(a, b)", "tl.dot(a, a)")),
    "autocast": (AUTOCAST, ROUNDED, {"rows": 13}, ("tl.dot(a, b)", "tl.dot(a, a)")),
    "residual": of_elements("x - x.bfloat16().float()", "value - value.to(tl.bfloat16).to(tl.float32)", "value * 0"),
    "rounded": of_elements(
        "(x / 3).to(torch.bfloat16).float()", "(value / 3).to(tl.bfloat16).to(tl.float32)", "value / 3"
    ),
    "overflow": of_elements(
        "(x * 60000).half().float()", "(value * 60000).to(tl.float16).to(tl.float32)", "value * 0 - 5"
    ),
    "in half": (IN_HALF, ATTENTION, {"rows": 13}, ("tl.sum(scores, 1)", "tl.max(scores, 1)")),
    "bits": (READS_BITS, PRODUCT, {"ROWS": 13}, ("tl.sum(a, 1)", "tl.max(a, 1)")),
    "named": (NAMED, PRODUCT, {"ROWS": 13}, ("tl.sum(a, 1)", "tl.max(a, 1)")),
    "fp8": (TO_8_BITS, CAST, {"rows": 21}, ("* 100", "* 130")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
def test_references_that_name_16_bits_before_a_product_and_results_of_8_bits_are_checked(kind, is_right, tmp_path):
    reference, source, sizes, change = KINDS[kind]
    small = (Workload(name="small", constants=sizes), Workload(name="other", constants=dict.fromkeys(sizes, 5)))
    main = (Workload(name="main", constants=dict.fromkeys(sizes, 16)),)
    dtype = Dtype.BFLOAT16 if kind in ("named", "bits", "fp8") else Dtype.FLOAT32
    update = {"name": f"of_{kind}", "reference": reference, "main": main, "small": small, "dtype": dtype}
    source = source if is_right else source.replace(*change)
    done = run(standalone(winner(source, source, SCALE.model_copy(update=update))), tmp_path)
    assert done.returncode == (0 if is_right else 1)
    assert done.stderr == ""
    assert f"the kernel is {'right' if is_right else 'WRONG'} on small, other" in done.stdout
    assert ("compared with PyTorch in its own types (float64: " in done.stdout) is (kind == "bits")


@pytest.mark.parametrize(("form", "told"), [(module, True), (torch_library, True), (kernelbench, False)])
def test_the_head_says_what_the_file_does_as_a_script(form, told):
    text = form.write(winner())
    assert ("# check      this file as a script checks the kernel against PyTorch" in text) is told
    assert ('__name__ == "__main__"' in text) is told


COMPLETED = """
import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

from kopt.winner.embedded.interpreted import complete_interpreter

complete_interpreter()


@triton.jit
def combine(mean, count, other_mean, other_count):
    total = count + other_count
    return (mean * count + other_mean * other_count) / total, total


@triton.autotune([triton.Config({"N": 16}), triton.Config({"N": 16}, num_warps=8)], key=["rows"])
@triton.jit
def kernel(x, y, products, means, whole, short, rows, N: tl.constexpr):
    places = tl.arange(0, N)
    for row in range(0, rows):
        one = tl.load(x + row * N + places)
        grown = one * one - tl.full((N,), 0.5, tl.bfloat16)
        kept = tl.where(grown > one, grown, -one)
        nine = libdevice.mul_rn(3.0, tl.full((N,), 3.0, tl.float32))
        tl.store(y + row * N + places, tl.abs(kept) + libdevice.rsqrt(libdevice.fma(kept.to(tl.float32), 1.0, nine)))
        tl.store(short + row * N + places, (one.to(tl.float32) * 300).to(tl.float8e4nv))
        tl.store(whole + row * N + places, (one * 4).to(tl.int32))
        mean, _ = tl.reduce((one.to(tl.float32), tl.full((N,), 1.0, tl.float32)), 0, combine)
        tl.store(means + row, mean)
    tile = tl.load(x + places[:, None] * N + places[None, :])
    tl.store(products + places[:, None] * N + places[None, :], tl.dot(tile, tile))


torch.manual_seed(0)
x = torch.randn(16, 16, dtype=torch.bfloat16)
y, products = torch.empty_like(x), torch.empty(16, 16)
means, whole = torch.empty(16), torch.empty(16, 16, dtype=torch.int32)
short = torch.empty(16, 16, dtype=torch.float8_e4m3fn)
kernel[(1,)](x, y, products, means, whole, short, 16)
grown = x * x - 0.5
kept = torch.where(grown > x, grown, -x)
near = dict(atol=0.05, rtol=0.02)
torch.testing.assert_close(y, (kept.abs() + torch.rsqrt(kept.float() + 9)).bfloat16(), **near)
torch.testing.assert_close(products, x.float() @ x.float())
torch.testing.assert_close(means, x.float().mean(1))
assert torch.equal(whole, (x * 4).int())
assert torch.equal(short.float(), (x.float() * 300).clamp(-448, 448).to(torch.float8_e4m3fn).float())
"""


def test_the_interpreter_gets_what_it_lacks(tmp_path):
    """Arithmetic of bfloat16, CUDA's device library, reductions by own functions, loops by numbers, autotuners."""
    file = tmp_path / "completed.py"
    file.write_text(COMPLETED)
    environment = INTERPRETED | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
