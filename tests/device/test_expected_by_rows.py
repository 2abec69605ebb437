"""Expected results that are computed in parts are those of the whole, and are kept on the host where they are small."""

import pytest
import torch

from kopt.device.draws.distributions import Draw, make_case
from kopt.device.expected import expected_by_rows
from kopt.device.expected.expected_by_rows import ExpectedOutputs
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.outputs import run_reference
from kopt.model.problem import Workload
from tests.device.small import SCALE
from tests.device.small_cases import row_model


def test_a_result_judged_in_parts_is_judged_like_the_whole(monkeypatch):
    draw = Draw(SCALE.small[0], "normal", 3)
    case = make_case(SCALE, draw)
    (right,) = run_reference(SCALE, case).tensors
    wrong = right.clone()
    wrong[-1] += 1
    monkeypatch.setattr(ExpectedOutputs, "_works_by_rows", lambda self: True)
    for part_bytes in (expected_by_rows.PART_BYTES, 16 * case.inputs[0][:2].numel()):
        monkeypatch.setattr(expected_by_rows, "PART_BYTES", part_bytes)
        expected = ExpectedOutputs(SCALE)
        for _ in range(2):  # computed, then kept
            first, kept = expected.judge(case, draw, [right]), expected.judge(case, draw, [wrong])
            assert first.right
            assert not kept.right
            assert torch.equal(right, run_reference(SCALE, case).tensors[0])
        assert len(expected._kept) == 1


def test_whether_a_problem_works_by_rows_is_found_out_once(monkeypatch):
    draw, found = Draw(SCALE.small[0], "normal", 3), []
    case = make_case(SCALE, draw)
    right = run_reference(SCALE, case).tensors
    monkeypatch.setattr(expected_by_rows, "PART_BYTES", 16 * case.inputs[0][:2].numel())
    monkeypatch.setattr(ExpectedOutputs, "_row_by_row", lambda self, draw: found.append(draw) is None)
    expected = ExpectedOutputs(SCALE)
    for _ in range(3):
        assert expected.judge(case, draw, right).right
        expected = expected.emptied()
        assert not expected._kept
    assert len(found) == len([*SCALE.small, *SCALE.hidden])


@pytest.mark.parametrize("distribution", ["normal", "tiny", "large", "extreme"])
def test_a_known_allowance_gives_the_same_expected_result(distribution):
    case = make_case(SCALE, Draw(SCALE.small[0], distribution, 3))
    first = expected_result(SCALE, case)
    again = expected_result(SCALE, case, known=[one.allowance for one in first.tensors])
    for one, other in zip(first.tensors, again.tensors, strict=True):
        assert torch.equal(one.output, other.output)
        assert torch.equal(one.allowed.nan_to_num(-1), other.allowed.nan_to_num(-1))


def test_results_that_are_too_large_to_be_kept_are_judged_alike_again(monkeypatch):
    draw = Draw(SCALE.small[0], "normal", 3)
    case = make_case(SCALE, draw)
    (right,) = run_reference(SCALE, case).tensors
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    expected = ExpectedOutputs(SCALE)
    first, again = expected.judge(case, draw, [right]), expected.judge(case, draw, [right])
    assert first == again
    assert not expected._kept


def test_a_case_that_is_judged_again_and_again_takes_the_room_of_others_and_cases_in_turn_do_not(monkeypatch):
    draws = [Draw(SCALE.small[0], "normal", seed) for seed in (3, 4)]
    cases = [make_case(SCALE, draw) for draw in draws]
    outputs = [run_reference(SCALE, case).tensors for case in cases]
    monkeypatch.setattr(expected_by_rows, "HOST_BYTES", 0)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 0)
    expected = ExpectedOutputs(SCALE, most_bytes=8 * outputs[0][0].numel())
    kept = []
    for at in (0, 1, 0, 1, 1, 1, 0, 1):
        assert expected.judge(cases[at], draws[at], outputs[at]).right
        kept.append([seed for (*_, seed), parts in expected._exact.items() if parts])
    assert kept == [[3], [3], [3], [3], [4], [4], [4], [4]]


def test_a_case_that_was_refused_once_and_is_kept_now_takes_no_room_of_others(monkeypatch):
    draws = [Draw(SCALE.small[0], "normal", seed) for seed in (3, 4)]
    cases = [make_case(SCALE, draw) for draw in draws]
    outputs = [run_reference(SCALE, case).tensors for case in cases]
    size = expected_by_rows.kept_size([outputs[0][0].numel()])
    monkeypatch.setattr(expected_by_rows, "HOST_BYTES", 0)
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", size)
    expected = ExpectedOutputs(SCALE)
    for at in (0, 1):
        expected.judge(cases[at], draws[at], outputs[at])
    monkeypatch.setattr(expected_by_rows, "KEPT_BYTES", 2 * size)
    expected._granted.clear()
    for at in (0, 1, 1):
        assert expected.judge(cases[at], draws[at], outputs[at]).right
    assert {seed for *_, seed in expected._kept} == {3, 4}


def test_what_a_wrong_result_was_compared_with_is_kept(monkeypatch):
    draw = Draw(SCALE.small[0], "normal", 3)
    case = make_case(SCALE, draw)
    (right,) = run_reference(SCALE, case).tensors
    expected = ExpectedOutputs(SCALE)
    assert not expected.judge(case, draw, [right + 1]).right
    monkeypatch.setattr(expected_by_rows, "run_reference", None)
    assert expected.judge(case, draw, [right]).right


@pytest.mark.parametrize(
    "result",
    ["x.sum()", "x.sum(0)", "x.t()", "x[:3]", "torch.cat([x, x])", "(x.sum(), x)", "x.sum().reshape(1, 1)"],
)
def test_a_result_whose_rows_are_not_those_of_the_first_input_is_that_of_the_whole_input(result):
    problem = SCALE.model_copy(update={"name": "rows", "reference": row_model(64, result)})
    draw = Draw(Workload(name="main", constants={}), "given", 3)
    case = make_case(problem, draw)
    right = run_reference(problem, case).tensors
    expected = ExpectedOutputs(problem)
    for _ in range(2):  # computed, then kept
        assert expected.judge(case, draw, right).right
        assert not expected.judge(case, draw, [torch.zeros_like(tensor) for tensor in right]).right
