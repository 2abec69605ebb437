"""The short ways to accept a right output give what the full comparison gives, bit for bit."""

from dataclasses import replace

import pytest
import torch

from kopt.artifact import canonical_json
from kopt.device.draws.distributions import Draw, make_case
from kopt.device.expected import compare as comparing
from kopt.device.expected import expected_by_rows
from kopt.device.expected.compare import compare
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_by_rows import ExpectedOutputs
from kopt.device.expected.expected_output import ExpectedOutput, expected_result
from kopt.device.expected.outputs import Contract, run_reference
from kopt.device.expected.runs import in_dtype
from kopt.device.expected.surely_right import granted_allowances, plain_allowances, surely_right
from kopt.model.problem import Dtype, Problem, Tolerance, Workload
from kopt.model.verdict import Passed
from tests.device.small import SCALE
from tests.device.small_cases import row_model

DRAW = Draw(SCALE.small[0], "normal", 3)
INF, NAN = float("inf"), float("nan")
SPECIAL = (0.0, -0.0, INF, -INF, NAN, 1e-30, 3e38)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn)
SHAPES = ((), (1,), (0, 3), (6, 5), (2, 3, 4))


def random_case(turn: int) -> tuple[torch.Tensor, ExpectedOutput]:
    """Make an output and the expected one: right, nearly right or wrong, on finite or special numbers."""
    generator = torch.Generator().manual_seed(turn)
    shape, dtype = SHAPES[turn % len(SHAPES)], DTYPES[turn % len(DTYPES)]
    exact = torch.randn(shape, generator=generator, dtype=torch.float64)
    noise = torch.rand(shape, generator=generator, dtype=torch.float64) * (0.0, 1e-3, 1e-2)[turn % 3]
    allowed = torch.full(shape, (5e-3, 0.3, 0.0, INF)[turn % 4], dtype=torch.float64)
    output = (exact + noise).to(dtype)
    if turn % 7 == 0 and exact.dim() == 2 and exact.numel():
        exact, output = exact.t(), output.t()
        allowed = allowed.t()
    for place, tensor in enumerate((output, exact, allowed)):
        if tensor.numel() and turn >> place & 8:
            at = int(torch.randint(tensor.numel(), (), generator=generator))
            value = SPECIAL[(turn // 3 + place) % len(SPECIAL)]
            index = torch.unravel_index(torch.tensor(at), tensor.shape)
            tensor[index] = NAN if place == 2 else value
    matched = (1.0, 0.9, 0.5)[turn // 5 % 3]
    return output, ExpectedOutput(Contract(tuple(output.shape), dtype, "cpu"), exact, allowed, matched)


@pytest.mark.parametrize("first", range(0, 1200, 200))
def test_the_short_comparison_is_the_full_one(first):
    shortened = 0
    for turn in range(first, first + 200):
        output, expected = random_case(turn)
        full = comparing._compared(output, expected, DRAW)
        assert repr(compare(output, expected, DRAW)) == repr(full), turn  # NaN equals NaN in words
        shortened += full.right
    assert 20 < shortened < 180


MODELS = {
    "elementwise": "x * 3 + 1",
    "rows": "x / torch.sqrt(torch.mean(x ** 2, dim=1, keepdim=True) + 1e-5)",
    "masked": "torch.where(x > 0.5, x, float('-inf'))",
    "two": "(x.exp(), x - x.mean(1, keepdim=True))",
    "an integer": "(x * 2, (x > 0).to(torch.int32))",
    "sorted": "x.sort(dim=1).values",
}


def problem_of(result: str, dtype: Dtype, tolerance: Tolerance | None = None) -> Problem:
    changes = {"reference": row_model(24, result), "dtype": dtype, "tolerance": tolerance}
    return SCALE.model_copy(update=changes | {"main": (Workload(name="m"),), "small": (Workload(name="s"),)})


def outputs_of(right: tuple[torch.Tensor, ...]) -> list[list[torch.Tensor]]:
    """Make outputs of the right ones: the same, a unit off in places, wrong in one place, not finite in one."""
    noise = torch.Generator().manual_seed(1)
    made = [list(right)]
    for change in ("unit", "wrong", "nan", "inf"):
        tensors = [tensor.clone() for tensor in right]
        for tensor in tensors:
            if not tensor.is_floating_point():
                continue
            if change == "unit":
                chosen = torch.rand(tensor.shape, generator=noise) < 0.1
                tensor[chosen] = torch.nextafter(tensor, torch.full_like(tensor, 99.0))[chosen]
            else:
                tensor[-1, 3] = {"wrong": 7.0, "nan": NAN, "inf": INF}[change]
        made.append(tensors)
    return made


@pytest.mark.parametrize(
    ("result", "dtype"),
    [
        *((one, Dtype.BFLOAT16) for one in MODELS),
        ("rows", Dtype.FLOAT16),
        ("rows", Dtype.FLOAT32),
        ("two", Dtype.FLOAT32),
    ],
)
def test_a_large_result_is_judged_as_at_first_and_in_full(monkeypatch, result, dtype):
    monkeypatch.setattr(expected_by_rows, "granted_allowances", lambda *given: [])
    problem = problem_of(MODELS[result], dtype)
    monkeypatch.setattr(ExpectedOutputs, "_works_by_rows", lambda self: True)
    monkeypatch.setattr(expected_by_rows, "PART_BYTES", 8 * 48 * 14)
    for distribution in ("normal", "large"):
        draw = Draw(problem.main[0], distribution, 5)
        case = make_case(problem, draw)
        outputs = outputs_of(run_reference(problem, case).tensors)
        judged = []
        ways = ((1 << 30, 0, True), (0, 1 << 30, True), (0, 8 * 48 * 30, True))
        for kept, most, short in (*ways, (8 * 48 * 30, 0, True), (0, 0, True), (0, 0, False)):
            monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", kept)
            with monkeypatch.context() as patch:
                if not short:
                    patch.setattr(expected_by_rows, "surely_right", lambda *given: None)
                torch.manual_seed(0)  # tolerances rest on random roundings
                expected = ExpectedOutputs(problem, most)
                judged.append([expected.judge(case, draw, output) for _ in range(3) for output in outputs])
        parts, *others = judged[
            len(ways) :
        ]  # what is kept is compared as a whole, and its figures are those of the whole
        assert all(repr(one) == repr(parts) for one in others)
        for kept in judged[: len(ways)]:
            assert [one.right for one in kept] == [one.right for one in parts]


@pytest.mark.parametrize(("result", "plain"), [("elementwise", True), ("rows", True), ("masked", False), ("two", True)])
def test_only_what_follows_from_the_allowances_alone_is_judged_by_them(result, plain):
    problem = problem_of(MODELS[result], Dtype.BFLOAT16)
    case = make_case(problem, Draw(problem.main[0], "normal", 5))
    eager = run_reference(problem, case)
    assert bool(plain_allowances(case, expected_result(problem, case, eager), eager)) == plain


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16, Dtype.FLOAT32])
@pytest.mark.parametrize("result", MODELS)
def test_what_every_tolerance_allows_is_accepted_in_full_too(monkeypatch, result, dtype):
    problem = problem_of(MODELS[result], dtype)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    for distribution in ("normal", "large", "tiny"):
        draw = Draw(problem.main[0], distribution, 5)
        case = make_case(problem, draw)
        eager = run_reference(problem, case)
        granted = granted_allowances(problem, case, eager)
        assert bool(granted) == (result != "an integer")
        full = expected_result(problem, case, eager)
        for output in outputs_of(eager.tensors):
            exact = in_dtype(case, torch.float64)
            short = surely_right(exact, output, eager, [granted], draw) if granted else None
            if short is None:
                continue
            whole = compare_result(output, full, draw)
            assert whole.right
            assert short.check.max_error == whole.check.max_error
            assert short.check.allowed <= whole.check.allowed


def test_a_model_runs_in_float64_once_for_a_draw_until_the_draw_is_over(monkeypatch):
    problem, runs = problem_of(MODELS["elementwise"], Dtype.BFLOAT16), []
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    monkeypatch.setattr(expected_by_rows, "in_dtype", lambda *given: runs.append(given) or in_dtype(*given))
    draw = Draw(problem.main[0], "normal", 5)
    case = make_case(problem, draw)
    right = run_reference(problem, case).tensors
    expected = ExpectedOutputs(problem, 8 * right[0].numel())
    for most in (1, 2):
        for _ in range(3):
            assert expected.judge(case, draw, right).right
        assert len(runs) == most
        assert expected.large_bytes == 8 * right[0].numel()
        expected.forget(draw)
        assert expected.large_bytes == 0


def test_a_large_expected_output_that_had_to_be_computed_is_kept_in_place_of_the_float64_result(monkeypatch):
    problem = problem_of(MODELS["elementwise"], Dtype.BFLOAT16)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    draw = Draw(problem.main[0], "normal", 5)
    case = make_case(problem, draw)
    right = run_reference(problem, case).tensors
    expected = ExpectedOutputs(problem, 24 * right[0].numel())
    assert not expected.judge(case, draw, [torch.zeros_like(right[0])]).right
    assert expected.large_bytes == 16 * right[0].numel()
    monkeypatch.setattr(expected_by_rows, "run_reference", None)
    assert expected.judge(case, draw, right).right


def test_nothing_that_was_found_on_other_inputs_is_left_of_a_draw_that_is_forgotten(monkeypatch):
    problem = problem_of(MODELS["elementwise"], Dtype.FLOAT32)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    draw = Draw(problem.main[0], "normal", 5)
    case = make_case(problem, draw)
    touched = replace(case, inputs=tuple(x * 1e-6 for x in case.inputs))
    expected = ExpectedOutputs(problem, 1 << 30)
    expected.judge(touched, draw, [torch.zeros_like(one) for one in run_reference(problem, touched).tensors])
    expected.forget(draw)
    assert [len(found) for found in vars(expected).values() if isinstance(found, dict)] == [0] * 5


def test_a_view_is_kept_without_what_lies_beside_it(monkeypatch):
    problem = problem_of("torch.cat([x] * 50, dim=1)[:, :4]", Dtype.FLOAT32)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    draw = Draw(problem.main[0], "normal", 5)
    case = make_case(problem, draw)
    expected = ExpectedOutputs(problem, 1 << 20)
    expected.judge(case, draw, run_reference(problem, case).tensors)
    kept = [one for parts in expected._exact.values() for exact in parts.values() for one in exact]
    assert sum(one.untyped_storage().nbytes() for one in kept) == expected.large_bytes > 0


@pytest.mark.parametrize("kept", [0, 1 << 30])
@pytest.mark.parametrize(
    "result", ["torch.log(1 + x.exp()) * 0.7", "0.7 * x * (x.exp() / (1 + x.exp()))", "(x * x * x).abs() ** (1 / 3)"]
)
def test_a_right_result_is_accepted_where_eager_overflows(monkeypatch, result, kept):
    problem = problem_of(result, Dtype.FLOAT16)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", kept)
    draw = Draw(problem.main[0], "range", 5)
    case = make_case(problem, draw)
    right = [tensor.to(torch.float16) for tensor in in_dtype(case, torch.float64)]
    assert not run_reference(problem, case).tensors[0].isfinite().all()
    compared = ExpectedOutputs(problem).judge(case, draw, right)
    assert compared.right
    assert canonical_json(Passed(judge="cuda", checks=(compared.check,)))  # a number that is not finite has no JSON


@pytest.mark.parametrize("result", ["elementwise", "rows"])
def test_a_large_right_result_needs_the_right_values_alone(monkeypatch, result):
    problem = problem_of(MODELS[result], Dtype.FLOAT32)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    monkeypatch.setattr(expected_by_rows, "expected_result", None)
    draw = Draw(problem.main[0], "normal", 5)
    case = make_case(problem, draw)
    assert ExpectedOutputs(problem).judge(case, draw, run_reference(problem, case).tensors).right


def test_a_result_that_was_judged_before_needs_the_right_values_alone(monkeypatch):
    problem = problem_of(MODELS["rows"], Dtype.BFLOAT16)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    monkeypatch.setattr(expected_by_rows, "granted_allowances", lambda *given: [])
    draw = Draw(problem.main[0], "normal", 5)
    case = make_case(problem, draw)
    right, off, *_ = outputs_of(run_reference(problem, case).tensors)
    expected = ExpectedOutputs(problem)
    first = expected.judge(case, draw, right)
    monkeypatch.setattr(expected_by_rows, "expected_result", None)
    assert expected.judge(case, draw, right) == first
    assert expected.judge(case, draw, off).right


def test_a_declared_tolerance_is_compared_in_full():
    problem = problem_of(MODELS["rows"], Dtype.BFLOAT16, Tolerance(absolute=0.1, relative=0.1, matched=0.9))
    case = make_case(problem, Draw(problem.main[0], "normal", 5))
    eager = run_reference(problem, case)
    expected = expected_result(problem, case, eager)
    assert plain_allowances(case, expected, eager) == []
    assert compare_result(eager.tensors, expected, DRAW).right
