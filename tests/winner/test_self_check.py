"""The check in a kernel's file knows what rounding may do, and no more."""

import pytest
import torch

from kopt.winner.embedded.self_check import TF32_UNIT, Errors, errors_of, unit_of
from kopt.winner.embedded.undecided import Right


def wrong(values, exact):
    return errors_of(values, Right(exact)).wrong


def test_a_few_whole_numbers_may_be_off_by_one_and_no_more():
    right = torch.arange(1000, dtype=torch.int8)
    rounded = right.clone()
    rounded[7] += 1
    assert wrong(rounded, right) == 0
    rounded[7] += 1
    assert wrong(rounded, right) > 0
    assert wrong(right + 1, right) > 0
    kept = torch.ones(1000, dtype=torch.bool)
    dropped = kept.clone()
    dropped[7] = False
    assert wrong(dropped, kept) > 0


def test_no_more_whole_numbers_may_be_wrong_than_twice_pytorchs_share_and_by_no_more():
    own = Errors(numbers=0.0, whole=0.1, wrong=0.02)
    assert Errors(0.0, 0.2, 0.04).permitted(own, 2.0**-7)
    assert not Errors(0.0, 0.1, 0.05).permitted(own, 2.0**-7)
    assert not Errors(0.0, 0.3, 0.02).permitted(own, 2.0**-7)


def test_another_shape_is_wrong():
    assert not errors_of(torch.ones(3), Right(torch.ones(2))).permitted(Errors(0.0, 0.0, 0.0), 1.0)


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
