"""Look at quotients that are cut off to whole numbers: in remainders, fractional parts and divisions that round.

torch takes the remainder of the exact quotient.  A kernel may as well divide, cut the quotient off, and subtract; its
quotient is off by up to two units in the last place, so that one near a whole number may be cut off to either side.
`Any`: torch passes operations and their arguments untyped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

MODES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"floor": torch.floor, "trunc": torch.trunc}
"""Functions that cut off a quotient, by the name of torch's rounding mode."""

REMAINDERS = {"remainder": "floor", "fmod": "trunc", "frac": "trunc"}
"""Rounding modes of the quotients of operations that give what a division leaves."""


class Cut(NamedTuple):
    """A quotient that an operation cuts off to a whole number."""

    dividend: torch.Tensor
    """Float64, as the divisor."""
    divisor: torch.Tensor
    mode: str
    """Its rounding mode."""
    is_remainder: bool
    """Whether the operation gives what is left of the dividend, rather than the whole number."""

    @property
    def quotient(self) -> torch.Tensor:
        """The quotient before it is cut off."""
        return self.dividend / self.divisor

    @property
    def is_exact(self) -> bool:
        """Whether every kernel divides exactly: the divisors are powers of two."""
        return bool((self.divisor.frexp().mantissa.abs() == 0.5).all())

    def product(self) -> torch.Tensor:
        """Return the divisor times the whole number."""
        return MODES[self.mode](self.quotient) * self.divisor

    def result(self, quotient: torch.Tensor) -> torch.Tensor:
        """Return what the operation gives for this quotient."""
        whole = MODES[self.mode](quotient)
        return self.dividend - whole * self.divisor if self.is_remainder else whole


def cut(func: Any, args: Any, kwargs: Any) -> Cut | None:
    """Return the quotient that an operation on floating-point numbers cuts off; None for other operations."""
    name = str(func.overloadpacket.__name__).rstrip("_")
    mode = REMAINDERS.get(name) or ("floor" if name == "floor_divide" else kwargs.get("rounding_mode"))
    if mode is None or name not in (*REMAINDERS, "floor_divide", "div"):
        return None
    dividend, divisor = args[0], args[1] if name != "frac" else 1.0
    if not any(map(_is_floating, (args[0], *args[1:2]))):
        return None
    device = next(value.device for value in args if isinstance(value, torch.Tensor))
    first, second = (torch.as_tensor(value, dtype=torch.float64, device=device) for value in (dividend, divisor))
    return Cut(first, second, mode, name in REMAINDERS)


def _is_floating(value: object) -> bool:
    return value.is_floating_point() if isinstance(value, torch.Tensor) else isinstance(value, float)
