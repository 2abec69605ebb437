"""See whether a reference needs a maximum of numbers far below zero, which a maximum that starts at zero gets wrong."""

from __future__ import annotations

import math
from typing import Any

import torch

from kopt.device.reference.dispatch import DispatchMode

FAR_BELOW = -104.0
"""Number below which float32 has no exponential but zero."""

ALONG = {
    "_softmax": 1, "_log_softmax": 1, "_safe_softmax": 1, "logsumexp": 1, "amax": 1, "max": 1, "argmax": 1, "topk": 2,
}  # fmt: skip
"""Operations that need the maximum of their first operand, with the place of the argument that says along which
dimensions."""


class Lows(DispatchMode):
    """Watch the maxima that the operations of a reference need."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.maxima: list[float] = []
        """Least maximum that each operation needs, in the order in which they need them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and look at its operands."""
        name = func.overloadpacket.__name__
        if "attention" in name and len(args) > 2 and isinstance(args[1], torch.Tensor):
            self._see((args[0].double() @ args[1].double().mT) / math.sqrt(args[0].shape[-1]), -1)
        elif name in ALONG and args[0].is_floating_point() and args[0].dim():
            place = ALONG[name]
            every = -1 if name == "topk" else tuple(range(args[0].dim()))
            self._see(args[0], args[place] if len(args) > place else every)
        return func(*args, **(kwargs or {}))

    def _see(self, operand: torch.Tensor, along: Any) -> None:
        if not operand.numel() or not isinstance(along, int | tuple | list):
            return
        maxima = operand.detach().double().amax(along)
        maxima = maxima[maxima.isfinite()]  # rows that a mask leaves empty say nothing
        self.maxima.append(float(maxima.min()) if maxima.numel() else math.inf)
