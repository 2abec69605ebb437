"""Results are taken apart, described, copied with their layout and compared, tensor by tensor."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.draws.distributions import Case, Draw
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.device.expected.outputs import described, result_contract, run_reference
from kopt.device.reference.contract import tensor_arguments
from kopt.device.reference.layout import assign, copied, copied_inputs, same_bits, same_strides, same_values, words
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.device.reference.tree import taken_apart
from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Layout, Problem, Workload

torch.set_num_threads(1)  # other tests fork this process

SMALL = Workload(name="small")
DRAW = Draw(SMALL, "normal", 1)
X = torch.arange(6.0).view(2, 3)


class Pair(NamedTuple):
    y: torch.Tensor
    h: torch.Tensor


@dataclass
class Fields:
    y: torch.Tensor
    n: int


@pytest.mark.parametrize(
    ("value", "structure", "names"),
    [
        (X, "Tensor", ["output"]),
        ((X,), "(Tensor,)", ["output[0]"]),
        ([X, None], "[Tensor, None]", ["output[0]"]),
        (Pair(X, X), "(Tensor, Tensor)", ["output[0]", "output[1]"]),
        (X.max(1), "(Tensor, Tensor)", ["output[0]", "output[1]"]),
        ({"b": X, "a": (2, 0.5)}, "{'a': (2, 0.5), 'b': Tensor}", ["output['b']"]),
        (OrderedDict(y=X), "{'y': Tensor}", ["output['y']"]),
        (Fields(X, 3), "{'n': 3, 'y': Tensor}", ["output['y']"]),
        (None, "None", []),
        ((True, 1), "(True, 1)", []),
        (X[0, 0], "Tensor", ["output"]),
    ],
)
def test_a_value_is_its_structure_and_its_named_tensors(value, structure, names):
    parts = taken_apart(value, "output")
    assert (parts.structure, list(parts.tensors)) == (structure, names)


def test_a_subclass_of_tensor_is_named_where_types_are_exact():
    assert "Parameter" in described(torch.nn.Parameter(X)).structure
    assert taken_apart(torch.nn.Parameter(X), "output").structure == "Tensor"


def test_values_of_a_lazy_container_are_not_asked_for():
    class Lazy(dict):
        def items(self):
            raise AssertionError("computed")

    assert described(Lazy(y=X)).structure == "{'y': Tensor}"


def layouts():
    base = torch.arange(48.0)
    return [
        base.view(6, 8), base.view(6, 8).t(), base.view(6, 8)[:, ::2], base[5:], base[:6].unsqueeze(1).expand(6, 4),
        base[3], base.view(6, 8)[2:4, 1:5], base[:0], base.unfold(0, 4, 2), base.to(torch.float8_e5m2)[3:],
    ]  # fmt: skip


@pytest.mark.parametrize("tensor", layouts())
def test_a_copy_keeps_strides_offset_and_values(tensor):
    copy = copied(tensor)
    assert (copy.stride(), copy.storage_offset()) == (tensor.stride(), tensor.storage_offset())
    assert same_bits(copy, tensor)
    assert copy.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr() or not tensor.numel()
    assert copied(tensor, torch.float64).dtype is torch.float64


def test_an_expanded_tensor_can_be_written_to():
    target, source = torch.zeros(3, 1).expand(3, 4), torch.arange(3.0).unsqueeze(1).expand(3, 4)
    assign(target, source)
    assert torch.equal(target, source)
    assert words(target).numel() * words(target).itemsize == 12


def test_copied_inputs_keep_layouts_and_what_is_no_number_of_another_dtype():
    inputs = ({"x": torch.randn(3, 1).expand(3, 4)}, [torch.arange(3), 2.5])
    nested, (indexes, number) = copied_inputs(inputs, torch.float64)
    assert nested["x"].dtype is torch.float64
    assert nested["x"].stride() == inputs[0]["x"].stride()
    assert indexes.dtype is torch.int64
    assert indexes.data_ptr() != inputs[1][0].data_ptr()
    assert number == 2.5


def test_nan_is_the_same_value_as_nan():
    nan = torch.tensor([torch.nan, torch.nan, 0.0])
    assert same_values(nan, torch.tensor([torch.nan, 1.0, -0.0])).tolist() == [True, False, True]


def test_bits_tell_nan_and_signed_zeros_apart():
    assert same_bits(torch.tensor([torch.nan]), torch.tensor([torch.nan]))
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))


@given(st.integers(0, 3), st.integers(1, 9))
def test_the_stride_of_a_dimension_of_size_one_does_not_matter(dimension, step):
    shape, stride = [2, 3, 4, 5], [60, 20, 5, 1]
    other = [*stride[:dimension], step * 7, *stride[dimension + 1 :]]
    assert not same_strides(shape, stride, other)
    shape[dimension] = 1
    assert same_strides(shape, stride, other)


def case_of(body: str, inputs: str, dtype: Dtype = Dtype.FLOAT32, init: str = "", **fields: object):
    """A problem whose `forward` is this text, and a case of it with the values of `get_inputs`."""
    source = (
        f"import torch\nfrom torch import nn\n\nclass Model(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n{init}\n{body}\n\ndef get_inputs():\n    return [{inputs}]\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    problem = Problem(
        name="p", reference=source, seed=Kernel(source=""), dtype=dtype, main=(SMALL,), small=(SMALL,), **fields
    )
    reference = load_reference(problem, SMALL)
    return problem, Case(reference, make_model(reference, problem), make_inputs(reference, problem, seed=1))


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
        assert compare_result(wrong, expected, DRAW).reason.startswith(f"{name}: workload small")


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


TIED = "torch.randint(-3, 4, (6, 8)).float() / 2"

PLACES = torch.arange(8)
KEPT_BY_PLACE = "x.masked_fill(x.sort(dim=-1, descending=True{})[1].argsort(-1) >= 5, -torch.inf)"
"""The five largest numbers of each row, the others minus infinity: which of equal ones is kept follows from a sort."""


def kept_by_place(x, count=5, last=False):
    """Keep the largest numbers of each row; of equal ones the first, or the last."""
    turned = x.flip(-1) if last else x
    kept = turned.masked_fill(turned.sort(dim=-1, descending=True, stable=True)[1].argsort(-1) >= count, -torch.inf)
    return kept.flip(-1) if last else kept


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
