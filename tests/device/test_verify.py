from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.reference.calibration import calibrate
from kopt.device.reference.compare import compare
from kopt.device.reference.distributions import Case, Draw, make_case, plan
from kopt.device.reference.expected_output import ExpectedOutput, expected_result
from kopt.device.reference.outputs import Contract, Described, DescribedOutput, ResultContract, described
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
    for at in range(6):
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
    assert "softmax: no check can tell a right output from a wrong one (zeros, constant" in refusal
    assert "\n" not in refusal


def test_problem_whose_output_is_constant_is_refused() -> None:
    reference = SOFTMAX.reference.replace("torch.softmax(x, dim=1)", "torch.softmax(x, dim=1).sum() * 0 + x * 0")
    constant = SOFTMAX.model_copy(update={"reference": reference})
    assert "zeros" in calibrate(constant, constant.small).refusal


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


def test_nothing_is_asked_where_the_reference_is_not_finite() -> None:
    reference = SOFTMAX.reference.replace("torch.softmax(x, dim=1)", "torch.log(torch.relu(x))")
    problem = SOFTMAX.model_copy(update={"reference": reference})
    draw = plan(problem.small, 1)[0]
    case = make_case(problem, draw)
    (wanted,) = expected_result(problem, case).tensors
    output = torch.where(wanted.output.isfinite(), wanted.output, torch.nan).to(torch.bfloat16)
    assert compare(output, wanted, draw).right


@given(factor=st.floats(1.02, 100), at=st.integers(0, 5))
def test_an_output_off_by_two_percent_is_wrong(factor: float, at: int) -> None:
    draw, _, wanted = answered("matvec", at)
    assert not compare((wanted.output * factor).to(torch.bfloat16), wanted, draw).right


@pytest.mark.parametrize("at", range(6))
def test_rounding_the_exact_answer_is_right(at: int) -> None:
    for name in names(PROBLEMS):
        draw, _, wanted = answered(name, at)
        assert compare(wanted.output.to(torch.bfloat16), wanted, draw).right
