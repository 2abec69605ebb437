"""Find the type of the fastest matrix products that a right kernel may compute, by following a reference's conversions.

A number that was converted from a narrow type is a number of that type, also in a wider one: a kernel may multiply it
there.  Products are fast where both operands are narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kopt.device.facts.eager_ops import Node, base_name
from kopt.device.facts.needed_elements import storage_of
from kopt.device.reference.layout import dtype_name

SAME_NUMBERS = {"_to_copy", "clone", "copy"}
"""Operations whose result holds the numbers of their operand."""
SCALES = {"mul", "div", "add", "sub"}
"""Operations that a kernel may do behind a product instead, where their other operand is smaller."""
KEEPS_TYPE = {"relu", "abs", "neg", "clamp", "clamp_min"}
"""Operations whose results the narrow type of their operand holds, too."""


def product_type(nodes: Sequence[Node]) -> str:
    """Return the name of the type of the narrowest operands of matrix products and convolutions; empty without any.

    Args:
        nodes: the operations of the reference, in order, on meta tensors.
    """
    from torch.utils.flop_counter import flop_registry  # here, because it imports Triton

    narrowest: dict[int, torch.dtype] = {}

    def type_of(tensor: torch.Tensor) -> torch.dtype:
        return _narrower(narrowest.get(storage_of(tensor), tensor.dtype), tensor.dtype)

    found: list[torch.dtype] = []
    for node in nodes:
        name = base_name(node.func).rstrip("_")
        if node.func.overloadpacket in flop_registry:
            operands = [type_of(tensor) for tensor in node.read if tensor.dim() >= 2][-2:]
            if operands:
                found.append(max(operands, key=_width))
        elif name in SAME_NUMBERS | SCALES | KEEPS_TYPE:
            size = max(tensor.numel() for tensor in node.written)
            whole = [tensor for tensor in node.read if tensor.numel() == size]
            if len(whole) == 1:
                made = type_of(whole[0])
                narrowest |= {storage_of(tensor): _narrower(made, tensor.dtype) for tensor in node.written}
    return dtype_name(min(found, key=_width)) if found else ""


def _width(dtype: torch.dtype) -> int:
    return dtype.itemsize


def _narrower(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    return one if one.itemsize <= other.itemsize else other
