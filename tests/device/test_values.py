"""Values are taken apart, described, and copied with their layout."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kopt.device.expected.outputs import described
from kopt.device.reference.layout import assign, copied, copied_inputs, same_bits, same_strides, same_values, words
from kopt.device.reference.tree import taken_apart

torch.set_num_threads(1)  # other tests fork this process


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
