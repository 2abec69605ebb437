"""What is not worth compiling: every configuration of an autotuner counts."""

import pytest

from kopt.rewrite.limits import misfits, plausible
from kopt.rewrite.source.module import parse
from tests.rewrite import samples

FACTS = samples.facts()
SOURCE = """\
import torch
import triton
import triton.language as tl


@triton.autotune(
    configs=[
        triton.Config({"BLOCK": 256}, num_warps=4),
        triton.Config({"BLOCK": 2048}, num_warps=1),
    ],
    key=["K"],
)
@triton.jit
def kernel(a_ptr, y_ptr, K, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, BLOCK)[None, :]
    acc = tl.zeros((ROWS, BLOCK), dtype=tl.float32)
    for k in range(0, K, BLOCK):
        acc += tl.load(a_ptr + rows * K + k + columns)
    tl.store(y_ptr + rows, tl.sum(acc, axis=1, keep_dims=True))


def kernel_function(A):
    M, K = A.shape
    y = torch.empty((M, 1), dtype=A.dtype, device=A.device)
    ROWS = 1
    kernel[(triton.cdiv(M, ROWS),)](A, y, K, ROWS=ROWS)
    return y
"""


def module(rows: int):
    return parse(SOURCE.replace("ROWS = 1", f"ROWS = {rows}"))


@pytest.mark.parametrize(("rows", "count"), [(1, 0), (2, 0), (4, 1), (64, 1), (128, 2)])
def test_each_configuration_that_cannot_hold_its_tile_in_registers_counts(rows, count):
    (kernel,) = module(rows).kernels
    assert misfits(kernel, module(rows), FACTS) == count
    assert plausible(module(rows), FACTS) == (count == 0)


def test_a_parent_may_have_configurations_that_do_not_fit_but_a_rewrite_adds_none():
    assert plausible(module(8), FACTS, parent=module(4))
    assert not plausible(module(128), FACTS, parent=module(4))
    assert not plausible(module(4), FACTS, parent=module(1))
