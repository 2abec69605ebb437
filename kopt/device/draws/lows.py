"""See whether a reference needs a maximum of numbers far below zero, which a maximum that starts at zero gets wrong."""

from __future__ import annotations

import math
from typing import Any

import torch

from kopt.device.reference.dispatch import DispatchMode

FAR_BELOW = -104.0
"""Number below which float32 has no exponential but zero."""

ALONG = ("_softmax", "_log_softmax", "_safe_softmax", "logsumexp", "amax", "max", "argmax", "topk", "sort")
"""Operations that need the maximum of their first operand along the dimension, or the dimensions, of the second."""


class Lows(DispatchMode):
    """Watch the maxima that the operations of a reference need."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.lowest: float | None = None
        """Least of all maxima; None where no operation needs one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and look at its operands."""
        name = func.overloadpacket.__name__
        if "attention" in name and len(args) > 2 and isinstance(args[1], torch.Tensor):
            self._see((args[0].double() @ args[1].double().mT) / math.sqrt(args[0].shape[-1]), -1)
        elif name in ALONG and args[0].is_floating_point() and args[0].dim():
            self._see(args[0], args[1] if len(args) > 1 else tuple(range(args[0].dim())))
        return func(*args, **(kwargs or {}))

    def _see(self, operand: torch.Tensor, along: Any) -> None:
        if operand.numel() and not isinstance(along, torch.Tensor):
            least = float(operand.detach().double().amax(along).min())
            self.lowest = least if self.lowest is None else min(self.lowest, least)
