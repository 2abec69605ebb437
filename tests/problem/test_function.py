"""A function with example inputs becomes a reference that stands alone."""

from importlib import import_module

import pytest
import torch

from kopt.device.reference.trial import try_sizes
from kopt.errors import ProblemError
from kopt.jobs.keys import build_contract, cuda_contract, timed_contract, verdict_contract
from kopt.model.problem import InputRule, Keep, Layout
from kopt.problem.function import Request, problem_of
from kopt.problem.own_source import copied

UTIL = """import torch
EPS = 1e-6
def rms(x, eps=EPS):
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
"""
OPS = '''"""Operators of a model."""
from __future__ import annotations
import math
import torch
import torch.nn.functional as F
from torch import nn
from .util import rms as inverse

def kinds(x, /, y, *, scale):
    return x + y * scale

def number(x):
    return float(x.sum())

def numbers(x):
    return x, x.sum().item()

def mixed(x, weight, bias):
    return (x.float() * weight + bias.float()).to(x.dtype)

def product(x, weight):
    return x @ weight

def reads(x):
    scale = float(x.sum())
    return x * scale

SCALE = 2
UNUSED = math.sqrt(3)
layer = nn.Linear(2, 2)

def add_norm(x, residual, weight, eps=1e-6):
    h = x + residual
    return F.silu(h * inverse(h, eps) * weight * SCALE), h

class Norm(nn.Module):
    def __init__(self, hidden, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x):
        return x * inverse(x, self.eps) * self.weight

def loss(logits, targets, keep):
    found = torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return found.masked_fill(~keep, 0.0)

def append(q, k, cache):
    return q * 2, torch.cat((cache, k), dim=2)

def whole():
    from . import util
    return util
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's own, and its name."""
    name = f"myops{abs(hash(tmp_path)) % 10**8}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "util.py").write_text(UTIL)
    (tmp_path / name / "ops.py").write_text(OPS)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def module_of(source):
    namespace = {"__name__": "alone"}
    exec(compile(source, "problem.py", "exec"), namespace)
    return namespace


def test_a_copied_function_stands_alone_and_computes_the_same(package):
    ops = import_module(f"{package}.ops")
    source = copied(ops, "add_norm")
    assert package not in source
    assert "UNUSED" not in source
    x, residual, weight = torch.randn(4, 8), torch.randn(4, 8), torch.randn(8)
    alone = module_of(source)["add_norm"](x, residual, weight)
    assert all(map(torch.equal, alone, ops.add_norm(x, residual, weight)))


def test_what_cannot_be_copied_is_named(package, tmp_path):
    (tmp_path / package / "star.py").write_text(f"from {package}.util import *\nX = 1\ndef f(x):\n    return rms(x)\n")
    (tmp_path / package / "whole.py").write_text("from . import util\ndef f(x):\n    return util.rms(x)\n")
    with pytest.raises(ProblemError, match=r"whole, line 1: the module util cannot be copied as a whole: write from"):
        copied(import_module(f"{package}.whole"), "f")
    with pytest.raises(ProblemError, match=r"import \* cannot be copied"):
        copied(import_module(f"{package}.star"), "f")


def test_a_function_becomes_a_reference_with_its_sizes_as_constants(package):
    inputs = ("torch.randn(512, 1024)", "torch.randn(512, 1024)", "weight=torch.randn(1024)", "eps=1e-5")
    result = problem_of(Request(name="norm", word=f"{package}.ops:add_norm", inputs=inputs))
    reference = result.problem.reference
    assert "x_0 = 512\nx_1 = 1024\n" in reference
    assert "return add_norm(x, residual, weight=weight, eps=1e-05)" in reference
    assert reference.count("= 1024") == 1  # sizes that change together are one constant
    assert {name for w in result.problem.small for name in w.constants} == {"x_0", "x_1"}
    assert [spec.name for spec in result.signature.outputs] == ["output[0]", "output[1]"]


def test_an_installed_function_is_imported_and_a_class_made_by_its_arguments(package):
    softmax = problem_of(
        Request(name="s", word="torch.nn.functional:softmax", inputs=("torch.randn(64, 32)", "dim=-1"))
    )
    assert "from torch.nn.functional import softmax" in softmax.problem.reference
    assert "return softmax(input, dim=-1)" in softmax.problem.reference
    norm = problem_of(
        Request(name="n", word=f"{package}.ops:Norm", inputs=("torch.randn(64, 256)",), init="256, eps=1e-5")
    )
    assert "hidden = 256" in norm.problem.reference
    assert 'return {"hidden": hidden, "eps": 1e-05}' in norm.problem.reference
    assert [spec.name for spec in norm.signature.parameters] == ["weight"]


X, W = "torch.rand(8, 32, dtype=torch.{})", "torch.rand(32, dtype=torch.{})"


@pytest.mark.parametrize(
    ("dtypes", "wanted", "got"),
    [
        (("float16", "float32", "bfloat16"), None, ("float16", "float32", "bfloat16")),
        (("float32", "bfloat16", "bfloat16"), None, ("float32", "bfloat16", "bfloat16")),
        (("bfloat16", "bfloat16", "float64"), None, ("bfloat16", "bfloat16", "float64")),
        (("float16", "float16", "float16"), None, ("float16", "float16", "float16")),
        (("float16", "float32", "bfloat16"), "bfloat16", ("bfloat16", "bfloat16", "bfloat16")),
    ],
)
def test_inputs_of_unlike_dtypes_keep_them_unless_one_is_asked_for(package, dtypes, wanted, got):
    x, *others = dtypes
    inputs = (X.format(x), *map(W.format, others))
    made = problem_of(Request(name="m", word=f"{package}.ops:mixed", inputs=inputs, dtype=wanted))
    assert tuple(spec.dtype for spec in made.signature.inputs) == got
    assert made.problem.keep_dtypes == (len(set(got)) > 1)
    assert made.problem.dtype == got[0]


@pytest.mark.parametrize(("low", "others"), [("int8", ("float16", "float32")), ("float8_e4m3fn", ("bfloat16",) * 2)])
def test_an_input_of_8_bits_does_not_decide_the_dtype_of_the_others(package, low, others):
    inputs = (f"torch.ones(8, 32).to(torch.{low})", *map(W.format, others))
    made = problem_of(Request(name="m", word=f"{package}.ops:mixed", inputs=inputs))
    assert tuple(spec.dtype for spec in made.signature.inputs) == (low, *others)
    assert made.problem.dtype == others[0]


def test_unlike_dtypes_with_which_the_reference_does_not_run_become_one(package):
    inputs = (X.format("float16"), "torch.rand(32, 16)")
    made = problem_of(Request(name="m", word=f"{package}.ops:product", inputs=inputs))
    assert [spec.dtype for spec in made.signature.inputs] == ["float16", "float16"]
    assert not made.problem.keep_dtypes


def test_verdicts_of_kept_dtypes_are_others(package):
    inputs = (X.format("float16"), *map(W.format, ("float32", "bfloat16")))
    problem = problem_of(Request(name="m", word=f"{package}.ops:mixed", inputs=inputs)).problem
    plain = problem.model_copy(update={"keep_dtypes": False})
    for contract in (build_contract, verdict_contract, cuda_contract):
        assert contract(problem) != contract(plain)
    assert "keep_dtypes" not in plain.model_dump(mode="json")  # digests in certificates stay what they were


@pytest.mark.parametrize("ruled", [{"inputs": {"x": InputRule(keep=Keep.AS_GIVEN)}}, {"layout": Layout.ANY}])
def test_verdicts_with_a_rule_of_the_problem_are_others_and_builds_the_same(package, ruled):
    inputs = (X.format("float16"), W.format("float16"))
    made = problem_of(Request(name="m", word=f"{package}.ops:product", inputs=inputs)).problem
    plain = made.model_copy(update={"inputs": {}, "layout": Layout.REFERENCE})
    other = plain.model_copy(update=ruled)
    assert build_contract(other) == build_contract(plain)
    for contract in (verdict_contract, cuda_contract, timed_contract):
        assert contract(other) != contract(plain)


def test_the_bound_of_an_index_shrinks_with_the_size_that_it_stands_for(package):
    inputs = ("torch.randn(256, 1000)", "torch.randint(0, 1000, (256,))", "reduction='none'")
    result = problem_of(Request(name="loss", word="torch.nn.functional:cross_entropy", inputs=inputs))
    assert "torch.randint(0, input_1, (input_0,))" in result.problem.reference
    assert "reduction='none'" in result.problem.reference


SCRIPT = """import torch

def main():
    return scaled(torch.ones(2))

if __name__ == "__main__":
    scale = 3.0
    print(main())

scale = 2.0

def scaled(x):
    return x * scale
"""


def test_what_a_module_does_as_a_script_is_not_copied(tmp_path, monkeypatch):
    (tmp_path / "scripted_ops.py").write_text(SCRIPT)
    monkeypatch.syspath_prepend(tmp_path)
    text = copied(import_module("scripted_ops"), "scaled")
    assert "__main__" not in text
    assert "scale = 2.0" in text


INT4 = """import torch
def unpacked(x, packed, scale):
    low, high = (packed & 15).to(torch.int8) - 8, (packed >> 4).to(torch.int8) - 8
    weight = torch.stack([low, high], -1).reshape(packed.shape[0], -1).to(x.dtype)
    return x @ (weight * scale.repeat_interleave(128, 1)).t()
"""


@pytest.mark.parametrize(
    ("rows", "bounds", "dtype"),
    [(256, "0, 256", "uint8"), (16, "high=256, low=0", "uint8"), (128, "-128, 128", "int8")],
)
def test_bounds_of_packed_weights_are_no_sizes(tmp_path, monkeypatch, rows, bounds, dtype):
    (tmp_path / "packed_weights.py").write_text(INT4)
    monkeypatch.syspath_prepend(tmp_path)
    shape = "(1024, 2048)" if bounds[0] != "h" else "size=(1024, 2048)"
    inputs = (f"torch.randn({rows}, 4096)", f"torch.randint({bounds}, {shape}, dtype=torch.{dtype})",
              "torch.rand(1024, 32)")  # fmt: skip
    result = problem_of(Request(name="w4", word="packed_weights:unpacked", inputs=inputs))
    assert f"torch.randint({bounds}, " in result.problem.reference
    assert all(set(w.constants) == {"x_0", "packed_0"} for w in result.problem.small)


def test_a_bound_that_no_other_input_has_changes_with_no_size(package):
    inputs = ("torch.randn(16, 64)", "torch.randint(0, 48, (16, 64))")
    result = problem_of(Request(name="add", word="torch:add", inputs=inputs))
    assert "torch.randint(0, 48, " in result.problem.reference


GROUPED = """import torch

GROUP = 64

def dequantised(q, scale):
    rows, columns = q.shape
    return (q.view(rows, columns // GROUP, GROUP) * scale[..., None]).view(rows, columns)
"""


def test_the_length_of_a_group_is_no_size_though_it_equals_the_number_of_groups(tmp_path, monkeypatch):
    """64 groups of 64: with more columns there are more groups, and every workload runs."""
    (tmp_path / "grouped.py").write_text(GROUPED)
    monkeypatch.syspath_prepend(tmp_path)
    inputs = ("torch.ones(2048, 4096, dtype=torch.int8)", "torch.rand(2048, 64)")
    problem = problem_of(Request(name="p", word="grouped:dequantised", inputs=inputs)).problem
    for workload in (*problem.hidden, *problem.small):
        assert try_sizes(problem, workload.constants)
        assert "GROUP" not in workload.constants
    ragged = problem.hidden[0].constants
    assert ragged["q_1"] == 64 * ragged["scale_1"] != 4096


def test_constants_of_the_users_code_change_where_no_workloads_are_found_without(tmp_path, monkeypatch):
    """A table of a size that the code holds: its rows have to shrink, too."""
    (tmp_path / "held.py").write_text("import torch\n\nWIDE = 1048576\n\ndef f(x):\n    return x + torch.ones(WIDE)\n")
    monkeypatch.syspath_prepend(tmp_path)
    problem = problem_of(Request(name="p", word="held:f", inputs=("torch.rand(4, 1048576)",))).problem
    assert all(workload.constants.get("WIDE", 1048576) < 1048576 for workload in problem.small)
    assert all(try_sizes(problem, workload.constants) for workload in (*problem.hidden, *problem.small))


def test_a_size_of_the_result_alone_shrinks_where_the_result_would_be_large(tmp_path, monkeypatch):
    (tmp_path / "embedding_gradient.py").write_text(
        "import torch\ndef add(grad, tokens, vocabulary):\n"
        "    return torch.zeros(vocabulary, grad.shape[-1], device=grad.device).index_add_(0, tokens, grad)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for bound, shrinks in (("32000", True), ("31999", False)):  # with the other bound indexes would be too large
        inputs = ("torch.randn(8192, 1024)", f"torch.randint(0, {bound}, (8192,))", "32000")
        result = problem_of(Request(name="add", word="embedding_gradient:add", inputs=inputs))
        assert all(("vocabulary" in workload.constants) is shrinks for workload in result.problem.small)


def test_inputs_of_an_attention_keep_equal_shapes_and_factors_of_a_product_do_not(package):
    head = "torch.randn(2, 3, 64, 16)"
    attention = problem_of(
        Request(name="a", word="torch.nn.functional:scaled_dot_product_attention", inputs=(head, head, head))
    )
    assert all(len(set(sizes)) == 1 for sizes in [_shapes(attention, w) for w in attention.problem.small])
    product = problem_of(Request(name="m", word="torch:mm", inputs=("torch.randn(64, 64)", "torch.randn(64, 64)")))
    (rows, inner), (_, columns) = _shapes(product, product.problem.small[1])
    assert len({rows, inner, columns}) == 3


def test_a_cache_keeps_the_sizes_of_keys_that_keep_those_of_queries(package):
    heads = [f"torch.randn(4, {count}, {length}, 128)" for count, length in ((32, 64), (8, 64), (8, 1984))]
    result = problem_of(Request(name="a", word=f"{package}.ops:append", inputs=tuple(heads)))
    for workload in (*result.problem.hidden, *result.problem.small):
        q, k, cache = _shapes(result, workload)
        assert (q[0], q[2], q[3]) == (k[0], k[2], k[3])
        assert (k[0], k[1], k[3]) == (cache[0], cache[1], cache[3])


def test_a_batch_of_three_inputs_changes_in_all_though_one_of_them_would_broadcast(package):
    inputs = ("torch.randn(4, 512, 1024)", "torch.randint(0, 1024, (4, 512))", "torch.rand(4, 512) > 0.1")
    result = problem_of(Request(name="l", word=f"{package}.ops:loss", inputs=inputs))
    for workload in (*result.problem.hidden, *result.problem.small):
        logits, targets, keep = _shapes(result, workload)
        assert logits[:2] == targets == keep
    assert {_shapes(result, workload)[0][0] for workload in result.problem.hidden} == {3}


def _shapes(result, workload):
    return try_sizes(result.problem, workload.constants).inputs


WORDS = {
    ("ops:add_nrm", ("torch.rand(2)",), None): "has no 'add_nrm'; did you mean 'add_norm'?",
    (
        "ops:add_norm",
        (),
        None,
    ): "needs example inputs: write --inputs 'x=torch.randn(4096, 8192)' 'residual=",
    ("ops:add_norm", ("torch.rand(2)", "weight=torch.rand(2)"), None): "no input is given for residual: write "
    "--inputs 'torch.rand(2)' 'weight=torch.rand(2)' 'residual=torch.randn(4096, 8192)', with sizes of yours",
    ("ops:Norm", (), "3"): "needs example inputs: write --inputs 'x=torch.randn(4096, 8192)', with sizes",
    ("ops:kinds", ("torch.rand(2)", "torch.rand(2)", "2"), None): "takes scale by name only: write scale=2",
    ("ops:kinds", ("torch.rand(2)", "torch.rand(2)"), None): "no input is given for scale: write",
    ("ops:kinds", ("x=torch.rand(2)", "scale=2"), None): "takes x by its place only: leave x= out",
    ("ops:kinds", ("y=torch.rand(2)", "scale=2"), None): "write --inputs 'torch.randn(4096, 8192)' 'y=torch.rand(2)'",
    ("ops:add_norm", ("torch.rand(2)", "x=torch.rand(3)"), None): "x of ops is given twice, also by --inputs 'torch",
    ("ops:number", ("torch.rand(2)",), None): "`return float(x.sum())`: it returns a number of Python's",
    ("ops:numbers", ("torch.rand(2)",), None): "`return x, x.sum().item()`: it returns a number of Python's",
    ("ops:reads", ("torch.rand(2)",), None): "`scale = float(x.sum())`: it reads values of tensors",
    ("ops:add_norm", ("torch.rand(2",), None): "'torch.rand(2' is not an expression",
    ("ops:add_norm", ("torch.rond(2)",), None): "raises AttributeError: module 'torch' has no attribute 'rond'",
    ("ops:add_norm", ("np.ones(2)",), None): "names 'np'; inputs may use torch, nn, F, math alone",
    ("ops:reads", ("1.0",), None): "none of the --inputs is a tensor",
    ("ops:add_norm", ("wait=torch.rand(2)",), None): "has no parameter 'wait'; did you mean 'weight'?",
    ("ops:add_norm", ("x=torch.rand(2)", "torch.rand(2)"), None): "give it by name too",
    ("ops:add_norm", ("torch.rand(2)",) * 5, None): "is one too many: ops takes 4 arguments (x, residual, weight, eps)",
    ("ops:add_norm", ("torch.rand(2)",), "3"): "--init is for a class of modules",
    ("ops:Norm", ("torch.rand(2)",), "3,,"): "is not a list of arguments",
    ("ops:Norm", ("torch.rand(2)",), None): "is missing: hidden: write --init 'hidden=...', with values of yours",
    ("ops:Norm", ("torch.rand(2)",), "eps=1e-5"): "gives no hidden: write --init 'eps=1e-5, hidden=...'",
    ("ops:Norm", ("torch.rand(2)",), "hiden=2"): "no parameter 'hiden'; did you mean 'hidden'? (it takes hidden, eps)",
    ("ops:Norm", ("torch.rand(2)",), "2, 1e-5, 3"): "takes 2 arguments, not 3 (it takes hidden, eps)",
    ("ops:layer", ("torch.rand(2)",), None): "is a module that is made already: name its class, and give --init",
    ("ops:SCALE", ("torch.rand(2)",), None): "is a int; name a function, or a class of torch.nn.Module",
    ("none:f", ("torch.rand(2)",), None): "there is no module",
}


@pytest.mark.parametrize("words", WORDS)
def test_a_function_or_inputs_that_do_not_fit_are_said_in_one_line(package, words):
    word, inputs, init = words
    with pytest.raises(ProblemError) as caught:
        problem_of(Request(name="p", word=f"{package}.{word}", inputs=inputs, init=init, source="ops"))
    assert WORDS[words] in str(caught.value)


OPERATIONS = """import torch
import torch.nn.functional as F

def product(a, b):
    return a @ b

def transposed(x, w):
    return F.conv_transpose2d(x, w)

def rows(table, index):
    return table[index]

def loss(logits, targets):
    return F.cross_entropy(logits, targets)

class Layer(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.linear(x)
"""
UNFIT = {
    "product": (
        ("torch.randn(4096, 8192)", "torch.randn(4096, 2048)"),
        "`return a @ b`, raises RuntimeError: a and b must have same reduction dim",
        "given a 4096x8192 float32, b 4096x2048 float32",
    ),
    "product, of integers": (
        ("torch.randn(4096, 512)", "torch.randint(0, 8, (512, 256))"),
        "expected m1 and m2 to have the same dtype", "given a 4096x512 float32, b 512x256 int64",
    ),
    "transposed": (
        ("torch.randn(8, 64, 128, 128)", "torch.randn(32, 32, 3, 3)"),
        "takes 32 channels, but its input of size [8, 64, 128, 128] has 64",
        "given x 8x64x128x128 float32, w 32x32x3x3 float32",
    ),
    "rows": (
        ("torch.randn(4096, 64)", "torch.randint(9000, 50000, (8192,))"),
        "is out of bounds for dimension 0 with size 4096", "given table 4096x64 float32, index 8192 int64",
    ),
    "loss": (
        ("torch.randn(4096, 64)", "torch.randint(9000, 50000, (4096,))"),
        "is out of bounds", "given logits 4096x64 float32, targets 4096 int64",
    ),
    "Layer": (
        ("torch.randn(4096, 512)",), "`return self.linear(x)`, raises RuntimeError",
        "given x 4096x512 float32; the model has linear.weight 256x256 float32, linear.bias 256 float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_inputs_that_do_not_fit_are_told_in_the_sizes_and_names_that_were_given(package, tmp_path, case):
    (tmp_path / package / "operations.py").write_text(OPERATIONS)
    inputs, reason, given = UNFIT[case]
    name = case.partition(",")[0]
    word = f"{package}.operations:{name}"
    init = "256" if name == "Layer" else None
    with pytest.raises(ProblemError) as caught:
        problem_of(Request(name="p", word=word, inputs=inputs, init=init, source=f"my/operations.py:{name}"))
    said = str(caught.value)
    assert f"operations.py:{name}, `return" in said  # no line of a file that is not written
    assert reason in said
    assert given in said
