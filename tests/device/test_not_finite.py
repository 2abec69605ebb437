"""Draws hold NaN and infinities where a reference asks an input for them."""

import math

import pytest
import torch

from kopt.device.draws.not_finite import leaves_asked, with_special

X, Y = torch.randn(4, 6), torch.randn(4, 6)


class Of(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize(
    ("function", "asked"),
    [
        (lambda x, y: torch.nan_to_num(x) + y, {0}),
        (lambda x, y: x.nan_to_num_() + y, {0}),
        (lambda x, y: torch.where(torch.isfinite(y), x, 0.0), {1}),
        (lambda x, y: torch.where(torch.isnan(x - y), 0.0, x), {0, 1}),
        (lambda x, y: torch.where(x != x, y, x), {0}),
        (lambda x, y: y.masked_fill(x == float("-inf"), 0.0), {0}),
        (lambda x, y: torch.nansum(x.T.to(torch.float64), 0) + y.sum(), {0}),
        (lambda x, y: torch.softmax(x.masked_fill(y > 0, float("-inf")), -1), set()),
        (lambda x, y: torch.nan_to_num(torch.softmax(x @ y.T, -1)), set()),
        (lambda x, y: (x == y).float(), set()),
    ],
)
def test_the_inputs_are_found_that_a_reference_asks_for_nan_or_infinities(function, asked):
    assert leaves_asked(Of(function), (X, Y), torch.float32) == asked


@pytest.mark.parametrize("shape", [(3,), (1, 5), (7, 33), (0,)])
def test_special_values_replace_a_few_elements(shape):
    special = (math.nan, math.inf, -math.inf)
    values = with_special(torch.ones(shape), special)
    count = int((values != 1).sum())
    assert count == min(max(3, values.numel() // 16), values.numel())
    drawn = values[values != 1]
    assert all(bool(found.any()) for found in (drawn.isnan(), drawn.isposinf(), drawn.isneginf())) or not values.numel()
