"""Follow which numbers of a reference an operation has rounded, and nudge what goes into such operations, or comes out.

A number that is merely selected, compared or rounded to an integer is exact in every kernel: there is one right result,
also where it lies on the very edge of two.  What an operation computes, every kernel rounds in its own way.
`Any`: torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from kopt.device.expected.choices import written_out
from kopt.device.expected.quotients import cut
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

WHOLE = {"round", "floor", "ceil", "trunc"}
"""Operations whose results are whole numbers."""

KEEP_WHOLE = {"add", "sub", "rsub", "mul", "sum"}
"""Operations that make whole numbers of whole ones."""

EXACTABLE = {
    "add",
    "sub",
    "rsub",
    "mul",
    "square",
    "sum",
    "cumsum",
    "mm",
    "bmm",
    "mv",
    "dot",
    "addmm",
    "baddbmm",
    "div",
    "mean",
}
"""Operations whose result every kernel computes exactly where float32 can hold it."""

SUMMED = {"sum", "mean", "cumsum"}
"""Operations that add up elements of their operand."""

PRODUCTS: dict[str, tuple[int, int, int | None]] = {
    "mm": (0, 1, None), "bmm": (0, 1, None), "mv": (0, 1, None), "dot": (0, 1, None), "addmm": (1, 2, 0),
    "baddbmm": (1, 2, 0),
}  # fmt: skip
"""Operations that add up products: places of the factors, and of what is added to the sums."""

DRIFT = 2.0**-18
"""Relative change of a number that is computed: above the errors of a GPU's approximate operations, 2^-22."""

NUDGE = 2.0**-17
"""Relative change of a number that is computed with: above the errors of sums in float32."""

WHOLE_IN_FLOAT32 = 2.0**24
"""Largest whole number up to which float32 holds all."""

DOUBLE_BITS = 53
"""Bits of a float64 mantissa."""

SAMPLE = 256
"""Numbers of which one that float32 cannot hold spares a look at all the others."""

HALF_STEP = 0.505
"""Change of a number that rounds to a neighbour of it, over the relative step of its type."""
STAYS = 0.43
"""Size of a normal number below which a number of the reference is not moved: a third of all."""


class Watch(Protocol):
    """Looks at operations, and decides in their place."""

    def watch(self, rounding: Rounding, func: Any, args: Any, kwargs: Any, operate: Callable[[], Any]) -> Any:
        """Look at an operation, run it by `operate`, and return its results."""


class Rounding(DispatchMode):
    """Follow which floating-point tensors are computed, and which are inputs or selected from them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self._computed: Any = WeakIdKeyDictionary()  # torch does not type it
        self._whole: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation; one whose result jumps is run as comparisons and choices."""
        kwargs = kwargs or {}
        choices = written_out(func, args, kwargs)
        if choices is None:
            return self.run(func, args, kwargs)
        with self:
            return choices()

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation whose result does not jump, or that a class knows to decide."""
        results = func(*args, **kwargs)
        if not self.is_exact_result(func, args, kwargs, results):
            self.note(func, args, kwargs, results)
        return results

    def is_computed(self, tensor: torch.Tensor) -> bool:
        """Return whether an operation has rounded the tensor's numbers."""
        return tensor in self._computed

    def is_whole(self, tensor: torch.Tensor) -> bool:
        """Return whether an operation has made the tensor's numbers whole."""
        return tensor in self._whole

    def exact_result(self, func: Any, args: Any, kwargs: Any) -> torch.Tensor | None:
        """Return the result of a simple operation that float32 can hold, as every kernel computes it; else None."""
        if not self._may_be_exact(func, args, kwargs):
            return None
        result: torch.Tensor = func(*args, **kwargs)
        return result if self.is_exact_result(func, args, kwargs, result) else None

    def is_exact_result(self, func: Any, args: Any, kwargs: Any, result: Any) -> bool:
        """Return whether every kernel computes this result of an operation, whatever the order in which it adds.

        Kernels may cut off a quotient near a whole number to another one (`kopt.device.expected.quotients`).
        """
        if not self._may_be_exact(func, args, kwargs) or not result.is_floating_point():
            return False
        wide_args, wide_kwargs = tree_map(_wide, (args, kwargs))
        wide = result if result.dtype == torch.float64 else func(*wide_args, **wide_kwargs)
        if not bool(_is_held(wide.reshape(-1)[:SAMPLE]).all()):
            return False
        if not bool((_is_held(wide) & (result.double() == wide)).all()):
            return False
        quotient = cut(func, args, kwargs)
        if quotient is not None:
            return bool(_is_held(quotient.product()).all())
        return _sums_are_exact(func.overloadpacket.__name__, wide_args, wide_kwargs)

    def _may_be_exact(self, func: Any, args: Any, kwargs: Any) -> bool:
        if func._schema.is_mutable:
            return False
        if func.overloadpacket.__name__ not in EXACTABLE and cut(func, args, kwargs) is None:
            return False
        operands = [operand for operand in tensors_of((args, kwargs)) if operand.is_floating_point()]
        return not any(map(self.is_computed, operands)) and _scalars_are_exact(func, args, kwargs)

    def makes_whole(self, func: Any, args: Any, kwargs: Any) -> bool:
        """Return whether an operation makes whole numbers, or selects or adds up what operations have made whole."""
        exact = is_exact(func)
        if not exact and _simple(func) not in KEEP_WHOLE:
            return False
        if exact and _simple(func) in WHOLE:
            return True
        numbers = [operand for operand in tensors_of((args, kwargs)) if operand.is_floating_point()]
        blocks = [operand for operand in numbers if operand.dim()]
        if not blocks or not all(map(self.is_whole, blocks)):
            return False
        single = [float(value) for value in numbers if not value.dim() and not self.is_whole(value)]
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, float)]
        return exact or all(value.is_integer() for value in (*single, *given))

    def note(self, func: Any, args: Any, kwargs: Any, results: Any) -> None:
        """Note the results of an operation that are computed, or selected from computed numbers, and whole ones."""
        operands = tensors_of((args, kwargs))
        numbers = [operand for operand in operands if operand.is_floating_point()]
        computed = any(map(self.is_computed, numbers)) if is_exact(func) else bool(operands)
        whole = self.makes_whole(func, args, kwargs)
        for result in tensors_of(results) if computed or whole else ():
            if result.is_floating_point():
                if computed:
                    self._computed[result] = True
                if whole:
                    self._whole[result] = True


