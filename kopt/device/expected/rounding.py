"""Follow which numbers of a reference an operation has rounded, and nudge what goes into such operations, or comes out.

A number that is merely selected, compared or rounded to an integer is exact in every kernel: there is one right result,
also where it lies on the very edge of two.  What an operation computes, every kernel rounds in its own way.
`Any`: torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakIdKeyDictionary

from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.layout import is_integer
from kopt.device.reference.tree import tensors_of

EXACT = {
    "_to_copy", "abs", "alias", "amax", "amin", "argmax", "argmin", "argsort", "bucketize", "cat", "ceil",
    "clamp", "clamp_max", "clamp_min", "clone", "constant_pad_nd", "copy_", "cummax", "cummin", "detach",
    "empty_like", "eq", "fill", "flip", "floor", "full_like", "gather", "ge", "gt", "index", "index_put",
    "index_select", "isfinite", "isinf", "isnan", "kthvalue", "le", "lift_fresh", "lt", "masked_fill",
    "masked_select", "max", "maximum", "median", "min", "minimum", "mode", "nan_to_num", "ne", "neg",
    "new_empty", "new_full", "new_ones", "new_zeros", "nonzero", "ones_like", "relu", "repeat", "roll", "round",
    "scatter", "searchsorted", "select_scatter", "sgn", "sign", "slice_scatter", "sort", "stack", "topk",
    "tril", "triu", "trunc", "unique", "where", "zero", "zeros_like",
}  # fmt: skip
"""Operations that select, compare, or round to an integer."""

NUDGE = 2.0**-17
"""Relative change of a number that is computed with: above the errors of sums in float32."""

HALF_STEP = 0.505
"""Change of a number that rounds to a neighbour of it, over the relative step of its type."""
STAYS = 0.43
"""Size of a normal number below which a number of the reference is not moved: a third of all."""


class Rounding(DispatchMode):
    """Follow which floating-point tensors are computed, and which are inputs or selected from them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._computed: Any = WeakIdKeyDictionary()  # torch does not type it

    def is_computed(self, tensor: torch.Tensor) -> bool:
        """Return whether an operation has rounded the tensor's numbers."""
        return tensor in self._computed

    def note(self, func: Any, args: Any, kwargs: Any, results: Any) -> None:
        """Note the results of an operation that are computed, or selected from computed numbers."""
        operands = [operand for operand in tensors_of((args, kwargs)) if operand.is_floating_point()]
        if any(map(self.is_computed, operands)) if is_exact(func) else operands:
            for result in tensors_of(results):
                if result.is_floating_point():
                    self._computed[result] = True


class Nudged(Rounding):
    """Change the numbers that operations compute with a little, equal ones alike."""

    def __init__(self, seed: int, sign: int) -> None:
        """Choose the changes.

        Args:
            seed: number of the changes.
            sign: 1 or -1, the direction of all of them.
        """
        super().__init__()
        self._seed = seed
        self._sign = sign

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation on changed operands; one that is overwritten is changed afterwards."""
        kwargs = kwargs or {}
        if is_exact(func):
            results = func(*args, **kwargs)
        elif func._schema.is_mutable:
            results = func(*args, **kwargs)
            if args and results is args[0] and not self.is_computed(results) and results.is_floating_point():
                results.copy_(self._moved(results))
        else:
            args, kwargs = tree_map(self._moved, (args, kwargs))
            results = func(*args, **kwargs)
        self.note(func, args, kwargs, results)
        return results

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or self.is_computed(value):
            return value
        wide = value.double()
        return (wide * (1 + self._sign * NUDGE * noise(wide, self._seed))).to(value.dtype)


class RoundedOtherwise(Rounding):
    """Round what operations compute to a neighbour of the nearest number of its type, equal numbers alike.

    A kernel may round where the reference does not, and need not round where the reference does: a quotient that the
    reference rounds up to 127 is 126.97 in a kernel that keeps it in float32.
    """

    def __init__(self, seed: int, sign: int) -> None:
        """Choose the directions.

        Args:
            seed: number of the directions; each number goes up, goes down, or stays.
            sign: 1 or -1; -1 turns all directions round.
        """
        super().__init__()
        self._seed = seed
        self._sign = sign

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and round its results otherwise; a number beyond an integer type becomes its last one."""
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ == "_to_copy" and self.is_computed(args[0]):
            args = (_held_by(kwargs.get("dtype"), args[0]), *args[1:])
        results = func(*args, **kwargs)
        self.note(func, args, kwargs, results)
        if is_exact(func):
            return results
        if func._schema.is_mutable:
            for result in tensors_of(results):
                if self.is_computed(result):
                    result.copy_(self._rounded(result))
            return results
        moved = tree_map(self._rounded, results)
        self.note(func, args, kwargs, moved)
        return moved

    def _rounded(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not self.is_computed(value):
            return value
        wide = value.double()
        direction = self._sign * noise(wide, self._seed)
        step = HALF_STEP * torch.finfo(value.dtype).eps
        return (wide * (1 + step * (direction > STAYS) - step * (direction < -STAYS))).to(value.dtype)


def _held_by(dtype: torch.dtype | None, numbers: torch.Tensor) -> torch.Tensor:
    """Return numbers that an integer type can hold, as float64; other types, and None, leave them alone."""
    if dtype is None or not is_integer(dtype):
        return numbers
    return numbers.double().clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)


def is_exact(func: Any) -> bool:
    """Return whether an operation rounds nothing."""
    name = func.overloadpacket.__name__
    if func is torch.ops.aten.round.decimals:
        return False
    return bool(func.is_view) or name in EXACT or name.rstrip("_") in EXACT


def noise(values: torch.Tensor, seed: int) -> torch.Tensor:
    """Return normal numbers that follow from float64 values: equal ones get the same."""
    bits = torch.where(values == 0, 0.0, values).view(torch.int64)
    for shift, factor in ((32, 0x9E3779B97F4A7C1 + 2 * seed), (29, 0xBF58476D1CE4E5B), (32, 0x94D049BB133111E | 1)):
        bits = (bits ^ (bits >> shift)) * factor
    share = ((bits >> 11) & (2**52 - 1)).double() / 2**52  # from 0 to 1
    return torch.as_tensor(torch.special.ndtri(share.clamp(2.0**-40, 1 - 2.0**-40)))
