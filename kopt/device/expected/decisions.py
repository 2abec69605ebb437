"""Find where a reference decides on a computed number: it rounds it to a whole one, casts it, or compares it.

A GPU's approximate operations (division, roots, exponentials) are off by up to two units in the last place, so that a
number within their errors of the point where a decision turns may fall on either side of it.  The reference is run
with small changes to see by how much each such number may be off (`Decisions`), and then with each number moved by
that much, all of them up, or all of them down (`Shifted`).  Runs that show how large errors are decide as the exact run
does, lest an error and a jump be confused.  `Any`: torch passes operations, their arguments and results untyped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils.weak import WeakIdKeyDictionary

from kopt.device.expected.quotients import Cut, cut
from kopt.device.expected.rounding import HALF_STEP, NUDGE, WHOLE, Rounding, is_exact
from kopt.device.reference.layout import is_integer
from kopt.device.reference.other_type import HALF_TYPES
from kopt.device.reference.tree import tensors_of

COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}
"""Operations that compare two numbers: the difference decides."""

SEARCHES = {"bucketize": 0, "searchsorted": 1}
"""Operations that find a place among bounds, and the place of the number that is looked up among their arguments."""

FACTOR = 4.0
"""Move of a number over its largest change in the runs with small changes."""

ALIEN = 2.0**-4
"""Change of a number, over the larger of it and the root mean square, that no lower precision explains."""

QUOTIENT = 2.0**-20
"""Relative error of a quotient of two exact numbers: above that of a GPU's division, 2^-22."""


class Decision(NamedTuple):
    """The number on which one operation decides."""

    operand: torch.Tensor
    """The number, the difference of the two that are compared, or the quotient that is cut off."""
    place: int
    """Place of the operand among the arguments."""
    step: float
    """Relative distance of two results: that of the type's numbers, and 1 for whole numbers and comparisons."""
    room: float
    """Relative error that the number may always have; 0 where no operation has rounded it, and for comparisons."""
    unit: float
    """Relative distance of the numbers of the type to which operations have rounded the number; 0 where none has."""
    cut: Cut | None = None
    """The quotient, where one is cut off; it has no place."""


def decision(rounding: Rounding, func: Any, args: Any, kwargs: Any) -> Decision | None:
    """Return on what an operation decides; None where it decides on no floating-point number."""
    name = func.overloadpacket.__name__
    simple = name.rstrip("_")
    first: Any = args[0] if args else None
    if name in ("_to_copy", "copy_"):
        source = args[1] if name == "copy_" else first
        step = _step(source, first.dtype if name == "copy_" else kwargs.get("dtype"))
        decides = step and not rounding.is_whole(source)
        return _decided(rounding, source, int(name == "copy_"), step) if decides else None
    if simple in WHOLE:
        return _decided(rounding, first, 0, 1.0)
    if is_comparison(simple, args):
        other = args[1].double() if isinstance(args[1], torch.Tensor) else args[1]
        return Decision(first.double() - other, 0, 1.0, 0.0, 0.0)
    if name in SEARCHES and isinstance(args[SEARCHES[name]], torch.Tensor):
        found = _decided(rounding, args[SEARCHES[name]], SEARCHES[name], 1.0)
        among = args[1 - SEARCHES[name]]
        return found._replace(room=0.0) if found and rounding.is_computed(among) else found
    quotient = cut(func, args, kwargs)
    return _cut_off(rounding, quotient, args) if quotient is not None else None


def is_comparison(name: str, args: Any) -> bool:
    """Return whether the operation of a name compares floating-point numbers."""
    numbers = [value for value in args[:2] if isinstance(value, torch.Tensor) and value.is_floating_point()]
    return name in COMPARISONS and isinstance(args[0], torch.Tensor) and bool(numbers)


def _decided(rounding: Rounding, operand: Any, place: int, step: float) -> Decision | None:
    if not isinstance(operand, torch.Tensor) or not operand.is_floating_point():
        return None
    computed = rounding.is_computed(operand)
    return Decision(operand, place, step, NUDGE if computed else 0.0, _unit(operand) if computed else 0.0)


def _cut_off(rounding: Rounding, quotient: Cut, args: Any) -> Decision:
    computed = [value for value in args if isinstance(value, torch.Tensor) and rounding.is_computed(value)]
    room = NUDGE if computed else 0.0 if quotient.is_exact else QUOTIENT
    return Decision(quotient.quotient, -1, 1.0, room, max(map(_unit, computed), default=0.0), quotient)


def _unit(tensor: torch.Tensor) -> float:
    return torch.finfo(tensor.dtype).eps


