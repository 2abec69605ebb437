"""What is not worth compiling: every configuration of an autotuner counts."""

import pytest

from kopt.model.build import Launch
from kopt.rewrite.limits import loaded_bytes, misfits, plausible
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


PRODUCT = """\
import torch
import triton
import triton.language as tl


@triton.jit
def product_kernel(a_ptr, b_ptr, y_ptr, N, K, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for k in range(0, K, BLOCK):
        a = tl.load(a_ptr + rows[:, None] * K + k + columns[None, :])
        b = tl.load(b_ptr + (k + rows[:, None]) * N + columns[None, :])
        acc += tl.dot(a, b)
    tl.store(y_ptr + rows[:, None] * N + columns[None, :], acc)


def kernel_function(A, B):
    y = torch.empty((128, 128), dtype=torch.float32, device=A.device)
    a, b = A.to(torch.bfloat16), B.to(torch.bfloat16)
    product_kernel[(1,)](a, b, y, 128, 128, BLOCK=128, num_warps=8, num_stages=3)
    return y
"""


@pytest.mark.parametrize(("kind", "width"), [("*bf16", 2), ("*fp32", 4), ("tensordesc<fp16[64, 64]>", 2), ("*i8", 4)])
def test_a_buffer_counts_by_its_own_type_where_inputs_are_wider(kind, width):
    (kernel,) = parse(PRODUCT).kernels
    launch = Launch(
        kernel="product_kernel", grid=(1, 1, 1), num_warps=8, num_stages=3, num_ctas=1, shared_bytes=0, registers=32,
        spills=0, signature=(("a_ptr", kind), ("b_ptr", kind), ("y_ptr", "*fp32")),
    )  # fmt: skip
    wide = tuple(
        w.model_copy(update={"inputs": tuple(t.model_copy(update={"dtype": "float32"}) for t in w.inputs)})
        for w in FACTS.workloads
    )
    facts = FACTS.model_copy(update={"launches": (launch,), "workloads": wide})
    assert loaded_bytes(kernel, facts) == width
    assert plausible(parse(PRODUCT), facts) == (width == 2)
    assert plausible(parse(PRODUCT), facts, parent=parse(PRODUCT)), "what was built fits"
