"""Make a problem of a few lines, and one case of it."""

from kopt.device.draws.distributions import Case, Draw
from kopt.device.reference.setup import load_reference, make_inputs, make_model
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload

SMALL = Workload(name="small")


DRAW = Draw(SMALL, "normal", 1)


def row_model(rows: int, result: str) -> str:
    """The source of a reference that returns this expression of `x`, positive numbers of so many rows of 48."""
    return f"""
import torch
from torch import nn

rows = {rows}

class Model(nn.Module):
    def forward(self, x):
        return {result}

def get_inputs():
    return [torch.rand(rows, 48) + 0.5]

def get_init_inputs():
    return []
"""


def case_of(body: str, inputs: str, dtype: Dtype = Dtype.FLOAT32, init: str = "", **fields: object):
    """A problem whose `forward` is this text, and a case of it with the values of `get_inputs`."""
    source = (
        f"import torch\nfrom torch import nn\n\nclass Model(nn.Module):\n    def __init__(self):\n"
        f"        super().__init__()\n{init}\n{body}\n\ndef get_inputs():\n    return [{inputs}]\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    problem = Problem(
        name="p", reference=source, seed=Kernel(source=""), dtype=dtype, main=(SMALL,), small=(SMALL,), **fields
    )
    reference = load_reference(problem, SMALL)
    return problem, Case(reference, make_model(reference, problem), make_inputs(reference, problem, seed=1))
