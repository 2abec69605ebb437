"""Break ties: sorts and their like give the indexes of equal elements in any order, so several orders are tried.

Equal elements may be inputs, or come about on the way, as the scores of a router whose logits are tiny.  Of elements
that a float32 computation rounds, those that lie as close as their rounding errors count as equal, too.
"""

from __future__ import annotations

from typing import Any  # torch passes operations, their arguments and results untyped

import torch

from kopt.device.reference.dispatch import DispatchMode

UNORDERED = ("topk", "sort", "kthvalue", "median", "mode(")
"""Operations that give the indexes of equal elements in any order."""

BROKEN = {"topk", "sort", "kthvalue", "median"}
"""Those whose operand is moved; the mode of numbers that all differ would be no mode."""

UNTIED = 1e-9
"""Move that makes equal elements differ, over their root mean square."""

ROUNDED = 4 * torch.finfo(torch.float32).eps
"""Move of an element that float32 rounds, over its size."""

ORDERS = 10
"""Orders of equal elements that are tried: rising, falling, and random ones, which move the middle one of three."""


def is_unordered(reference: str) -> bool:
    """Return whether a reference's source has an operation that leaves the order of equal elements open."""
    return any(operation in reference for operation in UNORDERED)


def without_ties(order: int, value: object) -> object:
    """Move each element so little that only equal ones change their order."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    wide = value.double()
    return wide + UNTIED * _size(wide) * _places(order, wide)


class TiesBroken(DispatchMode):
    """Give equal elements one of the orders in every operation that leaves their order open."""

    def __init__(self, order: int, *, rounded: bool = True) -> None:
        """Choose the order.

        Args:
            order: number of the order, from 0 to `ORDERS` - 1.
            rounded: kernels compute in float32, so that close elements that float32 rounds may be equal.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._order = order
        self._rounded = rounded

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation; move the operand of those that leave an order open."""
        kwargs = kwargs or {}
        name = str(func.overloadpacket.__name__) if isinstance(func, torch._ops.OpOverload) else ""
        if name not in BROKEN or not args or not isinstance(args[0], torch.Tensor) or _is_stable(func, args, kwargs):
            return func(*args, **kwargs)
        operand = args[0]
        out = func(self._moved(operand), *args[1:], **kwargs)
        return tuple(_as(operand, part) for part in out) if isinstance(out, tuple) else _as(operand, out)

    def _moved(self, operand: torch.Tensor) -> torch.Tensor:
        wide = operand.double()
        places = _places(self._order, wide)
        if not operand.is_floating_point():
            return wide + (places - places.min()) / 2 if places.numel() else wide
        move = torch.full_like(wide, UNTIED * _size(wide))
        if self._rounded and not torch.equal(wide.float().double().nan_to_num(), wide.nan_to_num()):
            move += ROUNDED * wide.abs().nan_to_num(0, 0, 0)
        return wide + move * places


def _as(operand: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Return values in the operand's type, and indexes as they are."""
    if not part.is_floating_point():
        return part
    return (part if operand.is_floating_point() else part.floor()).to(operand.dtype)


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
