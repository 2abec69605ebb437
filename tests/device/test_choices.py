"""Operations that jump are written out as comparisons and choices, with the results that PyTorch gives."""

import pytest
import torch
from torch import nn

from kopt.device.expected.choices import written_out
from kopt.device.expected.rounding import Rounding

WRITTEN_OUT = {
    "sign": torch.sign,
    "sgn": torch.sgn,
    "signbit": torch.signbit,
    "copysign": lambda x: torch.copysign(x + 1, x),
    "copysign of whole numbers": lambda x: torch.copysign(torch.arange(len(x)), x),
    "signbit of NaN": lambda x: torch.signbit(torch.copysign(x - x + torch.nan, x)),
    "heaviside": lambda x: torch.heaviside(x, x + 3),
    "hardshrink": nn.functional.hardshrink,
    "threshold": lambda x: nn.functional.threshold(x, 0.5, 2.0),
    "threshold_": lambda x: nn.functional.threshold_(x.clone(), 0.5, 2.0),
    "logical_not": torch.logical_not,
    "logical_xor": lambda x: torch.logical_xor(x, x > 0),
    "any": lambda x: x.reshape(2, -1).any(1),
    "count_nonzero": torch.count_nonzero,
    "bool": lambda x: x.bool(),
    "hardshrink_backward": lambda x: torch.ops.aten.hardshrink_backward(x + 1, x, 0.5),
    "softshrink_backward": lambda x: torch.ops.aten.softshrink_backward(x + 1, x, 0.5),
    "threshold_backward": lambda x: torch.ops.aten.threshold_backward(x + 1, x, 0),
    "leaky_relu_backward": lambda x: torch.ops.aten.leaky_relu_backward(x + 1, x, 0.25, False),
    "hardtanh_backward": lambda x: torch.ops.aten.hardtanh_backward(x + 1, x, -1, 3),
    "hardsigmoid_backward": lambda x: torch.ops.aten.hardsigmoid_backward(6 * x + 1, x),
}


class Names(Rounding):
    """Note the operations that are run, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[str] = []

    def run(self, func, args, kwargs):
        self.whole += [str(func)] if written_out(func, args, kwargs) else []
        return super().run(func, args, kwargs)


@pytest.mark.parametrize("name", WRITTEN_OUT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operations_that_jump_are_comparisons_and_choices_with_the_same_results(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([-7, -3, -1, -0.5, -0.0, 0.0, 0.5, 1, 2.875, 3, 4, torch.inf, -torch.inf, 6], dtype=dtype)
    right = WRITTEN_OUT[name](x)
    with Names() as names:
        result = WRITTEN_OUT[name](x)
    assert not names.whole
    assert result.dtype == right.dtype
    torch.testing.assert_close(result, right, rtol=1e-6, atol=0, equal_nan=True)