class Nudged(Rounding):
    """Change the numbers that operations compute with, and what they compute, a little: equal ones alike.

    Equal results of two operations of one name count as equal ones; those of a product and a quotient do not.
    """

    def __init__(self, seed: int, sign: int, decisions: Watch | None = None) -> None:
        """Choose the changes.

        Args:
            seed: number of the changes.
            sign: 1 or -1, the direction of all of them; 0 for no changes.
            decisions: looks at every operation, and decides in its place.
        """
        super().__init__()
        self._decisions = decisions
        self._seed = seed
        self._sign = sign

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation on changed operands, and change its results; what every kernel computes exactly stays."""
        if self._decisions is None:
            return self._changed(func, args, kwargs)
        return self._decisions.watch(self, func, args, kwargs, lambda: self._changed(func, args, kwargs))

    def _changed(self, func: Any, args: Any, kwargs: Any) -> Any:
        if is_exact(func):
            results = func(*args, **kwargs)
        elif func._schema.is_mutable:
            results = func(*args, **kwargs)
            if args and results is args[0] and not self.is_computed(results) and results.is_floating_point():
                results.copy_(self._moved(results))
        else:
            exact = self.exact_result(func, args, kwargs)
            if exact is not None:
                return exact
            if self.makes_whole(func, args, kwargs):
                results = func(*args, **kwargs)
            else:
                args, kwargs = tree_map(self._moved, (args, kwargs))
                results = tree_map(partial(self._drifted, func.overloadpacket.__name__), func(*args, **kwargs))
        self.note(func, args, kwargs, results)
        return results

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or self.is_computed(value):
            return value
        wide = value.double()
        return (wide * (1 + self._sign * NUDGE * noise(wide, self._seed))).to(value.dtype)

    def _drifted(self, name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float64 or not self._sign:
            return value
        return value * (1 + self._sign * DRIFT * noise(value, self._seed + crc32(name.encode()) % 4096))


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

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation, and round its results otherwise; a number beyond an integer type becomes its last one."""
        if func.overloadpacket.__name__ == "_to_copy" and self.is_computed(args[0]):
            args = (_held_by(kwargs.get("dtype"), args[0]), *args[1:])
        exact = self.exact_result(func, args, kwargs)
        if exact is not None:
            return exact
        results = func(*args, **kwargs)
        self.note(func, args, kwargs, results)
        if is_exact(func) or self.makes_whole(func, args, kwargs):
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


