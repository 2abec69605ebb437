"""See whether the numbers of a reference outgrow its inputs, so that another right way to compute may overflow."""

from __future__ import annotations

from typing import Any

import torch

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.tree import tensors_of

MOST = 2.0**60
"""Magnitude from which a result counts: its square is near the largest float32."""
MOST_SCORE = 2.0**20
"""Magnitude of scores from which they count: kernels mask scores by numbers such as -1e9."""

CONTRACTIONS = ("mm", "matmul", "addmm", "bmm", "baddbmm", "convolution", "mv", "dot", "einsum", "linear")
"""Operations that multiply and add: a kernel adds in another order, so that other sums may overflow."""

SQUARED = ("var", "std", "norm", "mse_loss", "dist", "cosine_similarity")
"""Parts of the names of operations that square what they are given, and give its root or less."""

SCORED = ("_softmax", "_log_softmax", "exp", "sigmoid")
"""Operations that are given scores where a contraction comes before them."""


class Growth(DispatchMode):
    """Watch the operations of a reference.

    A result that an operation only selects (a maximum, a ReLU, a copy) is no larger than its operands.  One that is
    larger, and larger than `MOST`, overflows when a kernel squares it, or multiplies it with another one, first; so
    does an operand of a variance or a norm.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.outgrown = False
        """Whether a number was too large."""
        self._contracted = 0.0
        """Largest result of the contractions so far."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and look at its results."""
        results = func(*args, **(kwargs or {}))
        if not self.outgrown:
            name = func.overloadpacket.__name__
            operand, result = _largest((args, kwargs)), _largest(results)
            scores = operand if "attention" in name else self._contracted if name in SCORED else 0.0
            grown = result > MOST and (result > operand or name in CONTRACTIONS)
            grown |= operand > MOST and any(word in name for word in SQUARED)
            self.outgrown = grown or scores > MOST_SCORE
            self._contracted = max(self._contracted, result if name in CONTRACTIONS else 0.0)
        return results


def _largest(values: object) -> float:
    """Return the largest magnitude of all floating-point numbers; infinity for NaN."""
    tensors = [tensor for tensor in tensors_of(values) if tensor.is_floating_point() and tensor.numel()]
    return max(map(_magnitude, tensors), default=0.0)


def _magnitude(tensor: torch.Tensor) -> float:
    return float(tensor.detach().double().abs().nan_to_num(torch.inf, torch.inf).max())
