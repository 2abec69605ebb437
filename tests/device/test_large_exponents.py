"""Each input of which the reference takes exponentials gets values whose exponentials overflow, in `large` draws."""

from pathlib import Path

import pytest
import torch

from kopt.device.draws.distributions import Draw, make_case
from kopt.device.draws.forms import forms_of
from kopt.model.problem import Dtype, Problem, Workload
from kopt.problem.folder import load

torch.set_num_threads(1)  # other tests fork this process

MATVEC = load(Path(__file__).parents[2] / "config" / "problems" / "matvec")
REFERENCE = """
import torch
import torch.nn.functional as F
from torch import nn

class Model(nn.Module):
    def forward(self, {names}):
        return {value}

def holed():
    x = torch.randn(16, 8)
    return x.masked_fill(torch.rand(16, 8) < 0.3, float("-inf"))

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""
FREE, HOLED = "torch.randn(16, 8)", "holed()"
MERGED = (
    "(lambda m: (o * (torch.exp(a - m) / (torch.exp(a - m) + torch.exp(b - m)))[..., None], "
    "m + torch.log(torch.exp(a - m) + torch.exp(b - m))))"
    "(torch.maximum(torch.maximum(a, b), torch.full_like(a, -1e30)))"
)
CASES = {
    "two inputs": ("a, b", "torch.logaddexp(a, b)", (FREE, FREE), "ab"),
    "two inputs in base 2": ("a, b", "torch.logaddexp2(a, b)", (FREE, FREE), "ab"),
    "three inputs": ("a, b, c", "torch.logaddexp(torch.logaddexp(a, b), c)", (FREE,) * 3, "abc"),
    "second input with infinities": ("a, b", "torch.logaddexp(a, b)", (FREE, HOLED), "ab"),
    "first input with infinities": ("a, b", "torch.logaddexp(a, b)", (HOLED, FREE), "ab"),
    "merged partial results": ("o, a, b", MERGED, ("torch.randn(16, 8, 4)", FREE, HOLED), "ab"),
    "gate after a value": ("x, g", "x * F.silu(g)", (FREE, FREE), "g"),
    "softplus of a later input": ("x, y, z", "x * y + F.softplus(z)", (FREE,) * 3, "z"),
    "softmax of scores after values": ("v, s", "torch.softmax(s, -1) @ v.T", (FREE, FREE), "s"),
    "first input whose exponential leaves the domain": ("x, g", "(x.exp() * F.silu(g)).log1p()", (FREE, FREE), "g"),
}


def problem(names: str, value: str, inputs: tuple[str, ...]) -> Problem:
    text = REFERENCE.format(names=names, value=value, inputs=", ".join(inputs))
    small = (Workload(name="one", constants={}),)
    return MATVEC.model_copy(update={"reference": text, "small": small, "inputs": {}, "dtype": Dtype.FLOAT32})


@pytest.mark.parametrize("name", CASES)
def test_an_input_whose_exponentials_are_taken_is_so_large_that_they_overflow(name):
    names, value, inputs, large = CASES[name]
    made = problem(names, value, inputs)
    for seed in (1, 2):
        drawn = dict(zip(names.split(", "), make_case(made, Draw(made.small[0], "large", seed)).inputs, strict=True))
        for one in large:
            finite = drawn[one][drawn[one].isfinite()]
            assert finite.max() > 100, one
            assert finite.exp().isinf().any(), one


def test_infinities_stay_in_place_and_the_other_elements_are_drawn():
    made = problem(*CASES["first input with infinities"][:3])
    for kind in ("normal", "large", "zeros", "equal", "tiny"):
        holed = make_case(made, Draw(made.small[0], kind, 1)).inputs[0]
        given = make_case(made, Draw(made.small[0], "given", 1)).inputs[0]
        assert torch.equal(holed.isinf(), given.isinf())
        assert 0.1 < holed.isinf().double().mean() < 0.6
        assert not torch.equal(holed, given)


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ("q, k", "torch.softmax(q @ k.T, -1)"),
        ("v, q, k", "torch.softmax(q @ k.T, -1) @ v"),
        ("x, y", "x + y"),
    ],
)
def test_no_two_factors_of_an_exponent_are_large_and_nothing_is_where_no_exponential_is_taken(names, value):
    count = len(names.split(", "))
    form = forms_of(problem(names, value, ("torch.randn(8, 8)",) * count)).usual("large")
    assert len(form.further) == count - 2
