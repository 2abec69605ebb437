"""An exported operator has the gradients of its reference, which PyTorch computes."""

import pytest
import torch

from kopt.model.problem import Workload
from kopt.winner.limits import WARNING
from kopt.winner.targets import torch_library
from tests.device.small import SCALE
from tests.winner.test_winner import executed, on_cpu, winner

REFERENCE = """
import torch
from torch import nn

rows, columns = 8, 64

class Model(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight, self.size = nn.Parameter(torch.ones(size)), size

    def forward(self, x, places):
        return torch.tanh(x) * self.weight / self.size, places + 1, x * 2

def get_inputs():
    return [torch.randn(rows, columns), torch.arange(rows)]

def get_init_inputs():
    return [columns]
"""
KERNEL = "def kernel_function(x, places, weight):\n    raise AssertionError\n"


@pytest.fixture
def exported(tmp_path):
    """An exported operator whose kernel counts its calls, and has no gradient as none of Triton has."""
    other = Workload(name="small", constants={"rows": 5, "columns": 33})
    update = {"name": "graded", "reference": REFERENCE, "main": (Workload(name="main"),), "small": (other,)}
    problem = SCALE.model_copy(update=update)
    file = executed(on_cpu(torch_library.write(winner(KERNEL, KERNEL, problem))), tmp_path)
    file.ARGUMENTS = tuple((*one[:2], one[2].replace("bfloat16", "float32"), *one[3:]) for one in file.ARGUMENTS)
    file.calls = []

    def kernel(x, places, weight):
        file.calls.append(x.shape)
        with torch.no_grad():
            return torch.tanh(x) * weight / x.shape[1], places + 1, x * 2

    file.kernel_function = kernel
    return file


def given(rows=5, columns=33):
    torch.manual_seed(0)
    return torch.randn(rows, columns).requires_grad_(), torch.arange(rows), torch.rand(columns).requires_grad_()


def gradients(call, arguments):
    results = call(*arguments)
    return torch.autograd.grad((results[0] ** 2).sum() + results[2].sum(), (arguments[0], arguments[2]))


def reference(x, places, weight):
    return torch.tanh(x) * weight / x.shape[1], places + 1, x * 2


CALLS = {
    "call_kernel": lambda file: file.call_kernel,
    "operator": lambda file: torch.ops.kopt.graded,
    "compiled": lambda file: torch.compile(file.call_kernel, backend="aot_eager", fullgraph=True),
}


@pytest.mark.filterwarnings(f"ignore:.*{WARNING}")
@pytest.mark.parametrize("way", CALLS)
def test_gradients_are_those_of_the_reference_and_the_kernel_runs_where_it_can(way, exported):
    call = CALLS[way](exported)
    for one, other in zip(gradients(call, given()), gradients(reference, given()), strict=True):
        torch.testing.assert_close(one, other)
    assert exported.calls == ([] if way == "call_kernel" else [(5, 33)])
    with torch.no_grad():
        assert not call(*given())[0].requires_grad
    assert exported.calls[-1:] == [(5, 33)]


def test_a_gradient_is_said_to_run_pytorch(exported):
    for call in (exported.call_kernel, lambda x, places, weight: exported.KernelModel(33)(x, places)):
        exported._TOLD.clear()
        with pytest.warns(UserWarning, match=f"{WARNING}, not kopt's kernel: a gradient of x is asked for"):
            call(*given())
    assert exported.calls == []


def test_gradients_of_gradients_and_of_one_argument(exported):
    x, places, weight = given()

    def twice(call):
        (once,) = torch.autograd.grad(call(x, places, weight)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(once.sum(), (x, weight))

    for one, other in zip(twice(torch.ops.kopt.graded), twice(reference), strict=True):
        torch.testing.assert_close(one, other)
    x, places, weight = given()
    torch.ops.kopt.graded(x, places, weight.detach())[0].sum().backward()
    assert x.grad is not None