def _step(source: Any, target: torch.dtype | None) -> float:
    """Return the relative distance of the numbers of a narrower type to which a cast rounds; 0 for other casts."""
    if not isinstance(source, torch.Tensor) or not source.is_floating_point() or target is None:
        return 0.0
    if is_integer(target):
        return 1.0
    if not target.is_floating_point or target.itemsize >= min(source.itemsize, torch.float32.itemsize):
        return 0.0
    return torch.finfo(target).eps


class Coarsest(Rounding):
    """Find the coarsest rounding, cast or comparison of a computed number."""

    step = 0.0
    """Distance between two neighbouring results of the coarsest operation (`Decision.step`); 0 without one."""
    decides = False
    """Whether numbers are rounded to whole ones, or compared, be they computed or not."""

    def __init__(self) -> None:
        super().__init__()
        self._rounded: Any = WeakIdKeyDictionary()  # torch does not type it

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation."""
        name = func.overloadpacket.__name__.rstrip("_")
        found = decision(self, func, args, kwargs) if name not in COMPARISONS else None
        compared = name in COMPARISONS and any(isinstance(v, torch.Tensor) and self.is_computed(v) for v in args[:2])
        if compared or (found is not None and found.room):
            self.step = max(self.step, found.step if found is not None else 1.0)
        self.decides |= (found is not None and found.step == 1.0) or is_comparison(name, args)
        results = super().run(func, args, kwargs)
        for result in tensors_of(results) if is_exact(func) and not func._schema.is_mutable else ():
            numbers = [operand for operand in tensors_of((args, kwargs)) if operand.is_floating_point()]
            types = {kwargs["dtype"]} if kwargs.get("dtype") in HALF_TYPES else set(map(self.rounded_to, numbers))
            if len(types) == 1 and types <= set(HALF_TYPES):
                self._rounded[result] = types.pop()
        if func._schema.is_mutable:
            self._written(name, args, results)
        return results

    def _written(self, name: str, args: Any, results: Any) -> None:
        """Note what tensors hold that an operation has written: numbers of 16 bits where it copied such ones."""
        held = self.rounded_to(args[1]) if name == "copy" and isinstance(args[1], torch.Tensor) else None
        for result in tensors_of(results):
            self._rounded.pop(result, None)
            if held in HALF_TYPES:
                self._rounded[result] = held

    def rounded_to(self, tensor: torch.Tensor) -> torch.dtype:
        """Return the 16-bit type to which a conversion has rounded the tensor's numbers; else that of the tensor."""
        dtype: torch.dtype = self._rounded.get(tensor, tensor.dtype)
        return dtype


