"""A `ModelNew` of KernelBench is a kernel, called with the parameters of the reference's `Model`."""

import sys

import pytest

from kopt.device.draws.distributions import Draw, make_case
from kopt.errors import ProblemError
from kopt.model.problem import Workload
from kopt.problem.derive import derived
from kopt.problem.draft import Draft

REFERENCE = """import torch
from torch import nn

rows = 48
wide = 40

class Model(nn.Module):
    def __init__(self, n):
        super(Model, self).__init__()
        self.linear = nn.Linear(n, n)

    def forward(self, x, scale):
        return torch.tanh(self.linear(x)) * scale

def get_inputs():
    return [torch.randn(rows, wide), torch.randn(wide)]

def get_init_inputs():
    return [wide]
"""
SMALL = Workload(name="small", constants={"rows": 6, "wide": 5})


def module_of(source):
    namespace = {"__name__": "alone"}
    exec(compile(source, "problem.py", "exec"), namespace)
    return namespace


def test_a_model_new_is_called_with_the_parameters_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new = REFERENCE.replace("Model", "ModelNew").replace("nn.ModelNew", "nn.Module").partition("def get_inputs")[0]
    for source in (new, new.replace("self.linear", "self.other")):  # by name, or by shape in their order
        result = derived(Draft(name="m", reference=REFERENCE, seed=source, small=(SMALL,), hidden=()))
        kernel = module_of(result.problem.seed.source)["kernel_function"]
        case = make_case(result.problem, Draw(SMALL, "given", 1))
        state = {name.replace(".", "_"): value for name, value in case.model.named_parameters()}
        found = kernel(*case.inputs, **state, wide=5)
        assert found.equal(case.model(*case.inputs))
    wrong = new.replace("nn.Linear(n, n)", "nn.Linear(n, n, bias=False)")
    with pytest.raises(
        ProblemError, match=r"ModelNew has the parameters linear.weight, Model has linear.weight, linear"
    ):
        derived(Draft(name="m", reference=REFERENCE, seed=wrong, small=(SMALL,), hidden=()))
    sys.modules.pop("kopt_candidate", None)
