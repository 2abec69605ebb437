"""Break ties: sorts and their like give the indexes of equal elements in any order, so several orders are tried.

Equal elements may be inputs, or come about on the way, as the scores of a router whose logits are tiny.  Of elements
that a float32 computation rounds, those that lie as close as their rounding errors count as equal, too.
"""

from __future__ import annotations

from typing import Any  # torch passes operations, their arguments and results untyped

import torch

from kopt.device.expected.rounding import Rounding

UNORDERED = ("topk", "sort", "kthvalue", "median", "mode(")
"""Operations that give the indexes of equal elements in any order."""

BROKEN = ("topk", "sort", "kthvalue", "median", "mode")
"""Their names as torch dispatches them."""

CHOSEN = ("max", "min", "argmax", "argmin")
"""Operations that give the first of equal elements, unless rounding made the elements equal: then any of them."""

UNTIED = 1e-9
"""Move that makes equal elements differ, over their root mean square."""

ROUNDED = 16 * torch.finfo(torch.float32).eps
"""Move of an element that float32 rounds, over its size: the exponential of a difference of 16, as of a softmax, errs
by 8 eps, and those of two kernels may do so in opposite directions."""

ORDERS = 10
"""Orders of equal elements that are tried: rising, falling, and random ones, which move the middle one of three."""


def is_unordered(reference: str) -> bool:
    """Return whether a reference's source has an operation that leaves the order of equal elements open."""
    return any(operation in reference for operation in UNORDERED)


class TiesBroken(Rounding):
    """Give equal elements one of the orders in every operation that leaves their order open; their values stay."""

    def __init__(self, order: int | None, *, rounded: bool = True, operations: tuple[str, ...] = BROKEN) -> None:
        """Choose the order.

        Args:
            order: number of the order, from 0 to `ORDERS` - 1; None to see whether an order matters, and keep it.
            rounded: kernels compute in float32, so that close elements that float32 rounds may be equal.
            operations: `BROKEN`, or `CHOSEN` to break the ties of computed elements there.
        """
        super().__init__()
        self._order = order
        self._orders = (0, 1) if order is None else (order,)
        self._rounded = rounded
        self._operations = operations
        self.moved = False
        """Whether the order has changed a result."""

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation; move the operand of those that leave an order open."""
        name = str(func.overloadpacket.__name__)
        out = super().run(func, args, kwargs) if self._operations is CHOSEN else func(*args, **kwargs)
        if name not in self._operations or not args or not isinstance(args[0], torch.Tensor):
            return out
        operand = args[0]
        if _is_stable(func, args, kwargs) or (self._operations is CHOSEN and not self.is_computed(operand)):
            return out
        places = {argument.name: place for place, argument in enumerate(func._schema.arguments)}
        if "dim" not in places or (name in CHOSEN and len(args) > 1 and isinstance(args[1], torch.Tensor)):
            return out
        dimension = args[places["dim"]] if len(args) > places["dim"] else kwargs.get("dim", -1)
        if name == "mode" and self._order is not None:
            return out[0], _occurrence(operand, out[0], out[1], dimension, self._order)
        tried = [func(self._moved(operand, order), *args[1:], **kwargs) for order in self._orders]
        again = tried[-1]
        indexes = [result[1] if isinstance(result, tuple) else result for result in (out, *tried)]
        self.moved |= not all(torch.equal(indexes[0], other) for other in indexes[1:])
        if self._order is None:
            return out
        if not isinstance(out, tuple):
            return again
        return _values_at(operand, indexes[-1], dimension), indexes[-1]

    def _moved(self, operand: torch.Tensor, order: int) -> torch.Tensor:
        wide = operand.double()
        places = _places(order, wide)
        if not operand.is_floating_point():
            return wide + (places - places.min()) / 2 if places.numel() else wide
        move = torch.full_like(wide, UNTIED * _size(wide))
        if self._rounded and not torch.equal(wide.float().double().nan_to_num(), wide.nan_to_num()):
            move += ROUNDED * wide.abs().nan_to_num(0, 0, 0)
        return wide + move * places


def _values_at(operand: torch.Tensor, indexes: torch.Tensor, dimension: int) -> torch.Tensor:
    """Return the elements at the indexes that a sort or its like gives; it may have dropped the dimension."""
    if not operand.dim() or operand.dim() == indexes.dim():
        return operand.gather(dimension, indexes) if operand.dim() else operand
    return operand.gather(dimension, indexes.unsqueeze(dimension)).squeeze(dimension)


def _occurrence(
    operand: torch.Tensor, modes: torch.Tensor, indexes: torch.Tensor, dimension: int, order: int
) -> torch.Tensor:
    """Return the index of one of the elements that equal a mode; the mode itself does not depend on the order."""
    if not operand.dim():
        return indexes
    kept = modes if modes.dim() == operand.dim() else modes.unsqueeze(dimension)
    chosen = torch.where(operand == kept, _places(order, operand.double()), -2.0).argmax(dimension, keepdim=True)
    return chosen.reshape(indexes.shape)


def _is_stable(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether a sort is asked to keep the order of equal elements."""
    return func is torch.ops.aten.sort.stable and bool(kwargs.get("stable", args[1] if len(args) > 1 else False))


def _places(order: int, wide: torch.Tensor) -> torch.Tensor:
    """Return how far each element moves, from -1 to 1."""
    if order >= 2:
        return torch.rand(wide.shape, device=wide.device, dtype=torch.float64)
    places = torch.arange(wide.numel(), device=wide.device, dtype=torch.float64) / max(wide.numel(), 1)
    return (places if order else -places).reshape(wide.shape)


def _size(wide: torch.Tensor) -> float:
    """Return the root mean square of the finite elements; 1 where they are zero."""
    finite = wide[wide.isfinite()]
    return float(finite.square().mean().sqrt()) or 1.0 if finite.numel() else 1.0
