import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.draws.distributions import Case, Draw, make_case, plan
from kopt.device.expected.calibration import calibrate
from kopt.device.expected.compare import compare
from kopt.device.expected.compare_result import compare_tensor
from kopt.device.expected.expected_output import ExpectedOutput, expected_result
from kopt.device.expected.outputs import Contract, Described, DescribedOutput, ResultContract, described
from kopt.device.expected.products.float32 import cut_to_tf32, rounded_to_tf32
from kopt.device.expected.tf32 import TF32_HINT, fitting
from kopt.device.expected.tolerance import calibrated
from kopt.model.problem import Problem, Tolerance
from kopt.problem.folder import load, names

torch.set_num_threads(1)  # other tests fork this process

PROBLEMS = Path(__file__).parents[2] / "config" / "problems"
SOFTMAX = load(PROBLEMS / "softmax")
CONTRACT = ResultContract("Tensor", (Contract((2, 3), torch.bfloat16, "cpu", stride=(3, 1)),))


@cache
def answered(name: str, at: int = 0) -> tuple[Draw, Case, ExpectedOutput]:
    problem = load(PROBLEMS / name)
    draw = plan(problem.small, 1)[at]
    case = make_case(problem, draw)
    return draw, case, expected_result(problem, case).tensors[0]


def test_a_tensor_of_the_right_kind_keeps_the_contract() -> None:
    assert CONTRACT.violation(described(torch.zeros(2, 3, dtype=torch.bfloat16))) == ""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "got None"),
        ((torch.zeros(2, 3, dtype=torch.bfloat16),), "tuple"),
        (torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.bfloat16)), "Parameter"),
        (torch.zeros(2, 3), "must be bfloat16, got float32"),
        (torch.zeros(3, 2, dtype=torch.bfloat16), r"must be \(2, 3\), got \(3, 2\)"),
        (torch.zeros(2, 3, dtype=torch.bfloat16, device="meta"), "must be cpu, got meta"),
        (torch.zeros(3, 2, dtype=torch.bfloat16).t(), r"strides must be \(3, 1\), .* declare `layout: any`"),
    ],
)
def test_anything_else_breaks_it(output: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assert CONTRACT.violation(described(output)) == ""


def test_a_type_that_calls_itself_tensor_breaks_it() -> None:
    fake = type("Tensor", (), {})()
    assert CONTRACT.violation(described(fake))
    assert CONTRACT.violation(DescribedOutput("Tensor")) != ""
    assert CONTRACT.violation(DescribedOutput("Tensor", (Described((), (), "", ""),))) != ""


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_eager_is_right_on_every_draw(name: str) -> None:
    for at in range(len(plan(load(PROBLEMS / name).small, 1))):
        draw, case, wanted = answered(name, at)
        assert compare(case.model(*case.inputs), wanted, draw).right


@pytest.mark.parametrize("name", names(PROBLEMS))
def test_every_probe_is_caught_on_a_shipped_problem(name: str) -> None:
    problem = load(PROBLEMS / name)
    calibration = calibrate(problem, problem.small)
    assert calibration.refusal == ""
    assert {"zeros", "constant", "previous", "lower:float8_e4m3fn"} <= {probe.name for probe in calibration.probes}
    assert sum(probe.name.startswith("without:") and not probe.vacuous for probe in calibration.probes) >= 2


def test_float32_problem_tells_bfloat16_apart() -> None:
    problem = Problem.model_validate(SOFTMAX.model_dump() | {"dtype": "float32"})
    calibration = calibrate(problem, problem.small)
    assert calibration.refusal == ""
    assert "lower:bfloat16" in {probe.name for probe in calibration.probes}


def test_problem_with_a_loose_tolerance_is_refused_with_the_reason() -> None:
    loose = SOFTMAX.model_copy(update={"tolerance": Tolerance(absolute=2.0, relative=0.0)})
    refusal = calibrate(loose, loose.small).refusal
    assert "softmax: the declared tolerance accepts zeros: tighten the tolerance" in refusal
    assert "\n" not in refusal


def test_problem_whose_output_is_constant_is_refused() -> None:
    reference = SOFTMAX.reference.replace("torch.softmax(x, dim=1)", "torch.softmax(x, dim=1).sum() * 0 + x * 0")
    constant = SOFTMAX.model_copy(update={"reference": reference})
    assert "outputs are zero" in calibrate(constant, constant.small).refusal


def expected(problem: Problem, case: Case) -> ExpectedOutput:
    """Return the expected value of the one tensor that a problem returns."""
    (tensor,) = expected_result(problem, case).tensors
    return tensor


def made(value: str, inputs: str = "torch.randn(N, M)", names: str = "x", **changes: object) -> Problem:
    """Return a problem whose model gives `value` for its inputs."""
    reference = f"""
import torch
from torch import nn
from torch.nn import functional as F
N, M = 6, 200
class Model(nn.Module):
    def forward(self, {names}):
        return {value}
def get_inputs():
    return [{inputs}]
def get_init_inputs():
    return []
"""
    workload = {"name": "w"}
    parts = {"name": "made", "reference": reference, "small": [workload], "main": [workload], "hidden": []}
    return Problem.model_validate(SOFTMAX.model_dump() | parts | changes)


JUDGEABLE = {
    "mean of all": "x.mean()",
    "sum of the positive": "torch.relu(x).sum()",
    "log-sum-exp": "torch.logsumexp(x, -1)",
    "argmax": "x.argmax(-1)",
    "comparison": "x > 0",
    "integer": "(x * 4).round().to(torch.int32)",
    "saturated": "torch.sigmoid(x * 10)",
    "clamped": "x.clamp(-0.1, 0.1)",
    "tiny": "x * 1e-3",
    "minus infinity": "torch.where(x > 0, x, float('-inf'))",
    "any row": "(x > 2).any(-1)",
    "count": "(x > 0).sum(-1)",
}


@pytest.mark.parametrize("name", JUDGEABLE)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_outputs_of_many_kinds_can_be_judged(name: str, dtype: str) -> None:
    problem = made(JUDGEABLE[name], dtype=dtype)
    assert calibrate(problem, problem.small).refusal == ""
    for draw in plan(problem.small, 5):
        case = make_case(problem, draw)
        assert compare(case.model(*case.inputs), expected(problem, case), draw).right, draw.distribution


def test_an_unused_input_is_no_reason_to_refuse() -> None:
    problem = made("x * 2", "torch.randn(N, M), torch.randn(N)", "x, unused")
    assert calibrate(problem, problem.small).refusal == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("torch.zeros_like(x)", "writes zeros would pass"),
        ("torch.ones_like(x)", "hardly vary with the inputs"),
        ("torch.softmax(x, -1).sum(-1)", "return per-row values"),
    ],
)
def test_a_refusal_says_what_to_do(value: str, words: str) -> None:
    problem = made(value)
    refusal = calibrate(problem, problem.small).refusal
    assert words in refusal
    assert "without" not in refusal