def _scalars_are_exact(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether float32 holds the numbers that an operation is given, and a divisor is a power of two."""
    numbers = [value for value in tree_leaves((args, kwargs)) if isinstance(value, float)]
    with np.errstate(over="ignore"):
        if any(float(np.float32(number)) != number for number in numbers):
            return False
    if func.overloadpacket.__name__ != "div" or kwargs.get("rounding_mode") is not None:
        return True
    divisor = torch.as_tensor(args[1], dtype=torch.float64)
    return bool((divisor.frexp().mantissa.abs() == 0.5).all())


def _sums_are_exact(name: str, args: Any, kwargs: Any) -> bool:
    """Return whether float32 holds every sum of some of the float64 numbers that an operation adds up."""
    if name in SUMMED:
        summed = summed_rows(args[0], args[1] if len(args) > 1 else kwargs.get("dim"))
        length = summed.shape[-1] if name == "mean" else 1
        return length & (length - 1) == 0 and bool(add_exactly(summed).all())
    if name not in PRODUCTS:
        return True
    if kwargs:
        return False
    first, second, added = PRODUCTS[name]
    left, right = args[first], args[second]
    if left.dim() == 1:
        left, right = left[None], right[:, None]
    columns = right if right.dim() > 1 else right[:, None]
    if left.shape[-1] == 0:
        return True
    size = left.abs() @ columns.abs()
    unit = unit_of(left).amin(-1, keepdim=True) * unit_of(columns).amin(-2, keepdim=True)
    if added is not None:
        size, unit = size + args[added].abs(), unit.minimum(unit_of(args[added]))
    return bool((size <= WHOLE_IN_FLOAT32 * unit).all())


def summed_rows(source: torch.Tensor, dimensions: Any) -> torch.Tensor:
    """Return the elements that are added along the last dimension; those of all dimensions where none is named."""
    listed = [dimensions] if isinstance(dimensions, int) else list(dimensions or range(source.dim()))
    axes = sorted({dimension % source.dim() for dimension in listed}) if source.dim() else []
    kept = [axis for axis in range(source.dim()) if axis not in axes]
    return source.permute(*kept, *axes).reshape(*(source.shape[axis] for axis in kept), -1)


def add_exactly(summed: torch.Tensor) -> torch.Tensor:
    """Return for which rows float32 holds every sum of some of the elements: in any order they add up to the same."""
    wide = summed.double()
    if not wide.shape[-1]:
        return torch.ones(wide.shape[:-1], dtype=torch.bool, device=wide.device)
    largest = wide.clamp_min(0).sum(-1).maximum(wide.clamp_max(0).sum(-1).abs())
    return largest <= WHOLE_IN_FLOAT32 * unit_of(wide).amin(-1)


def unit_of(wide: torch.Tensor) -> torch.Tensor:
    """Return the largest power of two of which each float64 number is a multiple; infinity for zero."""
    mantissa, exponent = wide.frexp()
    bits = torch.ldexp(mantissa, torch.full_like(exponent, DOUBLE_BITS)).nan_to_num(0, 0, 0).to(torch.int64)
    return torch.where(bits == 0, torch.inf, torch.ldexp((bits & -bits).double(), exponent - DOUBLE_BITS))


def _is_held(wide: torch.Tensor) -> torch.Tensor:
    """Return which float64 numbers float32 can hold."""
    return wide.float().double() == wide


def _wide(value: Any) -> Any:
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def is_exact(func: Any) -> bool:
    """Return whether an operation rounds nothing."""
    name = func.overloadpacket.__name__
    if func is torch.ops.aten.round.decimals:
        return False
    return bool(func.is_view) or name in EXACT or _simple(func) in EXACT


def _simple(func: Any) -> str:
    """Return the name of an operation, the same for one that overwrites its operand."""
    return str(func.overloadpacket.__name__).rstrip("_")


def noise(values: torch.Tensor, seed: int) -> torch.Tensor:
    """Return normal numbers that follow from float64 values: equal ones get the same."""
    bits = torch.where(values == 0, 0.0, values).view(torch.int64)
    for shift, factor in ((32, 0x9E3779B97F4A7C1 + 2 * seed), (29, 0xBF58476D1CE4E5B), (32, 0x94D049BB133111E | 1)):
        bits = (bits ^ (bits >> shift)) * factor
    share = ((bits >> 11) & (2**52 - 1)).double() / 2**52  # from 0 to 1
    return torch.as_tensor(torch.special.ndtri(share.clamp(2.0**-40, 1 - 2.0**-40)))


def spacing(dtype: torch.dtype) -> float:
    """Return the distance of the numbers next to zero."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
