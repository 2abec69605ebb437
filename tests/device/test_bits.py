"""A reference may view numbers as integers of their own width, also where kopt computes it in a wider type."""

import pytest
import torch

from kopt.device.draws.distributions import make_case, plan
from kopt.device.expected.compare_result import compare_result
from kopt.device.expected.expected_output import expected_result
from kopt.model.problem import Dtype, Workload
from tests.device.small import SCALE

REFERENCE = """
import torch
from torch import nn

class Model(nn.Module):
    def forward(self, x, bits):
        {body}

def get_inputs():
    return [torch.randn(64, 32), torch.randint(0, 1 << 16, (64, 32), dtype=torch.int32)]

def get_init_inputs():
    return []
"""
ROUNDED = (
    "return ((x.to(torch.float32).view(torch.int32) + (bits & 0xFFFF)) & -65536).view(torch.float32).to(torch.bfloat16)"
)
CASES = {
    "stochastic rounding": (ROUNDED, Dtype.FLOAT32),
    "stochastic rounding of 16 bits": (ROUNDED, Dtype.BFLOAT16),
    "sign flipped in float32": ("return (x.view(dtype=torch.int32) ^ -(2**31)).view(torch.float32) * 2", Dtype.FLOAT32),
    "sign flipped in bfloat16": ("return (x.view(torch.int16) ^ -(2**15)).view(torch.bfloat16) * 2", Dtype.BFLOAT16),
    "sign flipped in float16": ("return (x.view(torch.int16) ^ -(2**15)).view(torch.float16) * 2", Dtype.FLOAT16),
    "sign flipped in float64": ("return (x.view(torch.int64) ^ -(2**63)).view(torch.float64) * 2", Dtype.FLOAT64),
    "exponents as integers": ("return ((x.view(torch.int32) >> 23) & 0xFF) - 127", Dtype.FLOAT32),
    "bytes": ("return x.view(torch.uint8)", Dtype.FLOAT32),
}


@pytest.mark.parametrize("name", CASES)
def test_bits_of_numbers_are_those_of_the_references_own_type(name):
    body, dtype = CASES[name]
    small = (Workload(name="one"),)
    changes = {"reference": REFERENCE.format(body=body), "dtype": dtype, "small": small, "inputs": {}}
    problem = SCALE.model_copy(update=changes)
    for draw in plan(problem.small, 1):
        case = make_case(problem, draw)
        expected = expected_result(problem, case)
        output = case.model(*case.inputs)
        assert output.shape == expected.tensors[0].output.shape
        found = compare_result([output], expected, draw)
        assert found.right, found.reason
        asked = expected.tensors[0].allowed.isfinite().double().mean()
        assert asked > 0.9, draw.distribution
        if draw.distribution == "normal" and output.is_floating_point():
            assert not compare_result([-output], expected, draw).right
            assert not compare_result([torch.zeros_like(output)], expected, draw).right
