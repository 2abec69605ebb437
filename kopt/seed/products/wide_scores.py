"""Keep products in float32 on their way to a softmax, as a kernel of attention does.

A product of bfloat16 is rounded to bfloat16, scaled, masked, and then converted to float32 for the softmax.  Without
the rounding the seed is closer to the exact result than PyTorch is, with it sometimes further away than a verdict
allows.  `Any`: graphs are torch's.
"""

from __future__ import annotations

from typing import Any

import torch

_aten = torch.ops.aten
_PRODUCTS = (_aten.mm.default, _aten.bmm.default)
_ON_THE_WAY = frozenset(
    {
        _aten.view, _aten._unsafe_view, _aten.reshape, _aten.expand, _aten.permute, _aten.transpose, _aten.clone,
        _aten.squeeze, _aten.unsqueeze, _aten.mul, _aten.div, _aten.add, _aten.sub, _aten.neg, _aten.where,
        _aten.masked_fill, _aten.tanh,
    }
)  # fmt: skip
"""Operations whose result in float32 is that in bfloat16, less rounding."""
_NARROW = (torch.bfloat16, torch.float16)


def widen(graph_module: Any) -> bool:
    """Let products that are converted to float32 before all else be float32; return whether there are any."""
    products = [
        node
        for node in graph_module.graph.nodes
        if hasattr(_aten.bmm, "dtype")
        and node.target in _PRODUCTS
        and node.meta["val"].dtype in _NARROW
        and _becomes_float32(node)
    ]
    for node in products:
        _widen(graph_module.graph, node)
    if products:
        graph_module.recompile()
    return bool(products)


def _widen(graph: Any, node: Any) -> None:
    """Let a product be float32; as a batch of one, since TorchInductor has no Triton for `mm` of another dtype."""
    if node.target is _aten.bmm.default:
        node.target, node.args = _aten.bmm.dtype, (*node.args, torch.float32)
        return
    with graph.inserting_before(node):
        batches = [graph.call_function(_aten.unsqueeze.default, (one, 0)) for one in node.args]
        product = graph.call_function(_aten.bmm.dtype, (*batches, torch.float32))
        node.replace_all_uses_with(graph.call_function(_aten.squeeze.dim, (product, 0)))
    graph.erase_node(node)


def _becomes_float32(node: Any) -> bool:
    """Return whether every use of a value ends in its conversion to float32."""
    waiting, seen = [node], {node}
    while waiting:
        users = [user for user in waiting.pop().users if user.target is not _aten.sym_size.int]
        if not users:
            return False
        for user in users:
            if user.target is torch.ops.prims.convert_element_type.default and user.args[1] is torch.float32:
                continue
            if getattr(user.target, "overloadpacket", None) not in _ON_THE_WAY:
                return False
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return True
