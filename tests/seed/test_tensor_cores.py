"""Large products of float32 are computed from parts of TF32 where the device has the tensor cores for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._inductor.decomposition import select_decomp_table
from torch.fx.experimental.proxy_tensor import make_fx

from kopt.load_config import load_device
from kopt.model.device import Device
from kopt.seed.operations.operators import table
from kopt.seed.operations.own_operators import own_operators
from kopt.seed.products.tensor_cores import products_for_tensor_cores, template_seconds, use_tensor_cores
from kopt.seed.products.time import Product
from tests.seed.test_product_time import H200, ROOT

MEASURED = {
    "1 of KernelBench": (1.397, Product(4096, 4096, 4096, "float32", 4)),
    "3 of KernelBench": (3.699, Product(512, 2048, 1024, "float32", 4, batches=128)),
}
"""Times of the template on an H200 with torch 2.11 and Triton 3.6, ms."""


@pytest.mark.parametrize("name", MEASURED)
def test_the_template_is_predicted_to_take_what_it_took(name: str) -> None:
    ms, product = MEASURED[name]
    assert template_seconds(product, H200) * 1e3 == pytest.approx(ms, rel=0.1)


def replaced(function: Callable[..., Any], factors: tuple[torch.Tensor, ...], device: Device = H200) -> list[Any]:
    """Return the targets of a graph's calls after its large products became calls of the template."""
    graph = make_fx(function, tracing_mode="fake")(*factors)
    shapes = [node.meta["val"].shape for node in graph.graph.nodes if node.op == "call_function"]
    found = products_for_tensor_cores(graph, device)
    use_tensor_cores(graph, found)
    calls = [node for node in graph.graph.nodes if node.op == "call_function"]
    assert calls[-1].meta["val"].shape == shapes[-1]
    targets = [node.target for node in calls]
    assert bool(found) == (own_operators().product.default in targets)
    return targets


A, B = torch.empty(1024, 2048), torch.empty(2048, 2048)


@pytest.mark.parametrize(
    ("function", "factors", "targets"),
    [
        (torch.mm, (A, B), ["kopt_seed.product"]),
        (torch.bmm, (A.expand(4, -1, -1), B.expand(4, -1, -1)), ["kopt_seed.product"]),
        (torch.addmm, (A[0], A, B), ["kopt_seed.product", "aten.add"]),
        (torch.mm, (A[:64], B), ["aten.mm"]),
        (torch.mm, (A.bfloat16(), B.bfloat16()), ["aten.mm"]),
        (lambda c, a, b: torch.addmm(c, a, b, alpha=2), (A[0], A, B), ["aten.addmm"]),
    ],
    ids=["matrices", "batches", "a sum", "few rows", "bfloat16", "a scaled sum"],
)
def test_large_products_of_float32_become_the_template(function: Any, factors: Any, targets: list[str]) -> None:
    assert [str(target.overloadpacket) for target in replaced(function, factors)] == targets


def counted(size: int, new: int) -> torch.Tensor:
    return torch.arange(size).unsqueeze(new)


ZERO = functools.partial(torch.scalar_tensor, 0.0)
KEPT: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "upper": (lambda a, b: torch.triu(a @ b), (1, 0)),
    "lower, above a diagonal": (lambda a, b: torch.tril(a @ b, 3), (-1, 3)),
    "of batches": (lambda a, b: torch.triu(a.expand(2, -1, -1) @ b.expand(2, -1, -1), -2), (1, -2)),
    "and all of it": (lambda a, b: (lambda c: torch.triu(c) + c)(a @ b), ()),
    "of factors": (lambda a, b: torch.tril(a) @ torch.triu(b), ()),
    "of a sum": (lambda a, b: torch.triu(a @ b + 1), ()),
    "below twice the row": (
        lambda a, b: torch.where(torch.sub(counted(B.shape[1], -2), counted(len(A), -1), alpha=2) >= 0, a @ b, ZERO()),
        (),
    ),
    "of whole columns": (
        lambda a, b: torch.where(counted(B.shape[1], -2) - counted(1, -1) >= 5, a @ b, ZERO()),
        (),
    ),
    "of whole rows": (lambda a, b: torch.where(counted(1, -2) - counted(len(A), -1) >= -5, a @ b, ZERO()), ()),
    "with another number": (lambda a, b: (a @ b).masked_fill(torch.ones_like(b[:1024]).tril().bool(), 1.0), ()),
}
"""References that keep a triangle of a product, or something else, with triangle and diagonal for the template."""


@pytest.mark.parametrize("name", KEPT)
def test_a_triangle_of_a_product_is_the_templates_where_nothing_else_of_the_product_is_used(name: str) -> None:
    function, triangle = KEPT[name]
    graph = make_fx(function, table(select_decomp_table()), tracing_mode="fake")(A, B)
    use_tensor_cores(graph, products_for_tensor_cores(graph, H200))
    targets = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    (product,) = (node for node in graph.graph.nodes if node.target is own_operators().product.default)
    assert product.args[2:] == triangle
    assert (torch.ops.aten.where.self in targets) == (not triangle)


@pytest.mark.parametrize(("device", "takes"), [("h100", True), ("a100", False), ("rtx4090", False)])
def test_the_template_is_for_devices_that_have_the_instructions_and_the_memory(device: str, takes: bool) -> None:
    targets = replaced(torch.mm, (A, B), load_device(device, ROOT))
    assert (own_operators().product.default in targets) == takes


def test_products_that_pytorch_computes_in_tf32_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32")
    assert own_operators().product.default not in replaced(torch.mm, (A, B))
