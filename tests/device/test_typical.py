"""Results on small inputs are judged finely where the reference scales with its inputs, and not where it does not."""

from dataclasses import replace

import pytest
import torch

from kopt.device.draws.distributions import Draw, make_case
from kopt.device.expected.expected_by_rows import ExpectedOutputs
from kopt.device.expected.outputs import run_reference
from kopt.device.expected.runs import in_dtype
from kopt.device.expected.typical import typical_sizes
from kopt.model.problem import Dtype, Workload
from tests.device.small import SCALE


def problem(result, inputs="x, y", dtype="bfloat16"):
    drawn = ", ".join(f"torch.randn(32, 48, dtype=torch.{dtype})" for _ in inputs.split(", "))
    reference = f"""
import torch
from torch import nn

class Model(nn.Module):
    def forward(self, {inputs}):
        return {result}

def get_inputs():
    return [{drawn}]

def get_init_inputs():
    return []
"""
    small = (Workload(name="small", constants={}),)
    return SCALE.model_copy(
        update={"name": "typical", "reference": reference, "small": small, "main": small, "dtype": Dtype(dtype)}
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ignored", ["x", "y"])
def test_small_elements_of_a_product_may_not_be_left_out(ignored, seed):
    product = problem("x @ y.T")
    draw = Draw(product.small[0], "tiny", seed)
    case = make_case(product, draw)
    x, y = (tensor.float() for tensor in case.inputs)
    right = (x @ y.T).bfloat16()
    x, y = (
        torch.where((name == ignored) & (tensor.abs() < 0.02), 0.0, tensor)
        for name, tensor in zip("xy", (x, y), strict=True)
    )
    expected = ExpectedOutputs(product)
    assert expected.judge(case, draw, [right]).right
    assert not expected.judge(case, draw, [(x @ y.T).bfloat16()]).right


@pytest.mark.parametrize(
    ("result", "right"),
    [
        ("torch.expm1(x * y)", lambda x, y: torch.exp(x * y) - 1),
        ("1 - torch.exp(x * y)", lambda x, y: 1 - torch.exp(x * y)),
        ("x * y - (x * y).mean(-1, keepdim=True)", lambda x, y: x * y - (x * y).sum(-1, keepdim=True) / 48),
        (
            "x / (x.norm(dim=-1, keepdim=True) + 1e-6) * y",
            lambda x, y: x / (x.square().sum(-1, True) ** 0.5 + 1e-6) * y,
        ),
        ("x * torch.sigmoid(x) * y", lambda x, y: x / (1 + torch.exp(-x)) * y),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rounding_errors_of_another_formula_are_allowed_on_small_inputs(result, right, dtype):
    chosen = problem(result, dtype=dtype)
    for seed in range(4):
        draw = Draw(chosen.small[0], "tiny", seed)
        case = make_case(chosen, draw)
        output = right(*(tensor.float() for tensor in case.inputs)).to(getattr(torch, dtype))
        comparison = ExpectedOutputs(chosen).judge(case, draw, [output])
        assert comparison.right, comparison.reason


def test_numbers_in_between_may_be_of_a_narrow_type():
    chain = problem("(x @ y.T) @ z[:32]", inputs="x, y, z", dtype="float16")
    for seed in range(4):
        draw = Draw(chain.small[0], "tiny", seed)
        case = make_case(chain, draw)
        x, y, z = (tensor.float() for tensor in case.inputs)
        between = (x @ y.T).half().float()
        assert ExpectedOutputs(chain).judge(case, draw, [(between @ z[:32]).half()]).right


def test_the_typical_size_falls_by_the_degree_of_the_reference():
    several = problem("(x * y, 3 * x, x / (x.abs() + 1), x / x.norm())", dtype="float32")
    case = make_case(several, Draw(several.small[0], "given", 1))

    def sizes(factor):
        smaller = replace(case, inputs=tuple(tensor * factor for tensor in case.inputs))
        names = run_reference(several, smaller).outputs
        return typical_sizes(several, smaller, dict(zip(names, in_dtype(smaller, torch.float64), strict=True)))

    normal, small = sizes(1.0), sizes(2.0**-20)
    falls = [normal[name] / small[name] for name in normal]
    one = falls[1]
    assert 2.0**19 < one < 2.0**22  # the largest number of three draws over that of this one
    assert falls == pytest.approx([one**2, one, 1.0, 1.0])
