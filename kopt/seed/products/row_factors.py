"""Lay the second factors of float32 products in rows where that pays: a product that multiplies by a transposed weight.

Without matrix instructions threads read a tile from shared memory element by element.  Where columns of the second
factor lie together in memory, all lanes of a warp read the same banks, and the product takes twice as long; a
transposed copy costs little.  `Any`: graphs are torch's.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from kopt.model.device import Device
from kopt.seed.products.time import LAUNCH_SECONDS, Product, Tile, seconds

_aten = torch.ops.aten
_FACTOR = {_aten.mm.default: 1, _aten.bmm.default: 1, _aten.addmm.default: 2, _aten.baddbmm.default: 2}
"""Place of the second factor among a product's arguments."""
_TILES = (Tile(64, 128, 32, 3, 4), Tile(64, 64, 32, 2, 4), Tile(32, 32, 16, 1, 2))
"""Tiles of the products that are compared."""
GAIN = 0.8
"""Share of its time that a product may take at most with its copy, for the copy to be made."""


def lay_in_rows(graph_module: Any, device: Device, force_stride_order: Any) -> None:
    """Copy second factors of float32 products whose columns lie together in memory, where that is predicted to pay.

    Args:
        graph_module: the graph; its nodes hold their values as fake tensors.
        device: the device to write for.
        force_stride_order: TorchInductor's operator that copies a tensor into an order of strides.
    """
    graph = graph_module.graph
    for node in list(graph.nodes):
        place = _FACTOR.get(node.target)
        if place is None or not _pays(node, node.args[place], device):
            continue
        factor = node.args[place]
        rows = factor.meta["val"].contiguous()
        order = list(range(rows.dim(), 0, -1))  # TorchInductor takes the order of strides alone
        with graph.inserting_before(node):
            copy = graph.call_function(force_stride_order, (factor, order))
        copy.meta |= {**factor.meta, "val": rows}
        node.args = (*node.args[:place], copy, *node.args[place + 1 :])
    graph_module.recompile()


def _pays(product: Any, factor: Any, device: Device) -> bool:
    out, value = product.meta.get("val"), factor.meta.get("val")
    if not isinstance(out, torch.Tensor) or not isinstance(value, torch.Tensor):
        return False
    if value.dtype is not torch.float32 or not _columns_lie(value):
        return False
    *batches, m, n = (hint(size) for size in out.shape)
    k = hint(value.shape[-2])

    def fastest(columns_lie: bool) -> float:
        shape = Product(m, n, k, "float32", 4, math.prod(batches), columns_lie=columns_lie)
        return min(seconds(shape, tile, device) for tile in _TILES)

    copied = 2 * 4 * k * n * math.prod(batches) / (device.copy_gb_s * 1e9) + LAUNCH_SECONDS
    return fastest(False) + copied < GAIN * fastest(True)


def _columns_lie(value: torch.Tensor) -> bool:
    """Return whether the columns of a factor lie together in memory, and its rows do not."""
    k, n = (hint(size) for size in value.shape[-2:])
    down, along = (hint(stride) for stride in value.stride()[-2:])
    return down == 1 and along != 1 and k > 1 and n > 1


def hint(size: Any) -> int:
    """Return a size in the first main workload."""
    return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)
