"""A kernel that rounds less than eager, or elsewhere, is right on short rows, whose elements nearly cancel out."""

from collections.abc import Callable
from functools import partial

import pytest
import torch

from kopt.device.draws.distributions import Case, Draw, make_case
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result, with_other_roundings
from kopt.device.expected.roundings.between import changes_between
from kopt.device.expected.runs import in_dtype
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Tolerance, Workload

torch.set_num_threads(1)  # other tests fork this process

REFERENCES = {
    "adaptive": "x = x + w * y; n = F.layer_norm(x.float(), (M,), eps=1e-6).to(x.dtype); return x, n * (1 + v) + w",
    "layer norm": "return F.layer_norm(x, (M,), w, v)",
    "by hand": "return (x - x.mean(-1, True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt() * w + v",
    "rms norm": "s = x + y; return s, F.rms_norm(s, (M,), w)",
    "group norm": "return F.group_norm((x + w).view(-1, 4, M), 2, w[:1].expand(4)).view(-1, M)",
    "softmax": "s = x * 3 + y; return s, torch.softmax(s, -1)",
}
TEXT = """
import torch
from torch import nn
import torch.nn.functional as F

M = 64
ROWS = 128

class Model(nn.Module):
    def forward(self, x, y, w, v):
        {}

def get_inputs():
    return [torch.randn(ROWS, M), torch.randn(ROWS, M), torch.randn(M), torch.randn(M)]

def get_init_inputs():
    return []
"""
SHORT = (2, 4, 8, 16)
"""Elements of a row."""


def problem_of(name: str, dtype: Dtype, length: int = 4, tolerance: Tolerance | None = None) -> Problem:
    small = (Workload(name="short", constants={"M": length}),)
    return Problem(
        name=name, reference=TEXT.format(REFERENCES.get(name, name)), seed=Kernel(source=""), dtype=dtype,
        main=(Workload(name="given"),), small=small, tolerance=tolerance,
    )  # fmt: skip


def judged(problem: Problem, kind: str, seed: int, kernel: Callable[[Case], tuple[torch.Tensor, ...]]) -> str:
    """Return what is wrong with a kernel's result on a draw; empty for a right one."""
    draw = Draw(problem.small[0], kind, seed)
    case = make_case(problem, draw)
    expected = expected_result(problem, case)
    pairs = zip(kernel(case), expected.contract.tensors, strict=True)
    tensors = [tensor.to(contract.dtype) for tensor, contract in pairs]
    return compare_result(tensors, expected, draw, case).reason


def modulated(case: Case, *, sum_in: bool, norm_of_rounded: bool, moments_of_rounded: bool) -> tuple[torch.Tensor, ...]:
    """Compute the reference `adaptive` in float32.

    Args:
        case: model and inputs.
        sum_in: the product is rounded before it is added.
        norm_of_rounded: the sum is rounded before it is normalised.
        moments_of_rounded: it is rounded before mean and variance are taken.
    """
    dtype = case.inputs[0].dtype
    x, y, w, v = (tensor.float() for tensor in case.inputs)
    product = w * y
    exact = x + (product.to(dtype).float() if sum_in else product)
    rounded = exact.to(dtype).float()
    moments, row = rounded if moments_of_rounded else exact, rounded if norm_of_rounded else exact
    mean, variance = moments.mean(-1, keepdim=True), moments.var(-1, correction=0, keepdim=True)
    return rounded, (row - mean) * torch.rsqrt(variance + 1e-6) * (1 + v) + w


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16, Dtype.FLOAT32])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_kernel_that_rounds_its_result_alone_is_right_on_short_rows(name, dtype):
    kernel = partial(in_dtype, dtype=torch.float32)
    for length in SHORT:
        problem = problem_of(name, dtype, length)
        for kind in ("given", "equal", "large", "negative"):
            assert judged(problem, kind, 1, kernel) == "", (length, kind)


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16])
@pytest.mark.parametrize("sum_in", [True, False])
def test_a_kernel_that_rounds_as_eager_does_but_not_to_the_end_is_right(dtype, sum_in):
    kernel = partial(modulated, sum_in=sum_in, norm_of_rounded=True, moments_of_rounded=True)
    for length in SHORT:
        for kind in ("given", "equal", "large", "negative"):
            assert judged(problem_of("adaptive", dtype, length), kind, 1, kernel) == "", (length, kind)


def test_a_norm_of_rounded_numbers_by_the_moments_of_others_is_wrong():
    problem = problem_of("adaptive", Dtype.BFLOAT16, 2)
    kernel = partial(modulated, sum_in=False, norm_of_rounded=True, moments_of_rounded=False)
    assert "elements are wrong" in judged(problem, "large", 1, kernel)


@pytest.mark.parametrize("rounds_first", [True, False])
def test_scores_may_be_rounded_at_either_place(rounds_first):
    def kernel(case: Case) -> tuple[torch.Tensor, ...]:
        x, y = case.inputs[0].float() * 3, case.inputs[1].float()
        scores = (x.bfloat16().float() if rounds_first else x) + y
        return scores, torch.softmax(scores if rounds_first else scores.bfloat16().float(), -1)

    for length in SHORT:
        for kind in ("given", "large"):
            assert judged(problem_of("softmax", Dtype.BFLOAT16, length), kind, 1, kernel) == "", (length, kind)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_usual_probes_are_caught_on_short_rows(name):
    problem = problem_of(name, Dtype.BFLOAT16, 8)
    assert calibrate(problem, problem.small).refusal == ""


