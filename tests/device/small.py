"""A small problem, and kernels for it, that the tests of the CPU stage share."""

from pathlib import Path

from kopt.load_config import load_device
from kopt.model.kernel import Kernel
from kopt.model.problem import Dtype, Problem, Workload

ROOT = Path(__file__).resolve().parents[2]
H100 = load_device("h100", ROOT)

REFERENCE = """
import torch
from torch import nn

rows = 128
columns = 512
elements = rows * columns

class Model(nn.Module):
    def __init__(self, size, factor):
        super().__init__()
        self.scale = nn.Linear(size, 1, bias=False)
        self.factor = factor

    def forward(self, x):
        return x * self.scale.weight[0] * self.factor

def get_inputs():
    assert elements == rows * columns
    return [torch.rand(rows, columns)]

def get_init_inputs():
    return [columns, 2.0]
"""

SOURCE = """
import torch
import triton
import triton.language as tl


@triton.jit
def scale_kernel(x_ptr, w_ptr, y_ptr, columns, factor, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < columns
    x = tl.load(x_ptr + row * columns + offsets, mask=mask)
    w = tl.load(w_ptr + offsets, mask=mask)
    tl.store(y_ptr + row * columns + offsets, x * w * factor, mask=mask)


def kernel_function(x, weight, factor):
    rows, columns = x.shape
    y = torch.empty_like(x)
    scale_kernel[(rows,)](x, weight, y, columns, factor, BLOCK=512, num_warps=4)
    return y
"""

SCALE = Problem(
    name="scale",
    reference=REFERENCE,
    seed=Kernel(source=SOURCE),
    dtype=Dtype.BFLOAT16,
    main=(Workload(name="wide", constants={"rows": 4096}), Workload(name="plain")),
    small=(Workload(name="small", constants={"rows": 4}),),
)


def changed(*changes: tuple[str, str]) -> Kernel:
    """The seed with pieces of its text replaced."""
    source = SOURCE
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return Kernel(source=source)
