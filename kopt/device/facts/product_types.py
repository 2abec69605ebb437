"""Find the type of the fastest matrix products that a right kernel may compute, by following a reference's conversions.

A number that was converted from a narrow type is a number of that type, also in a wider one: a kernel may multiply it
there.  Products are fast where both operands are narrow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from kopt.device.facts.eager_ops import Node, base_name
from kopt.device.facts.needed_elements import changed_by, storage_of
from kopt.device.reference.layout import dtype_name

SAME_NUMBERS = {"_to_copy", "clone", "copy"}
"""Operations whose result holds the numbers of their operand."""
SCALES = {"mul", "div", "add", "sub"}
"""Operations that a kernel may do behind a product instead, where their other operand is smaller."""
KEEPS_TYPE = {"relu", "hardtanh", "threshold", "abs", "neg", "clamp", "clamp_min", "clamp_max"}
"""Operations whose results the narrow type of their operand holds, too."""


def product_type(nodes: Sequence[Node], necessary: Collection[int]) -> str:
    """Return the name of the type of the narrowest operands of matrix products and convolutions; empty without any.

    Args:
        nodes: the operations of the reference, in order, on meta tensors.
        necessary: places of the products that no right kernel can do without; where there are any, they alone count.
    """
    from torch.utils.flop_counter import flop_registry  # here, because it imports Triton

    narrowest: dict[int, torch.dtype] = {}

    def type_of(tensor: torch.Tensor) -> torch.dtype:
        return _narrower(narrowest.get(storage_of(tensor), tensor.dtype), tensor.dtype)

    found: dict[int, torch.dtype] = {}
    for place, node in enumerate(nodes):
        name = base_name(node.func)
        if node.func.overloadpacket in flop_registry:
            operands = [type_of(tensor) for tensor in node.read if tensor.dim() >= 2][-2:]
            if operands:
                found[place] = max(operands, key=_width)
        elif changed := changed_by(node):
            for tensor in changed:
                narrowest.pop(storage_of(tensor), None)
        elif name in SAME_NUMBERS | SCALES | KEEPS_TYPE:
            size = max(tensor.numel() for tensor in node.written)
            whole = [tensor for tensor in node.read if tensor.numel() == size]
            if len(whole) == 1:
                narrowest |= {storage_of(tensor): type_of(whole[0]) for tensor in node.written}
    counted = [dtype for place, dtype in found.items() if place in necessary] or list(found.values())
    return dtype_name(min(counted, key=_width)) if counted else ""


def _width(dtype: torch.dtype) -> int:
    return dtype.itemsize


def _narrower(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    return one if one.itemsize <= other.itemsize else other
