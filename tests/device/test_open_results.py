"""Where rounding or the order of equal numbers decides, either result is right, and nothing else."""

import pytest
import torch

from kopt.device.draws.distributions import Draw
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.outputs import run_reference
from kopt.model.problem import Dtype
from tests.device.small_cases import DRAW, case_of

torch.set_num_threads(1)  # other tests fork this process


TIED = "torch.randint(-3, 4, (6, 8)).float() / 2"


PLACES = torch.arange(8)


KEPT_BY_PLACE = "x.masked_fill(x.sort(dim=-1, descending=True{})[1].argsort(-1) >= 5, -torch.inf)"
"""The five largest numbers of each row, the others minus infinity: which of equal ones is kept follows from a sort."""


def kept_by_place(x, count=5, last=False):
    """Keep the largest numbers of each row; of equal ones the first, or the last."""
    turned = x.flip(-1) if last else x
    kept = turned.masked_fill(turned.sort(dim=-1, descending=True, stable=True)[1].argsort(-1) >= count, -torch.inf)
    return kept.flip(-1) if last else kept


def test_integers_beyond_two_to_the_53rd_are_compared_exactly():
    problem, case = case_of("    def forward(self, x):\n        return x + 2**60\n", "torch.arange(4)")
    expected = expected_result(problem, case)
    right = case.inputs[0] + 2**60
    assert compare_result([right], expected, DRAW).right
    reason = compare_result([right + 1], expected, DRAW).reason
    assert "expected 1152921504606846976, got 1152921504606846977" in reason


def test_an_integer_that_rounding_decides_may_be_either_neighbour():
    forward = "    def forward(self, x):\n        return (x * 4).round().to(torch.int8)\n"
    problem, case = case_of(forward, "torch.tensor([0.125 + 2**-23, 1.0, 2.0])")
    expected = expected_result(problem, case)
    values = run_reference(problem, case).tensors[0]
    assert expected.tensors[0].allowed.tolist()[1:] == [0, 0]
    assert not compare_result([values + torch.tensor([0, 1, 0], dtype=torch.int8)], expected, DRAW).right
    assert not compare_result([values + torch.tensor([2, 0, 0], dtype=torch.int8)], expected, DRAW).right


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("inputs", ["torch.full((4, 8), {0}).mul(torch.arange(4)[:, None] + 3)", "torch.randn(4, 8)"])
@pytest.mark.parametrize(
    "kernel",
    [
        lambda x, largest: x.float() / (largest / 127).to(x.dtype).float(),
        lambda x, largest: x.float() / (largest / 127),
        lambda x, largest: x.float() * (127 / largest),
    ],
)
def test_a_quotient_that_is_cut_off_may_be_rounded_anywhere(kernel, inputs, dtype):
    forward = "    def forward(self, x):\n        return (x / (x.abs().amax(-1, keepdim=True) / 127)).to(torch.int8)\n"
    for first in range(1, 9):
        problem, case = case_of(forward, f"({inputs.format(first / 7)}).to(torch.{dtype})", Dtype(dtype))
        expected, (x,) = expected_result(problem, case), case.inputs
        output = kernel(x, x.float().abs().amax(-1, keepdim=True)).to(torch.int8)
        assert compare_result([output], expected, DRAW).right
        assert not compare_result([output - 3 * output.sign()], expected, DRAW).right


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("torch.bucketize(x, x[0].sort().values, right=True)", lambda x: torch.bucketize(x, x[0].sort().values)),
        ("x.argmax(-1)", lambda x: 7 - x.flip(-1).argmax(-1)),
        ("x.max(-1).indices", lambda x: 7 - x.flip(-1).max(-1).indices),
        ("torch.round(x).to(torch.int32)", lambda x: torch.floor(x + 0.5).to(torch.int32)),
        ("x > 0.5", lambda x: x >= 0.5),
        ("x[:, :4] > x[:, 4:]", lambda x: x[:, :4] >= x[:, 4:]),
        ("(x >= x.topk(3, -1).values[:, -1:]).sum(-1)", lambda x: torch.full((6,), 3)),
        ("x.sort(stable=True, dim=-1).indices", lambda x: 7 - x.flip(-1).sort(stable=True, dim=-1).indices),
        ("(x * 0).sum(-1).reshape(2, 3).argmax(-1)", lambda x: torch.full((2,), 2)),
        ("(x * 0).mean(-1).reshape(2, 3).max(-1).indices", lambda x: torch.full((2,), 2)),
        ("(x.sum(-1) > x.flip(-1).sum(-1)).int()", lambda x: torch.ones(6, dtype=torch.int32)),
        ("(x / 3 == x.flip(-1) / 3).int()", lambda x: torch.zeros(6, 8, dtype=torch.int32)),
        (KEPT_BY_PLACE.format(", stable=True"), lambda x: kept_by_place(x, last=True)),
        (KEPT_BY_PLACE.format(""), lambda x: kept_by_place(x, count=4, last=True)),
        (
            "x.masked_fill((x * 0).softmax(-1).cumsum(-1) > 0.6, -torch.inf)",
            lambda x: x.masked_fill(PLACES >= 5, -torch.inf),
        ),
    ],
)
def test_what_depends_on_equal_inputs_is_asked(body, wrong):
    problem, case = case_of(f"    def forward(self, x):\n        return {body}\n", TIED)
    expected = expected_result(problem, case)
    draw = Draw(problem.main[0], "given", 0)
    eager = run_reference(problem, case).tensors
    assert compare_result(eager, expected, draw).right
    assert not compare_result([wrong(case.inputs[0])], expected, draw).right


