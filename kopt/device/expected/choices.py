"""Write operations whose results jump as what they decide on, and what follows: a comparison and a choice.

`sign`, `hardshrink`, the gradient of a ReLU and their like compare a number inside one operation of torch.  Written
out, the comparison is seen like any other.  `Any`: torch passes operations and their arguments untyped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer type with as many bytes as a floating-point type."""


def _sign(x: torch.Tensor) -> torch.Tensor:
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


def _is_negative(x: torch.Tensor) -> torch.Tensor:
    return torch.where((x == 0) | x.isnan(), x.view(_BITS[x.element_size()]) < 0, x < 0)


def _with_sign(size: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    size = size.abs().to(torch.result_type(size, x))
    return torch.where(_is_negative(x), -size, size)


def _truth(value: Any) -> Any:
    return value != 0 if _is_floating(value) else value


def _of_truths(func: Any, *args: Any, **kwargs: Any) -> Any:
    return func(*map(_truth, args), **kwargs)


DECIDING = {
    "sign": 0, "sgn": 0, "signbit": 0, "copysign": 1, "heaviside": 0, "hardshrink": 0, "threshold": 0, "logical_not": 0,
    "hardshrink_backward": 1, "softshrink_backward": 1, "threshold_backward": 1, "leaky_relu_backward": 1,
    "hardtanh_backward": 1, "hardsigmoid_backward": 1,
}  # fmt: skip
"""Place, among the arguments of an operation, of the number on which it decides."""

_WRITTEN: Mapping[str, Callable[..., torch.Tensor]] = {
    "sign": _sign,
    "sgn": _sign,
    "signbit": _is_negative,
    "copysign": _with_sign,
    "heaviside": lambda x, at_zero: torch.where(x == 0, at_zero, (x > 0).to(x.dtype)),
    "hardshrink": lambda x, most=0.5: torch.where((x >= -most) & (x <= most), 0.0, x),
    "threshold": lambda x, least, value: torch.where(x <= least, value, x),
    "logical_not": lambda x: x == 0,
    "hardshrink_backward": lambda grad, x, most: torch.where((x >= -most) & (x <= most), 0.0, grad),
    "softshrink_backward": lambda grad, x, most: torch.where((x >= -most) & (x <= most), 0.0, grad),
    "threshold_backward": lambda grad, x, least: torch.where(x <= least, 0.0, grad),
    "leaky_relu_backward": lambda grad, x, slope, _: torch.where(x > 0, grad, grad * slope),
    "hardtanh_backward": lambda grad, x, low, high: torch.where((x <= low) | (x >= high), 0.0, grad),
    "hardsigmoid_backward": lambda grad, x: torch.where((x > -3) & (x < 3), grad / 6, 0.0),
}
"""Operations written out, by the names of `DECIDING`."""

TRUTHS = {"logical_and", "logical_or", "logical_xor", "any", "all", "count_nonzero"}
"""Operations that ask which numbers differ from zero."""


def written_out(func: Any, args: Any, kwargs: Any) -> Callable[[], Any] | None:
    """Return a function that computes an operation as comparisons and choices; None for one that needs none.

    The result has the dtype of the operation's, and overwrites what the operation overwrites.
    """
    name = str(func.overloadpacket.__name__)
    simple = name.rstrip("_")
    if func._schema.is_mutable and simple == name:
        return None
    if name == "_to_copy" and kwargs.get("dtype") == torch.bool and _is_floating(args[0]):
        return lambda: func(args[0] != 0, **kwargs)
    made: Callable[[], Any]
    if simple in TRUTHS and any(map(_is_floating, args[:2])):
        made = partial(_of_truths, getattr(torch.ops.aten, simple), *args, **kwargs)
    elif simple in DECIDING and len(args) > DECIDING[simple] and _is_floating(args[DECIDING[simple]]):
        made = partial(_WRITTEN[simple], *args, **kwargs)
    else:
        return None
    return (lambda: args[0].copy_(made())) if func._schema.is_mutable else made


def _is_floating(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