def changes(body: str, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first tensor of a bfloat16 reference in float64, and its largest change by other roundings."""
    problem = problem_of(body, Dtype.BFLOAT16)
    case = make_case(problem, Draw(problem.small[0], "normal", 1))
    case = Case(case.reference, case.model, tuple(inputs) + case.inputs[len(inputs) :])
    exact = in_dtype(case, torch.float64)
    found = changes_between(case, exact)
    assert found is not None
    return exact[0], found[0]


def test_one_rounding_changes_an_element_by_more_than_half_a_unit_and_at_most_by_one_and_a_half():
    exact, change = changes("return x * y", [])
    unit = torch.ldexp(torch.full_like(exact, torch.finfo(torch.bfloat16).eps), exact.frexp().exponent - 1)
    inexact = exact.bfloat16().double() != exact
    share = (change / unit)[inexact]
    assert float(share.min()) >= 0.5 - 1e-4
    assert float(share.max()) <= 1.5 + 1e-4
    assert not change[~inexact].any()


def test_a_root_mean_square_norm_of_torch_rounds_once_as_a_layer_norm_does():
    for body in ("return F.rms_norm(x, (M,))", "return torch.rms_norm(x, (M,))", "return F.layer_norm(x, (M,))"):
        exact, change = changes(body, [])
        assert float((change / exact.abs()).max()) <= 1.6 * torch.finfo(torch.bfloat16).eps


def test_the_mean_of_equal_numbers_is_theirs_however_they_are_rounded():
    rows = torch.linspace(1, 2, 128).bfloat16()[:, None].expand(128, 4)
    _, change = changes("s = x * y; return s - s.mean(-1, True)", [rows, rows.flip(0)])
    assert not change.any()


def test_nothing_else_is_allowed_where_nothing_is_rounded_or_the_tolerance_is_declared():
    for dtype, tolerance in ((Dtype.FLOAT32, None), (Dtype.BFLOAT16, Tolerance(absolute=0.1, relative=0.1))):
        problem = problem_of("adaptive", dtype, tolerance=tolerance)
        case = make_case(problem, Draw(problem.small[0], "equal", 1))
        expected = expected_result(problem, case)
        assert with_other_roundings(expected, case) is expected


BY_TYPE = {
    "softmax in float32, then a product": "return F.softmax(x @ y.t(), -1, dtype=torch.float32).to(x.dtype) @ y",
    "a norm in float32, then a product": "h = x.float(); h = h * torch.rsqrt(h.square().mean(-1, True) + 1e-6)\n"
    "        return (w * h.to(x.dtype)) @ y.t()",
    "a state of the inputs' type": "h = torch.zeros(ROWS, M, dtype=x.dtype, device=x.device)\n"
    "        for _ in range(3):\n            h = torch.tanh(h @ x.t() @ y + x)\n        return h",
}
"""References that convert to the type of an input by its name, and multiply after that."""


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16])
@pytest.mark.parametrize("name", BY_TYPE)
def test_numbers_of_16_bits_go_by_the_name_of_their_type_while_other_roundings_are_tried(name, dtype):
    problem = problem_of(BY_TYPE[name], dtype)
    case = make_case(problem, Draw(problem.small[0], "given", 0))
    exact = in_dtype(case, torch.float64)
    (change,) = changes_between(case, exact)
    assert float(change.max()) > 0
    assert not calibrate(problem, problem.small).refusal


def test_a_conversion_by_the_name_of_a_type_is_a_rounding_like_any_other():
    text = "h = (x.float() * y.float()).to({}); return torch.exp(h * 20 - (h * 20).amax(-1, True))"
    changes = []
    for named in ("x.dtype", "torch.bfloat16"):
        problem = problem_of(text.format(named), Dtype.BFLOAT16)
        case = make_case(problem, Draw(problem.small[0], "given", 0))
        (change,) = changes_between(case, in_dtype(case, torch.float64))
        changes.append(float(change.max()))
    assert min(changes) > 0.05


def test_a_model_of_many_steps_is_not_run_again_and_again():
    steps = "h = x\n        for _ in range({}):\n            h = h * 0.9 + y\n        return h"
    for count, runs in ((100, True), (600, False)):
        problem = problem_of(steps.format(count), Dtype.BFLOAT16)
        case = make_case(problem, Draw(problem.small[0], "given", 0))
        expected = expected_result(problem, case)
        assert (with_other_roundings(expected, case) is not expected) == runs


def test_a_result_that_is_wrong_by_much_is_refused_by_the_first_comparison():
    problem = problem_of("softmax", Dtype.FLOAT16, 64)
    draw = Draw(problem.small[0], "given", 0)
    case = make_case(problem, draw)
    expected = expected_result(problem, case)
    zeros = [torch.zeros_like(one.output, dtype=torch.float16) for one in expected.tensors]
    assert compare_result(zeros, expected, draw, case) == compare_result(zeros, expected, draw)