@pytest.mark.parametrize(
    ("body", "other"),
    [
        ("(x * 1e-38).softmax(-1).argmax(-1)", lambda x: x.argmax(-1)),
        ("torch.nn.functional.one_hot((x * 1e-38).softmax(-1).max(-1).indices, 8).sum(0)", None),
        ("(x * 0 + 1 / 3).sum(-1).reshape(2, 3).argmax(-1)", lambda x: torch.full((2,), 2)),
        ("x.topk(3, -1).indices", lambda x: 7 - x.flip(-1).topk(3, -1).indices),
        ("x.mode(-1).indices", lambda x: (x == x.mode(-1, keepdim=True).values).int().argmax(-1)),
        ("(x - x.mean(-1, keepdim=True) > 0.1 * x.std()).int().argmax(-1)", None),
        (KEPT_BY_PLACE.format(""), lambda x: kept_by_place(x, last=True)),
        (
            "x.masked_fill((x * 0).softmax(-1).cumsum(-1) > 0.625, -torch.inf)",
            lambda x: x.masked_fill(PLACES >= 4, -torch.inf),
        ),
    ],
)
def test_either_order_is_right_where_the_reference_leaves_it_open(body, other):
    problem, case = case_of(f"    def forward(self, x):\n        return {body}\n", TIED)
    expected = expected_result(problem, case)
    eager = run_reference(problem, case).tensors
    results = [eager, *([[other(case.inputs[0])]] if other else [])]
    assert all(compare_result(result, expected, Draw(problem.main[0], "given", 0)).right for result in results)


def one_by_one(x):
    total = x[..., 0].clone()
    for at in range(1, x.shape[-1]):
        total = total + x[..., at]
    return total


def in_pairs(x):
    while x.shape[-1] > 1:
        x = x[..., 0::2] + x[..., 1::2]
    return x[..., 0]


@pytest.mark.parametrize("then", ["", ".int()"])
@pytest.mark.parametrize(
    "inputs",
    [
        "torch.randint(-3, 4, (64, 8)).float()",
        "torch.tensor([[2.0**24, 1.0, 0.5, -(2.0**24), 1.0, 0.0, 0.0, 0.0]] * 4)",
    ],
)
def test_a_sum_that_is_rounded_may_be_computed_in_any_order(inputs, then):
    problem, case = case_of(f"    def forward(self, x):\n        return (x.sum(-1) / 2).round(){then}\n", inputs)
    expected, (x,) = expected_result(problem, case), case.inputs
    for total in (one_by_one(x), in_pairs(x), one_by_one(x.flip(-1))):
        rounded = (total / 2).round()
        assert compare_result([rounded.int() if then else rounded], expected, DRAW).right


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [
        *((dtype, False) for dtype in (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)),
        *((dtype, True) for dtype in (torch.int8, torch.uint8)),
    ],
)
def test_casts_to_an_integer_type_that_cannot_hold_the_number_are_not_compared(dtype, floating):
    info = torch.iinfo(dtype)
    then = ".float()" if floating else ""
    problem, case = case_of(
        f"    def forward(self, x):\n        return x.to({dtype}){then}\n",
        "torch.tensor([0.0, 1.5, 100.0, 1e30, -1e30, float('nan'), float('inf')])",
    )
    expected = expected_result(problem, case)
    draw = Draw(problem.main[0], "given", 0)
    for undefined in (info.min, info.max, 0):
        right = torch.tensor([0, 1, 100, *[undefined] * 4]).to(torch.float32 if floating else dtype)
        assert compare_result([right], expected, draw).right
        assert not compare_result([right.index_fill(0, torch.tensor([1]), 2)], expected, draw).right
