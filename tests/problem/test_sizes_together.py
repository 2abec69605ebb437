"""Sizes of inputs that belong together change together in the workloads that are derived of a plain function."""

import pytest
import torch

from kopt.device.reference.trial import has_integers, try_sizes, try_values
from kopt.errors import ProblemError
from kopt.model.problem import Dtype
from kopt.problem.derive import with_workloads
from kopt.problem.function import Request, problem_of
from kopt.problem.ties import equal_groups, parted

OPS = '''"""Operators as people write them."""
import torch
import torch.nn.functional as F


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def rope(q, k, cos, sin):
    cos, sin = cos[None, None], sin[None, None]
    return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin


def rope_of_a_part(q, k, cos, sin):
    return rope(q, k, cos[: q.shape[2]], sin[: q.shape[2]])


def rope_in_pairs(x, cos, sin):
    even, odd = x[..., ::2], x[..., 1::2]
    cos, sin = cos[None, :, None], sin[None, :, None]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def rope_at(q, cos, sin, positions):
    a, b = q.chunk(2, dim=-1)
    return q * cos[positions] + torch.cat((-b, a), dim=-1) * sin[positions]


def attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def convolution(x, weight, bias):
    return F.conv1d(x, weight, bias, padding=1)


def scattered(x, index, updates):
    return x.index_add(0, index, updates)


def square(x, weight, bias):
    return F.conv1d(x, weight, bias)


def block_scaled(a, scale, b):
    return (a * scale.repeat_interleave(128, 1)) @ b


def lstm_cell(x, h, c, w_x, w_h, b):
    i, f, o, u = (x @ w_x.t() + h @ w_h.t() + b).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
    return torch.sigmoid(o) * torch.tanh(c), c


def looked_up(table, positions):
    return table[positions].cumsum(0)


def glu(x):
    a, b = x.split(x.shape[-1] - x.shape[-1] // 2, dim=-1)
    return torch.cat((b.sigmoid(), a), -1)
'''

