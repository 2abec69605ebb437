"""Results are compared with the reference's, tensor by tensor."""

from dataclasses import replace

import pytest
import torch

from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.outputs import described, result_contract, run_reference
from kopt.device.reference.contract import tensor_arguments
from kopt.errors import ProblemError
from kopt.model.problem import Dtype, Layout
from tests.device.small_cases import DRAW, case_of

torch.set_num_threads(1)  # other tests fork this process


IN_PLACE = """
    def forward(self, x, h):
        h[0].mul_(2)
        return x + h
"""


@pytest.mark.parametrize("text", ["h[0].mul_(2)", "h.view(-1)[:2].fill_(1)", "h.data.add_(1)", "h.t().zero_()"])
def test_an_argument_that_the_reference_changes_is_found_and_left_alone(text):
    problem, case = case_of(IN_PLACE.replace("h[0].mul_(2)", text), "torch.randn(2, 3), torch.randn(2, 3)")
    before = case.inputs[1].clone()
    result = run_reference(problem, case)
    assert list(result.arguments) == ["input h"]
    assert torch.equal(case.inputs[1], before)


def test_a_declared_argument_is_compared_though_it_does_not_change():
    problem, case = case_of(IN_PLACE, "torch.randn(2, 3), torch.randn(2, 3)", mutates=("x",))
    assert list(run_reference(problem, case).arguments) == ["input x", "input h"]


def test_buffers_that_a_call_changes_are_compared_but_not_torchs_counter():
    forward = "    def forward(self, x):\n        return self.norm.train()(x)\n"
    problem, case = case_of(forward, "torch.randn(4, 3)", init="        self.norm = nn.BatchNorm1d(3)")
    result = run_reference(problem, case)
    assert list(result.arguments) == ["buffer norm.running_mean", "buffer norm.running_var"]
    assert not case.model.norm.running_mean.any()
    expected = expected_result(problem, case)
    assert compare_result(run_reference(problem, case).tensors, expected, DRAW).right


def test_nested_inputs_are_arguments_with_names():
    forward = (
        "    def forward(self, states, scale):\n        states[1]['k'].zero_()\n        return states[0] * scale\n"
    )
    problem, case = case_of(forward, "[torch.ones(2), {'k': torch.ones(3)}], 2.0")
    assert list(tensor_arguments(case.model, case.inputs)) == ["input states[0]", "input states[1]['k']"]
    assert list(run_reference(problem, case).arguments) == ["input states[1]['k']"]


def test_the_wrong_tensor_is_named():
    problem, case = case_of("    def forward(self, x):\n        return x + 1, (x > 0, x.long())\n", "torch.randn(2, 3)")
    expected = expected_result(problem, case)
    right = list(run_reference(problem, case).tensors)
    assert compare_result(right, expected, DRAW).right
    for place, name in enumerate(("output[0]", "output[1][0]", "output[1][1]")):
        wrong = list(right)
        wrong[place] = ~right[place] if right[place].dtype is torch.bool else right[place] + 1
        assert compare_result(wrong, expected, DRAW).reason.startswith(f"{name}: small workload small")


@pytest.mark.parametrize(
    ("body", "same"),
    [
        ("return x.mul_(2)", ("input x",)),
        ("return x.mul_(2).clone()", ("",)),
        ("return x.mul_(2)[1:], x.T, x + 1", ("", "", "")),
        ("return x + 0, x.add_(1)", ("", "input x")),
        ("return x", ("",)),
    ],
)
def test_an_output_that_is_a_changed_argument_must_be_that_argument(body, same):
    problem, case = case_of(f"    def forward(self, x):\n        {body}\n", "torch.randn(3, 4)")
    result = run_reference(problem, case)
    contract = result_contract(problem, case, result)
    assert contract.same == same
    right = replace(described(list(result.outputs.values())), structure=contract.structure)
    assert not contract.violation(replace(right, same=same))
    assert not contract.violation(right)  # where nobody looked
    copied = contract.violation(replace(right, same=("",) * len(same)))
    assert ("must be input x itself, no copy" in copied) == ("input x" in same)


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float64]
)
def test_floating_point_outputs_of_every_width_are_compared(dtype):
    name = str(dtype)
    problem, case = case_of(f"    def forward(self, x):\n        return (2 * x).to({name})\n", "torch.randn(8, 8)")
    expected = expected_result(problem, case)
    (right,) = run_reference(problem, case).tensors
    assert right.dtype is dtype
    assert compare_result([right], expected, DRAW).right
    assert not compare_result([(right.double() * 1.5).to(dtype)], expected, DRAW).right


def test_an_eight_bit_input_stays_one():
    _, case = case_of("    def forward(self, x):\n        return x.float()\n", "torch.ones(3).to(torch.float8_e4m3fn)")
    assert case.inputs[0].dtype is torch.float8_e4m3fn


def test_float32_is_not_enough_for_a_float64_problem_but_another_order_of_summation_is():
    forward = "    def forward(self, x):\n        return x.sum(-1)\n"
    problem, case = case_of(forward, "torch.randn(4, 999)", Dtype.FLOAT64)
    expected = expected_result(problem, case)
    (x,) = case.inputs
    assert compare_result([x.flip(-1).cumsum(-1)[:, -1]], expected, DRAW).right
    assert not compare_result([x.float().sum(-1).double()], expected, DRAW).right


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return torch.complex(x, x)", "output is complex64, which cannot be compared"),
        ("return x, torch.view_as_complex(x.view(-1, 2))", r"output\[1\] is complex64"),
        ("return str, x", "returns a builtins.type"),
        ("return None", "returns None and changes no input"),
        ("return 3", "returns 3 and changes no input"),
        ("return x.to_sparse()", "sparse"),
    ],
)
def test_a_result_that_cannot_be_compared_is_refused_in_a_sentence(body, words):
    problem, case = case_of(f"    def forward(self, x):\n        {body}\n", "torch.randn(2, 2)")
    with pytest.raises(ProblemError, match=words) as refused:
        run_reference(problem, case)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "inputs", "stride"),
    [
        ("return x + 1", "torch.randn(4, 2).t()", (1, 2)),
        ("return torch.softmax(x, -1)", "torch.randn(4, 2).t()", (4, 1)),
        ("return (x + 1).t()", "torch.randn(2, 4)", (1, 4)),
        ("return x.sum(0, keepdim=True).expand(2, 4)", "torch.randn(2, 4)", None),
    ],
)
def test_strides_are_those_that_eager_gives(body, inputs, stride):
    problem, case = case_of(f"    def forward(self, x):\n        {body}\n", inputs)
    (contract,) = result_contract(problem, case, run_reference(problem, case)).outputs
    assert contract.stride == stride
    free = problem.model_copy(update={"layout": Layout.ANY})
    assert result_contract(free, case, run_reference(problem, case)).outputs[0].stride is None


def test_strides_that_torch_chooses_for_one_device_only_are_not_asked_for():
    """`torch.linalg.inv` gives columns on the CPU, and rows of meta tensors, or both alike."""
    problem, case = case_of("    def forward(self, x):\n        return torch.linalg.inv(x)\n", "torch.eye(3)")
    (tensor,) = run_reference(problem, case).tensors
    (contract,) = result_contract(problem, case, run_reference(problem, case)).outputs
    with torch.device("meta"):
        elsewhere = torch.linalg.inv(torch.empty(3, 3))
    assert contract.stride == (tensor.stride() if tensor.stride() == elsewhere.stride() else None)
