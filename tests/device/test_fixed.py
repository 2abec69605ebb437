"""What a kernel is verified for alone is named: scalars, defaults, attributes, constants that no workload changes."""

import pytest
from torch import nn

from kopt.device.reference.fixed import fixed_values
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload

NORM = nn.LayerNorm(8).extra_repr().split(", ")
"""What torch says of a norm, its size first; torch 2.13 says more than 2.11."""
HEAD = """import torch
from torch import nn
N = 8
HEADS = 4
def scaled(x, factor=2.0, *, eps=1e-6, power=None):
    return x * factor + eps
class Own(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size, self.eps = size, 1e-5
        self.norm = nn.LayerNorm(size)
    def forward(self, x):
        return self.norm(x) + self.eps
"""
MODEL = """class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {}
    def forward(self, x{}):
        return {}
def get_inputs():
    return [torch.randn(2, N){}]
def get_init_inputs():
    return []
"""


@pytest.mark.parametrize(
    ("made", "parameters", "body", "inputs", "named"),
    [
        ("pass", "", "scaled(x)", "", ["HEADS = 4", "factor = 2.0", "eps = 1e-06", "power = None"]),
        ("pass", "", "scaled(x, 3.0, eps=0.5)", "", ["HEADS = 4", "factor = 3.0", "eps = 0.5", "power = None"]),
        ("pass", ", scale", "x * scale", ", 0.25", ["scale = 0.25", "HEADS = 4"]),
        ("pass", ", bias=None", "x", ", None", ["bias = None", "HEADS = 4"]),
        ("self.own = Own(N)", "", "self.own(x)", "",
         ["own.eps = 1e-05", *(f"own.norm: {part}" for part in NORM[1:]), "HEADS = 4"]),
        ("self.pool = nn.MaxPool1d(3, stride=(2,))", "", "self.pool(x)", "",
         ["pool: kernel_size=3", "pool: stride=(2,)", "pool: padding=0", "pool: dilation=1", "pool: ceil_mode=False",
          "HEADS = 4"]),
    ],
)  # fmt: skip
def test_values_that_no_workload_changes_are_named_and_sizes_are_not(made, parameters, body, inputs, named):
    problem = Problem(
        name="p", reference=HEAD + MODEL.format(made, parameters, body, inputs), seed=Kernel(source=""),
        dtype=Dtype.FLOAT32, main=(Workload(name="main"),), small=(Workload(name="small", constants={"N": 16}),),
    )  # fmt: skip
    assert sorted(fixed_values(problem)) == sorted(named)