CASES = {
    "rope": (
        ("torch.randn(2, 8, 256, 64)", "torch.randn(2, 2, 256, 64)", "torch.randn(256, 64)", "torch.randn(256, 64)"),
        ["q.2 k.2 cos.0 sin.0", "q.3 k.3 cos.1 sin.1", "q.0 k.0"],
    ),
    "rope_in_pairs": (
        ("torch.randn(2, 256, 8, 64)", "torch.randn(256, 32)", "torch.randn(256, 32)"),
        ["x.1 cos.0 sin.0", "x.3 2*cos.1 2*sin.1"],
    ),
    "rope_at": (
        ("torch.randn(512, 64)", "torch.randn(512, 64)", "torch.randn(512, 64)", "torch.arange(512)"),
        ["q.0 cos.0 sin.0 positions.0", "q.1 cos.1 sin.1"],
    ),
    "attention": (
        ("torch.randn(2, 8, 128, 16)", "torch.randn(2, 4, 128, 16)", "torch.randn(2, 4, 128, 16)"),
        ["q.0 k.0 v.0", "q.2 k.2 v.2", "q.3 k.3 v.3"],
    ),
    "convolution": (("torch.randn(8, 32, 256)", "torch.randn(64, 32, 3)", "torch.randn(64)"), ["weight.0 bias.0"]),
    "scattered": (
        ("torch.randn(256, 32)", "torch.randint(0, 256, (512,))", "torch.randn(512, 32)"),
        ["index.0 updates.0", "x.1 updates.1"],
    ),
    "square": (
        ("torch.randn(64, 64, 64)", "torch.randn(64, 64, 3)", "torch.randn(64)"),
        ["x.1 weight.1", "weight.0 bias.0"],
    ),
    "block_scaled": (
        ("torch.randn(1024, 4096)", "torch.randn(1024, 32)", "torch.randn(4096, 256)"),
        ["a.1 128*scale.1 b.0", "a.0 scale.0"],
    ),
    "lstm_cell": (
        (
            "torch.randn(64, 96)",
            *("torch.randn(64, 128)",) * 2,
            "torch.randn(512, 96)",
            "torch.randn(512, 128)",
            "torch.randn(512)",
        ),
        ["x.0 h.0 c.0", "x.1 w_x.1", "4*h.1 4*c.1 4*w_h.1 w_x.0 w_h.0 b.0"],
    ),
    "looked_up": (("torch.randn(512, 64)", "torch.arange(512)"), []),
    "rope_of_a_part": (
        ("torch.randn(2, 8, 256, 64)", "torch.randn(2, 2, 256, 64)", "torch.randn(512, 64)", "torch.randn(512, 64)"),
        ["q.2 k.2", "cos.0 sin.0", "q.3 cos.1 sin.1"],
    ),
    "glu": (("torch.randn(512, 256)",), []),
}
"""Inputs of each function, and the sizes that are equal in all workloads: INPUT.DIMENSION, with its factor."""


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes_together")
    (folder / "ops_of_people.py").write_text(OPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield {
            name: problem_of(Request(name=name, word=f"ops_of_people:{name}", inputs=inputs))
            for name, (inputs, _) in CASES.items()
        }


@pytest.mark.parametrize("name", CASES)
def test_sizes_that_belong_together_are_equal_in_all_workloads(problems, name):
    result = problems[name]
    inputs = [spec.name for spec in result.signature.inputs]
    small, hidden = result.problem.small, result.problem.hidden
    assert len(small) >= 2
    for workload in (*small, *hidden):
        shapes = dict(zip(inputs, try_sizes(result.problem, workload.constants).inputs, strict=True))
        for together in CASES[name][1]:
            sizes = {}
            for word in together.split():
                factor, _, place = word.rpartition("*")
                tensor, _, dimension = place.partition(".")
                sizes[word] = int(factor or 1) * shapes[tensor][int(dimension)]
            assert len(set(sizes.values())) == 1, f"{workload.name}: {sizes}"


@pytest.mark.parametrize("name", CASES)
def test_a_function_runs_with_values_at_the_sizes_that_are_derived(problems, name):
    problem = problems[name].problem
    for workload in (*problem.small, *(problem.hidden if has_integers(problem) else ())):
        try_values(problem, workload.constants)


def test_the_kernel_of_a_convolution_stays_as_it_is(problems):
    for name, tensor in (("convolution", 1), ("square", 1)):
        problem = problems[name].problem
        for workload in (*problem.small, *problem.hidden):
            assert try_sizes(problem, workload.constants).inputs[tensor][2] == 3


def test_sizes_that_are_equal_by_chance_change_apart(problems):
    for workload in problems["square"].problem.small:
        (batch, inner, length), (rows, *_), _ = try_sizes(problems["square"].problem, workload.constants).inputs
        assert len({batch, inner, length, rows}) > 1
    hidden = problems["square"].problem.hidden[0]
    (batch, inner, length), (rows, *_), _ = try_sizes(problems["square"].problem, hidden.constants).inputs
    assert len({batch, inner, length, rows}) == 4


@pytest.mark.parametrize(
    ("name", "tensor", "dimension"), [("rope", 0, 3), ("rope_at", 0, 1), ("rope_in_pairs", 0, 3), ("glu", 0, 1)]
)
def test_what_is_cut_into_halves_stays_even(problems, name, tensor, dimension):
    problem = problems[name].problem
    sizes = [try_sizes(problem, w.constants).inputs[tensor][dimension] for w in (*problem.small, *problem.hidden)]
    assert all(size % 2 == 0 for size in sizes), sizes
    assert len(set(sizes)) > 1


def test_a_file_of_kernelbench_with_a_bias_of_its_own_gets_sizes_that_run():
    source = (
        "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"
        "class Model(nn.Module):\n    def forward(self, x, weight, bias):\n"
        "        return F.conv1d(x, weight, bias)\n\n"
        "def get_inputs():\n    return [torch.randn(8, 32, 256), torch.randn(64, 32, 3), torch.randn(64)]\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    problem = with_workloads("biased", source)
    for workload in problem.small:
        x, weight, bias = try_sizes(problem, workload.constants).inputs
        assert (weight[0], weight[1]) == (bias[0], x[1])


GROUPED = """import torch
class Model(torch.nn.Module):
    def forward(self, x):
        y = x.view(batch, groups, -1)
        return (y / y.norm(dim=-1, keepdim=True)).view_as(x)
batch, channels, groups, size = 8, 256, 32, 32
def get_inputs():
    return [torch.randn(batch, channels, size, size)]
def get_init_inputs():
    return []
"""
STEPS = """import torch
class Model(torch.nn.Module):
    def forward(self, x):
        state = torch.zeros_like(x[0])
        for step in x:
            state = torch.tanh(state + step)
        return state
steps, rows, columns = {steps}, 64, 512
def get_inputs():
    return [torch.randn(steps, rows, columns)]
def get_init_inputs():
    return []
"""


def changed(source):
    problem = with_workloads("made", source)
    return {name for workload in (*problem.hidden, *problem.small) for name in workload.constants}


def test_a_number_of_groups_that_equals_a_size_by_chance_stays_as_it_is():
    assert changed(GROUPED) == {"batch", "channels", "size"}


def test_steps_of_a_short_loop_stay_as_they_are():
    assert changed(STEPS.format(steps=24)) == {"rows", "columns"}
    assert changed(STEPS.format(steps=200)) == {"steps", "rows", "columns"}


def test_sizes_that_follow_from_others_are_named_where_none_run(tmp_path, monkeypatch):
    (tmp_path / "jagged_sums.py").write_text(
        "import torch\ndef sums(values, offsets):\n"
        "    counts = offsets.diff()\n"
        "    rows = torch.repeat_interleave(torch.arange(len(counts), device=values.device), counts, "
        "output_size=len(values))\n"
        "    return torch.zeros(len(counts), values.shape[1], device=values.device).index_add(0, rows, values)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    inputs = ("torch.randn(8192, 128)", "torch.arange(0, 8193, 64)")
    with pytest.raises(ProblemError, match=r"(?s)sums: with the small sizes .*_0 = .*sizes as constants at its top"):
        problem_of(Request(name="sums", word="jagged_sums:sums", inputs=inputs))


def test_tables_keep_their_dtype_and_are_named_where_another_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "complex_rope.py").write_text(
        "import torch\ndef rope(x, table):\n"
        "    whole = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2)) * torch.view_as_complex(table)\n"
        "    return torch.view_as_real(whole).flatten(-2).to(x.dtype)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    inputs = ("torch.randn(64, 32, dtype=torch.bfloat16)", "torch.randn(64, 16, 2)")
    with pytest.raises(ProblemError, match=r"gives all floating-point inputs in bfloat16, also those .* in float32"):
        problem_of(Request(name="rope", word="complex_rope:rope", inputs=inputs, dtype=Dtype.BFLOAT16))
    kept = problem_of(Request(name="rope", word="complex_rope:rope", inputs=inputs))
    assert [spec.dtype for spec in kept.signature.inputs] == ["bfloat16", "float32"]


def test_equal_constants_are_parted_into_those_that_can_change_alone():
    """A product with a bias: the columns of x are the rows of w, and b has an element for each column of w."""
    at = {"x_0": 8, "x_1": 8, "w_0": 8, "w_1": 8, "b_0": 8, "other": 3}

    def runs(values):
        x, w = torch.ones(values["x_0"], values["x_1"]), torch.ones(values["w_0"], values["w_1"])
        return x.shape[1] == w.shape[0] and w.shape[1] == values["b_0"]

    (group,) = equal_groups(at, at)
    assert group == ("x_0", "x_1", "w_0", "w_1", "b_0")
    assert set(parted(group, at, runs)) == {("x_1", "w_0"), ("w_1", "b_0")}
