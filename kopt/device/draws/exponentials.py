"""See the numbers of which a reference takes exponentials: an input that becomes one of them gets large values."""

from __future__ import annotations

import math
from typing import Any

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.tree import tensors_of

OVERFLOWING = 80.0
"""Magnitude from which the exponential of a number, or of its negative, counts as one that overflows in float32."""

MOST_EXPONENT = 600.0
"""Largest exponent that draws aim at: the difference of two numbers of the kind `large`."""

MOST_PRODUCT = 2.0**14
"""Largest exponent that draws aim at where exponents are products of inputs, as the scores of attention are."""

EXPONENTIALS = (
    "exp", "exp2", "expm1", "_softmax", "_log_softmax", "_safe_softmax", "logsumexp", "logcumsumexp",
    "_logcumsumexp", "logaddexp", "logaddexp2", "sigmoid", "log_sigmoid_forward", "log_sigmoid", "softplus", "silu",
    "mish", "tanh", "sinh", "cosh", "elu", "binary_cross_entropy_with_logits",
)  # fmt: skip
"""Operations that a kernel computes by exponentials of their operands."""


class Exponents(DispatchMode):
    """Watch the operands of the exponentials of a reference."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.magnitudes: list[float] = []
        """Largest finite magnitude among the operands of each exponential, in the order in which they are taken."""

    @property
    def largest(self) -> float:
        """Largest finite magnitude among the operands of all exponentials; 0 where none is taken."""
        return max(self.magnitudes, default=0.0)

    def overflow_beside(self, usual: Exponents, most: float = math.inf) -> bool:
        """Return whether an exponential that is usually small overflows here, unless a maximum is subtracted.

        Args:
            usual: the exponents of normal inputs.
            most: largest exponent that counts.
        """
        pairs = zip(self.magnitudes, usual.magnitudes, strict=False)
        return any(before < OVERFLOWING <= here <= most for here, before in pairs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and look at its operands."""
        name = func.overloadpacket.__name__
        if name.removesuffix("_") in EXPONENTIALS:
            self.magnitudes.append(_largest_finite(args))
        elif "attention" in name:
            self.magnitudes.append(_largest_finite((args[3:], kwargs)))  # the mask that is added to scores
        return func(*args, **(kwargs or {}))


def _largest_finite(values: object) -> float:
    """Return the largest finite magnitude of all floating-point numbers; 0 where there are none."""
    found = (tensor.detach().double().abs() for tensor in tensors_of(values) if tensor.is_floating_point())
    return max((float(one[one.isfinite()].max()) for one in found if bool(one.isfinite().any())), default=0.0)
