"""Compute large products of float32 on the tensor cores, by the template `product`, where that pays.

Without matrix instructions a product of float32 runs at the rate of the vector units.  The template writes each factor
as two parts that TF32 holds, and computes three products of parts, at a third of the tensor cores' rate for TF32.
`Any`: graphs are torch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from kopt.model.device import Device
from kopt.seed.operations.own_operators import own_operators
from kopt.seed.products.row_factors import hint
from kopt.seed.products.time import LAUNCH_SECONDS, Product, Tile, seconds

_aten = torch.ops.aten
_PRODUCTS = (_aten.mm.default, _aten.bmm.default)
_SUMS = (_aten.addmm.default, _aten.baddbmm.default)
_EXACT = (Tile(64, 128, 32, 3, 4), Tile(64, 64, 32, 2, 4))
"""Tiles of TorchInductor's products that the template is compared with."""
_VIEWS = (_aten.view.default, _aten._unsafe_view.default, _aten.reshape.default)
_KEPT = {_aten.ge.Scalar: 1, _aten.le.Scalar: -1}
"""Triangle of a product whose elements a comparison of column less row with a diagonal keeps: the upper one is 1."""
BLOCK = 128
"""Rows and columns of the template's tile."""
SHARED_BYTES = 3 * 4 * BLOCK * 32 * 4
"""Shared memory of the template's tile: three stages of four parts of 128 x 32 numbers."""
HOPPER = 90
"""Least compute capability times ten whose matrix instructions read both factors from shared memory."""
SHARE = 0.8
"""Share of the tensor cores' rate for TF32 that the template's loop reaches: 318 of 398 TFLOP/s on an H200."""
GAIN = 0.8
"""Share of an exact product's time that the template may take at most."""


def products_for_tensor_cores(graph_module: Any, device: Device) -> list[Any]:
    """Find the nodes of a graph that are products of float32 for which the template is predicted to pay.

    Args:
        graph_module: the graph; its nodes hold their values as fake tensors.
        device: the device to write for.
    """
    return [node for node in graph_module.graph.nodes if _pays(node, device)]


def use_tensor_cores(graph_module: Any, products: Sequence[Any]) -> None:
    """Let nodes of a graph, which are products, be calls of the template."""
    graph = graph_module.graph
    for node in products:
        with graph.inserting_before(node):
            _replace(graph, node)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    graph_module.recompile()


def _pays(node: Any, device: Device) -> bool:
    if node.target not in (*_PRODUCTS, *_SUMS) or node.kwargs:
        return False
    if torch.backends.cuda.matmul.fp32_precision == "tf32":
        return False  # TorchInductor's products are in TF32 then
    out, factor = node.meta.get("val"), node.args[-1].meta.get("val")
    if not isinstance(out, torch.Tensor) or not isinstance(factor, torch.Tensor):
        return False
    if out.dtype is not torch.float32 or factor.dtype is not torch.float32:
        return False
    *batches, m, n = (hint(size) for size in out.shape)
    product = Product(m, n, hint(factor.shape[-2]), "float32", 4, math.prod(batches))
    exact = min(seconds(product, tile, device) for tile in _EXACT)
    return template_seconds(product, device) < GAIN * exact


def template_seconds(product: Product, device: Device) -> float:
    """Return the predicted time of the template for a product, s; infinite where the device does not serve."""
    rate = device.matmul_tflop_s.get("float32", 0.0)
    if device.arch < HOPPER or device.shared_bytes_per_block < SHARED_BYTES or not rate:
        return math.inf
    blocks = product.batches * math.ceil(product.m / BLOCK) * math.ceil(product.n / BLOCK)
    rounds = math.ceil(blocks / device.sm_count)
    multiply = rounds * 6 * BLOCK * BLOCK * product.k * device.sm_count / (SHARE * rate * 1e12)
    numbers = product.batches * product.k * (product.m + product.n)
    split = 3 * 4 * numbers / (device.copy_gb_s * 1e9)
    return multiply + split + 3 * LAUNCH_SECONDS


def _replace(graph: Any, node: Any) -> None:
    """Replace a product, and the sum with what is added to it, or the triangle of the product that is kept."""
    *added, first, second = node.args
    out = node.meta["val"]
    kept, *triangle = _kept_triangle(node)
    product = graph.call_function(own_operators().product.default, (first, second, *triangle))
    product.meta["val"] = own_operators().product.default(first.meta["val"], second.meta["val"])
    whole = product
    if added:
        whole = graph.call_function(_aten.add.Tensor, (product, added[0]))
        whole.meta["val"] = out
    node.replace_all_uses_with(whole)
    if kept is not None:
        kept.replace_all_uses_with(kept.args[1])
        graph.erase_node(kept)


def _kept_triangle(node: Any) -> tuple[Any, ...]:
    """Return the node that keeps a triangle of a product, where nothing else uses it, which one, and its diagonal.

    In a graph `triu` and `tril` are a choice between the product, or a view of it, and 0 by the difference of column
    and row: 1 stands for the upper triangle, -1 for the lower one.  Where more of it is used, the node is None, and
    nothing follows.
    """
    product = node
    if len(node.users) == 1 and next(iter(node.users)).target in _VIEWS:
        (product,) = node.users
    if node.target not in _PRODUCTS or len(product.users) != 1:
        return (None,)
    (kept,) = product.users
    last = list(node.meta["val"].shape[-2:])
    same = list(product.meta["val"].shape[-2:]) == last
    if kept.target is not _aten.where.self or kept.args[1] is not product or not same:
        return (None,)
    mask, _, zero = kept.args
    if not (_is(zero, _aten.scalar_tensor.default) and zero.args[0] == 0 and mask.target in _KEPT):
        return (None,)
    beside, diagonal = mask.args
    if not (_is(beside, _aten.sub.Tensor) and not beside.kwargs and type(diagonal) is int):
        return (None,)
    if list(beside.meta["val"].shape) != last:  # columns or rows are not counted
        return (None,)
    column, row = beside.args
    return (kept, _KEPT[mask.target], diagonal) if _counts(column, -2) and _counts(row, -1) else (None,)


def _counts(value: Any, new: int) -> bool:
    """Return whether a value is 0, 1, 2, ... along the last dimension but `new`, which has one element."""
    if not (_is(value, _aten.unsqueeze.default) and value.args[1] == new):
        return False
    (count, _) = value.args
    return _is(count, torch.ops.prims.iota.default) and (count.kwargs["start"], count.kwargs["step"]) == (0, 1)


def _is(value: Any, target: Any) -> bool:
    return getattr(value, "target", None) is target
