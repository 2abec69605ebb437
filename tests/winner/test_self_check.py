"""The check in a kernel's file knows what rounding may do, and no more."""

import pytest
import torch

from kopt.winner.embedded.self_check import TF32_UNIT, largest_error, unit_of


def test_a_few_whole_numbers_may_be_off_by_one_and_no_more():
    right = torch.arange(1000, dtype=torch.int8)
    rounded = right.clone()
    rounded[7] += 1
    assert largest_error(rounded, right) == 0
    rounded[7] += 1
    assert largest_error(rounded, right) > 0
    assert largest_error(right + 1, right) > 0
    kept = torch.ones(1000, dtype=torch.bool)
    dropped = kept.clone()
    dropped[7] = False
    assert largest_error(dropped, kept) > 0


@pytest.mark.parametrize(
    ("kinds", "reference", "unit"),
    [
        ({torch.float32}, "return self.conv(x)", TF32_UNIT),
        ({torch.float32}, "return x @ self.weight", torch.finfo(torch.float32).eps),
        ({torch.float64}, "return self.conv(x)", torch.finfo(torch.float64).eps),
        ({torch.bfloat16, torch.float32}, "return x.sum()", torch.finfo(torch.bfloat16).eps),
        (set(), "return x.argmax()", 0.0),
    ],
)
def test_float32_convolutions_have_the_unit_of_tf32_which_torch_convolves_in(kinds, reference, unit):
    assert unit_of(kinds, reference) == unit
