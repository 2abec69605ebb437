"""An exported kernel and PyTorch in its place compute one function at every size that the file takes."""

import pytest
import torch

from kopt.errors import ProblemError
from kopt.model.problem import Workload
from kopt.winner.limits import WARNING
from kopt.winner.targets import module, torch_library
from tests.device.small import SCALE
from tests.winner.test_winner import executed, on_cpu, winner

REFERENCE = """
import math
import torch

BATCH, HEADS, DIM = 4, 2, 128


class Model(torch.nn.Module):
    def __init__(self, heads, dim):
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(dim)

    def forward(self, q):
        return q * self.scale


def get_inputs():
    return [torch.randn(BATCH, HEADS, DIM)]


def get_init_inputs():
    return [HEADS, DIM]
"""
KERNEL = "calls = []\n\n\ndef kernel_function(q):\n    calls.append(1)\n    return q * q.shape[2] ** -0.5\n"
SIZES = (Workload(name="tiles", constants={"BATCH": 3, "DIM": 16}), Workload(name="odd", constants={"BATCH": 5}))
HOLDING = {
    "expression": ("return [HEADS, DIM]", "return [HEADS, DIM + 0]"),
    "derived": ("return [HEADS, DIM]", "return [HEADS, HIDDEN // HEADS]\n\nHIDDEN = HEADS * DIM"),
    "global": ("math.sqrt(dim)", "math.sqrt(DIM)"),
    "no size": ("torch.randn(BATCH, HEADS, DIM)", "torch.randn(BATCH, HEADS, DIM * DIM)"),
}


def made(name, *changes, kernel=KERNEL, main=None):
    reference = REFERENCE
    for old, new in changes:
        assert old in reference
        reference = reference.replace(old, new)
    update = {
        "name": name,
        "reference": reference,
        "main": main or (Workload(name="main"),),
        "small": SIZES,
        "keep_dtypes": True,
    }
    return winner(kernel, kernel, SCALE.model_copy(update=update))


@pytest.mark.filterwarnings(f"ignore:.*{WARNING}")
@pytest.mark.parametrize("dim", [128, 16, 64])
def test_an_operator_and_pytorch_in_its_place_take_the_size_at_hand(dim, tmp_path):
    exported = executed(on_cpu(torch_library.write(made("of_sizes"))), tmp_path)
    for call in (exported.call_kernel, torch.ops.kopt.of_sizes, torch.compile(exported.call_kernel, backend="eager")):
        q, before = torch.randn(3, 2, dim), len(exported.calls)
        right = q * dim**-0.5
        torch.testing.assert_close(call(q), right)
        assert len(exported.calls) == before + 1
        torch.testing.assert_close(call(q.double()), right.double())
        torch.testing.assert_close(call(q.clone().requires_grad_()), right, check_stride=False)
    assert len(exported.calls) == 3 + 2  # of call_kernel itself, the gradient's is PyTorch's


@pytest.mark.parametrize("form", [module, torch_library])
def test_a_model_runs_its_kernel_on_inputs_of_the_size_that_it_is_made_with_alone(form, tmp_path):
    text = form.write(made(f"of_{form.__name__.rpartition('.')[2]}"))
    exported = executed(on_cpu(text), tmp_path)
    for dim in (128, 16):
        model = exported.KernelModel(2, dim)
        with torch.no_grad():
            torch.testing.assert_close(model(torch.ones(3, 2, dim)), torch.full((3, 2, dim), dim**-0.5))
            assert exported.calls.pop()
            exported._TOLD.clear()
            with pytest.warns(UserWarning, match=f"model is made with dim = {dim}, the inputs are for 64"):
                result = model(torch.ones(3, 2, 64))
            torch.testing.assert_close(result, torch.full((3, 2, 64), dim**-0.5))
        assert not exported.calls
    assert "# model      the reference's Model made with dim = power1_from_16, as the arguments at hand" in text


@pytest.mark.parametrize("form", [module, torch_library])
@pytest.mark.parametrize("holding", HOLDING)
def test_a_size_that_the_model_holds_otherwise_is_taken_as_the_reference_has_it_alone(form, holding, tmp_path):
    text = form.write(made("holding", HOLDING[holding]))
    exported = executed(on_cpu(text), tmp_path)
    width = 128 * 128 if holding == "no size" else 128
    assert exported.why_not([torch.ones(9, 2, width)], []) == ""
    assert exported.why_not([torch.ones(9, 2, 16)], []) == f"dimension 2 of q is 16, not {width}"
    assert "# model      made for DIM = 128: workloads with another value free no size" in text


def test_a_size_that_the_kernel_asks_of_the_model_stays_free(tmp_path):
    exported = executed(
        on_cpu(module.write(made("asking", HOLDING["no size"], kernel=KERNEL.replace("q)", "q, dim)")))), tmp_path
    )
    assert exported.why_not([torch.ones(9, 2, 256)], []) == ""


def test_a_model_whose_constants_no_workload_has_is_told():
    other = (Workload(name="main", constants={"DIM": 32}),)
    sizes = made("none", HOLDING["global"], main=other)
    with pytest.raises(ProblemError, match="the model holds DIM = 128, and no workload has that"):
        module.write(winner(KERNEL, KERNEL, sizes.problem.model_copy(update={"small": SIZES[:1]})))