class Decisions:
    """The numbers on which a reference decides, in order, how it decides, and by how much each number may be off.

    The first run of the reference shows the numbers and the decisions.  Later ones decide in the same way, except that
    casts to narrower types round what they are given, and show how the numbers change.
    """

    def __init__(self) -> None:
        self._exact: list[Decision] = []
        self._results: list[torch.Tensor | None] = []
        self._change: list[torch.Tensor] = []
        self._rough: list[torch.Tensor | None] = []
        """By how much each number is off in lower precisions."""
        self._whole: list[int] = []
        """Places of the decisions that do not depend on the type in which the reference computes."""
        self._begun = self._known = False
        self._at = 0
        self._is_rough, self._is_noted = False, True
        self.differ = False
        """Whether a number of the last run would have been decided in another way."""

    def begin(self, *, rough: bool = False, noted: bool = True) -> Decisions:
        """Begin the next run.

        Args:
            rough: the run computes in another type or arithmetic than the first one, and what it shows is a sample.
            noted: the run shows how numbers change.
        """
        self._begun, self._known, self._at = True, self._begun, 0
        self._is_rough, self._is_noted, self.differ = rough, noted, False
        return self

    def watch(self, rounding: Rounding, func: Any, args: Any, kwargs: Any, operate: Callable[[], Any]) -> Any:
        """Run an operation by `operate`, and decide as the first run did."""
        found = decision(rounding, func, args, kwargs)
        if found is None or (self._is_rough and found.step < 1.0):
            return operate()
        operand = found.operand.detach().double().clone()
        results = operate()
        if not self._known:
            self._begin_with(found._replace(operand=operand, cut=None), results)
            return results
        at, self._at = self._at, self._at + 1
        place = at if not self._is_rough else self._whole[at] if at < len(self._whole) else len(self._exact)
        if place >= len(self._exact) or operand.shape != self._exact[place].operand.shape:
            return results
        if self._is_noted:
            self._note_change(place, (operand - self._exact[place].operand).abs().nan_to_num(0, 0, 0))
        kept = self._results[place]
        return results if kept is None or kept.shape != results.shape else self._decided(found, func, kept, results)

    def _begin_with(self, found: Decision, results: torch.Tensor) -> None:
        if found.step == 1.0:
            self._whole.append(len(self._exact))
        self._exact.append(found)
        self._results.append(results.detach().clone() if found.step == 1.0 else None)
        self._change.append(torch.zeros_like(found.operand))
        self._rough.append(None)

    def _note_change(self, place: int, change: torch.Tensor) -> None:
        if not self._is_rough:
            self._change[place] = self._change[place].maximum(change)
            return
        size, least = self._sizes(place)
        if change.numel() and bool(change.median() <= ALIEN * least.median()):
            share = (change / size.clamp_min(torch.finfo(torch.float64).tiny)).median()
            off = change.maximum(share * size).where(change <= ALIEN * least, 0.0)
            before = self._rough[place]
            self._rough[place] = off if before is None else off.maximum(before)

    def _decided(self, found: Decision, func: Any, kept: torch.Tensor, results: torch.Tensor) -> torch.Tensor:
        """Return the results of an operation, decided as the first run did."""
        decided = kept
        if found.cut is not None and found.cut.is_remainder:
            wide = results.double()
            times = ((kept.double() - wide) / found.cut.divisor).round()
            decided = torch.where(times.isfinite() & (times != 0), wide + times * found.cut.divisor, wide)
        decided = decided.to(results.dtype)
        self.differ |= not torch.equal(decided, results)
        return results.copy_(decided) if func._schema.is_mutable else decided

    def _sizes(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the size of each number, and the larger of it and the root mean square."""
        size = self._exact[place].operand.abs().nan_to_num(0, 0, 0)
        return size, size.maximum(size.square().mean().sqrt() if size.numel() else size.sum())

    def error(self, shape: torch.Size) -> torch.Tensor | None:
        """Return by how much each number of the next decision may be off; None where the runs differ."""
        at, self._at = self._at, self._at + 1
        if at >= len(self._exact) or self._exact[at].operand.shape != shape:
            return None
        size, _ = self._sizes(at)
        change, rough = self._change[at], self._rough[at]
        return FACTOR * (change if rough is None else change.maximum(rough)) + self._exact[at].room * size


class Watched(Rounding):
    """Have decisions watched while a reference is run as it is."""

    def __init__(self, decisions: Decisions) -> None:
        """Begin a run.

        Args:
            decisions: those of the reference.
        """
        super().__init__()
        self._decisions = decisions

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation."""
        operate = super().run
        return self._decisions.watch(self, func, args, kwargs, lambda: operate(func, args, kwargs))


class Shifted(Rounding):
    """Move each number on which a reference decides by as much as it may be off."""

    def __init__(self, sign: int, decisions: Decisions | None = None) -> None:
        """Choose the moves.

        Args:
            sign: 1 for up, -1 for down.
            decisions: by how much each number may be off; None for half a step of its own type.
        """
        super().__init__()
        self._sign = sign
        self._decisions = decisions

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run one operation, on a moved operand where it decides on one."""
        found = decision(self, func, args, kwargs)
        error = self._error(found) if found is not None else None
        first = args[0] if args else None
        if error is not None and not bool(error.any()):
            error = None
        if found is not None and found.cut is not None:
            return self._cut_off(found.cut, error, func, args, kwargs)
        if found is not None and error is not None:
            operand = args[found.place]
            moved = operand.double() + self._sign * error
            if func._schema.is_mutable and found.place == 0:
                operand.copy_(moved)
            else:
                moved = moved if operand.dtype == torch.float64 or found.step == 1.0 else moved.to(operand.dtype)
                args = (*args[: found.place], moved, *args[found.place + 1 :])
        exact = self.exact_result(func, args, kwargs)
        if exact is not None:
            return exact
        results = func(*args, **kwargs)
        if found is not None and found.operand is first and isinstance(results, torch.Tensor):
            results = results.to(first.dtype) if results.is_floating_point() and found.step == 1.0 else results
        self.note(func, args, kwargs, results)
        return results

    def _cut_off(self, quotient: Cut, error: torch.Tensor | None, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        """Run an operation that cuts off a quotient, moved by as much as it may be off."""
        otherwise = quotient.result(quotient.quotient + self._sign * error) if error is not None else None
        exact = self.exact_result(func, args, kwargs)
        results: torch.Tensor = func(*args, **kwargs) if exact is None else exact
        if error is not None and otherwise is not None:
            moved = torch.where((error > 0) & otherwise.isfinite() & results.isfinite(), otherwise, results.double())
            results = results.copy_(moved) if func._schema.is_mutable else moved.to(results.dtype)
        if exact is None:
            self.note(func, args, kwargs, results)
        return results

    def _error(self, found: Decision) -> torch.Tensor | None:
        if self._decisions is not None:
            return self._decisions.error(found.operand.shape)
        if not found.room:
            return None
        step = max(found.room, HALF_STEP * found.unit)
        return step * found.operand.double().abs().nan_to_num(0, 0, 0)