SUMS = {
    "cumsum": ("x.cumsum(-1)", lambda x: x.numpy().cumsum(-1)),
    "backwards": ("x.sum(-1)", lambda x: x.numpy()[:, ::-1].cumsum(-1)[:, -1].copy()),
    "mean": ("x.mean(-1)", lambda x: x.numpy().cumsum(-1)[:, -1] / x.shape[-1]),
    "squares": ("(x * x).sum(-1)", lambda x: (x * x).numpy().cumsum(-1)[:, -1]),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_float32_sum_in_another_order_is_right(name: str) -> None:
    """NumPy's cumulative sum adds one element after the other."""
    value, other = SUMS[name]
    problem = made(value, dtype="float32").model_copy(
        update={"reference": made(value).reference.replace("200", "3000")}
    )
    for seed in range(6):
        for draw in plan(problem.small, seed):
            case = make_case(problem, draw)
            output = torch.from_numpy(other(case.inputs[0]))
            comparison = compare(output, expected(problem, case), draw)
            assert comparison.right, comparison.reason


def test_a_query_that_is_scaled_and_rounded_before_the_product_is_right_and_an_eight_bit_one_wrong() -> None:
    problem = made("(q @ k.T) * 0.18", "torch.randn(64, 64), torch.randn(40, 64)", "q, k", dtype="float16")
    for seed in range(4):
        for draw in plan(problem.small, seed):
            case = make_case(problem, draw)
            q, k = (value.double() for value in case.inputs)
            wanted = expected(problem, case)
            scaled = ((q * 0.18).half().double() @ k.T).half()
            assert compare(scaled, wanted, draw).right, compare(scaled, wanted, draw).reason
            eight = (case.inputs[0].float().clamp(-448, 448).to(torch.float8_e4m3fn).double() @ k.T * 0.18).half()
            assert draw.distribution != "normal" or not compare(eight, wanted, draw).right


def test_tf32_is_wrong_where_eager_multiplies_in_float32_and_the_reason_names_the_cure() -> None:
    problem = made("a @ b", "torch.randn(64, 64), torch.randn(64, 40)", "a, b", dtype="float32")
    draw = plan(problem.small, 1)[0]
    case = make_case(problem, draw)
    output = rounded_to_tf32(case.inputs[0]) @ rounded_to_tf32(case.inputs[1])
    assert 'input_precision="ieee"' in compare(output, expected(problem, case), draw).reason


@pytest.mark.parametrize(
    ("call", "hinted"),
    [
        ("tl.dot(x, y, acc)", True),
        ('tl.dot(x, y, acc, input_precision="ieee")', False),
        ('tl.dot(x, y, acc, "tf32x3")', False),
        ("tl.dot(x, y, allow_tf32=False)", False),
        ('tl.dot(x, y, input_precision="tf32")', True),
        ('tl.dot(x, y, input_precision="ieee") + tl.dot(z, y)', True),
        ("x + y", False),
    ],
)
def test_tf32_is_named_only_where_a_product_may_use_it(call: str, hinted: bool) -> None:
    assert fitting(f"wrong{TF32_HINT}", f"a = {call}") == (f"wrong{TF32_HINT}" if hinted else "wrong")


CHAIN = """
import torch
from torch import nn

class Model(nn.Module):
    def forward(self, x):
        y, h = x, 1
        while h < 64:
            y = y.view(-1, 32 // h, 2, h)
            y = torch.stack([y[:, :, 0] + y[:, :, 1], y[:, :, 0] - y[:, :, 1]], 2)
            h *= 2
        return y.reshape(x.shape) * 64**-0.5

def get_inputs():
    return [torch.randn(8, 64)]

def get_init_inputs():
    return []
"""


def test_a_product_is_right_where_a_float32_reference_is_a_chain_of_sums() -> None:
    problem = made("x", dtype="float32").model_copy(update={"reference": CHAIN})
    signs = torch.tensor([[(-1.0) ** (i & j).bit_count() for j in range(64)] for i in range(64)])
    for draw in plan(problem.small, 1):
        case = make_case(problem, draw)
        total = torch.zeros_like(case.inputs[0])
        for at in range(64):  # one element after the other, as the blocks of a product are added
            total += case.inputs[0][:, at : at + 1] * signs[at]
        wanted = expected(problem, case)
        assert compare(total * 64**-0.5, wanted, draw).right, compare(total * 64**-0.5, wanted, draw).reason
        for lower in (torch.bfloat16, torch.float16):
            rounded = (case.inputs[0].to(lower).double() @ signs.double() * 64**-0.5).float()
            assert draw.distribution not in ("given", "normal") or not compare(rounded, wanted, draw).right


def test_a_wide_output_may_be_off_by_sixteen_units_and_a_narrow_one_by_two() -> None:
    for dtype, units in ((torch.float32, 16), (torch.float64, 16), (torch.bfloat16, 2), (torch.float16, 2)):
        exact = torch.ones(64, dtype=torch.float64)
        found = calibrated(exact.to(dtype), exact, exact, torch.ones(64, dtype=torch.bool))
        assert found.relative == units * torch.finfo(dtype).eps / 2


CONVOLUTIONS = {
    "conv1d": ("torch.randn(2, 8, 64), torch.randn(8, 8, 3)", torch.nn.functional.conv1d),
    "conv2d": ("torch.randn(2, 16, 12, 10), torch.randn(8, 16, 3, 3)", torch.nn.functional.conv2d),
    "conv_transpose2d": (
        "torch.randn(2, 16, 8, 6), torch.randn(16, 8, 3, 3)",
        torch.nn.functional.conv_transpose2d,
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_tf32_is_right_where_eager_convolves_in_it_and_bfloat16_is_wrong(name: str) -> None:
    inputs, function = CONVOLUTIONS[name]
    problem = made(f"F.{name}(x, w)", inputs, "x, w", dtype="float32")
    assert calibrate(problem, problem.small).refusal == ""
    for draw in plan(problem.small, 1):
        case = make_case(problem, draw)
        wanted = expected(problem, case)
        x, w = case.inputs
        for made_tf32 in (rounded_to_tf32, cut_to_tf32):
            output = function(made_tf32(x), made_tf32(w))
            assert compare(output, wanted, draw).right, compare(output, wanted, draw).reason
        if draw.distribution in ("given", "normal"):
            assert not compare(function(x.bfloat16().float(), w.bfloat16().float()), wanted, draw).right
            assert not compare(function(x.bfloat16().float(), w), wanted, draw).right


def test_indexes_of_equal_elements_may_come_in_any_order_where_torch_leaves_it_open() -> None:
    problem = made("x.topk(3, -1).indices")
    for draw in plan(problem.small, 2):
        case = make_case(problem, draw)
        other = case.inputs[0].shape[-1] - 1 - case.inputs[0].flip(-1).topk(3, -1).indices
        assert compare(other, expected_result(problem, case).tensors[0], draw).right, draw.distribution
        asked = ~expected_result(problem, case).tensors[0].allowed.isnan()
        assert draw.distribution != "normal" or bool(asked.any())


@pytest.mark.parametrize(
    ("reference", "reverse"),
    [
        ("x.float().softmax(-1).topk(3, -1).indices", lambda x: x.float().softmax(-1)),
        ("x.sigmoid().float().topk(3, -1).indices", lambda x: x.sigmoid().float()),
        ("(x.float() * 1e-3 + 1).sort(-1, descending=True)[1][:, :3]", lambda x: x.float() * 1e-3 + 1),
    ],
)
def test_so_may_indexes_of_elements_that_become_equal_on_the_way(reference, reverse) -> None:
    problem = made(reference)
    for draw in plan(problem.small, 2):
        case = make_case(problem, draw)
        scores = reverse(case.inputs[0])
        other = scores.shape[-1] - 1 - torch.sort(scores.flip(-1), descending=True, stable=True).indices[:, :3]
        wanted = expected_result(problem, case).tensors[0]
        comparison = compare_tensor(other, wanted, draw)
        assert comparison.right, comparison.reason
        assert comparison.check is not None
        assert math.isfinite(comparison.check.max_error + comparison.check.allowed)
        if draw.distribution == "normal":
            assert not compare_tensor(other.flip(-1), wanted, draw).right


def test_share_of_matched_elements_is_asked_where_it_is_declared() -> None:
    tolerance = Tolerance(absolute=0.01, relative=0.0, matched=0.9)
    problem = SOFTMAX.model_copy(update={"tolerance": tolerance})
    draw = plan(problem.small, 1)[0]
    case = make_case(problem, draw)
    wanted, output = expected(problem, case), case.model(*case.inputs)
    for share, right in ((0.05, True), (0.2, False)):
        changed = output.clone()
        changed.view(-1)[: int(share * output.numel())] = 1.0
        assert compare(changed, wanted, draw).right is right


def test_declared_tolerance_is_used_as_it_is() -> None:
    declared = SOFTMAX.model_copy(update={"tolerance": Tolerance(absolute=0.25, relative=0.0)})
    draw = plan(declared.small, 1)[0]
    assert expected_result(declared, make_case(declared, draw)).tensors[0].allowed.unique().tolist() == [0.25]


def test_reason_says_how_many_where_expected_and_got() -> None:
    draw, case, wanted = answered("softmax")
    output = case.model(*case.inputs)
    output[2, 7] = 1.0
    output[3, 5] = 0.5
    reason = compare(output, wanted, draw).reason
    assert "2 of 32768 elements are wrong" in reason
    assert "first at [2, 7], last at [3, 5]; worst at [2, 7]" in reason
    assert "got 1," in reason


def test_nan_is_wrong_and_gives_no_check() -> None:
    draw, case, wanted = answered("softmax")
    output = case.model(*case.inputs)
    output[1, 1] = torch.nan
    comparison = compare(output, wanted, draw)
    assert comparison.check is None
    assert "1 of 32768 elements are not finite, first at [1, 1]" in comparison.reason
    assert "overflows" not in comparison.reason
    large = replace(draw, distribution="large")
    assert "look for what overflows; else, output memory" in compare(output, wanted, large).reason


@pytest.mark.parametrize("wrong", [0.0, float("nan"), float("inf")])
def test_an_infinity_that_eager_and_float64_agree_on_is_asked_for(wrong: float) -> None:
    problem = made("torch.log(torch.relu(x))")
    draw = plan(problem.small, 1)[0]
    case = make_case(problem, draw)
    wanted, output = expected(problem, case), case.model(*case.inputs)
    assert compare(output, wanted, draw).right
    changed = torch.where(output.isinf(), wrong, output).to(torch.bfloat16)
    assert "elements are not -inf as they have to be" in compare(changed, wanted, draw).reason


def test_nan_that_eager_and_float64_agree_on_is_asked_for() -> None:
    problem = made("torch.where(x > 0, x, float('nan'))")
    draw = plan(problem.small, 1)[0]
    case = make_case(problem, draw)
    wanted, output = expected(problem, case), case.model(*case.inputs)
    assert compare(output, wanted, draw).right
    assert "not nan as they have to be" in compare(output.nan_to_num(0.0), wanted, draw).reason


def test_nothing_is_asked_where_eager_overflows_and_float64_does_not() -> None:
    problem = made("(x * 300) * (x * 300)", dtype="float16")
    draw = plan(problem.small, 1)[0]
    case = make_case(problem, draw)
    wanted, output = expected(problem, case), case.model(*case.inputs)
    assert bool(output.isinf().any())
    assert compare(output, wanted, draw).right
    assert compare(output.clamp_max(65504), wanted, draw).right


@given(factor=st.floats(1.02, 100), at=st.integers(0, 5))
def test_an_output_off_by_two_percent_is_wrong(factor: float, at: int) -> None:
    draw, _, wanted = answered("matvec", at)
    assert not compare((wanted.output * factor).to(torch.bfloat16), wanted, draw).right


@pytest.mark.parametrize("at", range(6))
def test_rounding_the_exact_answer_is_right(at: int) -> None:
    for name in names(PROBLEMS):
        draw, _, wanted = answered(name, at)
        assert compare(wanted.output.to(torch.bfloat16), wanted, draw).right
