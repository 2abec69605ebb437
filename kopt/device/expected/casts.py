"""Find what depends on the cast of a number to an integer type that cannot hold it.

Such a cast has no right result: torch on a CPU wraps around or gives the least integer, a GPU gives the nearest one.
"""

from __future__ import annotations

from typing import Any  # torch passes operations, their arguments and results untyped

import torch

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.layout import is_integer

CHOICES = 3
"""Number of results that are tried: the least integer, the greatest one, and zero."""


class IntegerCasts(DispatchMode):
    """Watch casts to integer types, and choose the results of those that have no right one."""

    def __init__(self, choice: int | None = None) -> None:
        """Choose the results.

        Args:
            choice: number of the result, from 0 to `CHOICES` - 1; None for that of torch.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.undefined = False
        """Whether a number was cast to a type that cannot hold it."""
        self._choice = choice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        source = {"_to_copy": args[:1], "copy_": args[1:2]}.get(name, ())
        outside = None
        if source and isinstance(source[0], torch.Tensor) and source[0].is_floating_point():
            target = kwargs.get("dtype") if name == "_to_copy" else args[0].dtype
            outside = _outside(source[0], target) if is_integer(target) else None
        result = func(*args, **kwargs)
        if outside is None or not bool(outside.any()):
            return result
        self.undefined = True
        if self._choice is not None:
            info = torch.iinfo(result.dtype)
            result.masked_fill_(outside.to(result.device), (info.min, info.max, 0)[self._choice])
        return result


def _outside(source: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return which numbers, as they are or rounded to float32, an integer type cannot hold; NaN is one of them."""
    info, wide = torch.iinfo(dtype), source.double()
    both = (wide, wide.float().double())
    inside = [(values > float(info.min) - 1.0) & (values < float(info.max) + 1.0) for values in both]
    return ~(inside[0] & inside[1])
