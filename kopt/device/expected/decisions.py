"""Find where a reference decides on a computed number: it rounds it to a whole one, casts it, or compares it.

A GPU's approximate operations (division, roots, exponentials) are off by up to two units in the last place, so that a
number within their errors of the point where a decision turns may fall on either side of it.  The reference is run
with small changes to see by how much each such number may be off (`Decisions`), and then with each number moved by
that much, all of them up, or all of them down (`Shifted`).  `Any`: torch passes operations, their arguments and results
untyped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from kopt.device.expected.rounding import HALF_STEP, NUDGE, WHOLE, Rounding
from kopt.device.reference.layout import is_integer

COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}
"""Operations that compare two numbers: the difference decides."""

SEARCHES = {"bucketize": 0, "searchsorted": 1}
"""Operations that find a place among bounds, and the place of the number that is looked up among their arguments."""

FACTOR = 4.0
"""Move of a number over its largest change in the runs with small changes."""

JUMP = 1e-3
"""Change of a number, over the larger of it and the root mean square, that follows from another decision."""


class Decision(NamedTuple):
    """The number on which one operation decides."""

    operand: torch.Tensor
    """The number, the difference of the two that are compared, or the quotient that is cut off."""
    place: int
    """Place of the operand among the arguments."""
    step: float
    """Relative distance of two results: that of the type's numbers, and 1 for whole numbers and comparisons."""
    is_computed: bool
    """Whether operations have rounded the number, and it is compared with no number that they have rounded."""


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
    if simple in COMPARISONS and isinstance(first, torch.Tensor):
        if not any(isinstance(value, torch.Tensor) and value.is_floating_point() for value in args[:2]):
            return None
        return Decision(first.double() - args[1], 0, 1.0, False)
    if name in SEARCHES and isinstance(args[SEARCHES[name]], torch.Tensor):
        found = _decided(rounding, args[SEARCHES[name]], SEARCHES[name], 1.0)
        among = args[1 - SEARCHES[name]]
        return found._replace(is_computed=found.is_computed and not rounding.is_computed(among)) if found else None
    return None


def _decided(rounding: Rounding, operand: Any, place: int, step: float) -> Decision | None:
    if not isinstance(operand, torch.Tensor) or not operand.is_floating_point():
        return None
    return Decision(operand, place, step, rounding.is_computed(operand))


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
    """Distance between its neighbouring results (`Decision.step`); 0 where there is none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__.rstrip("_")
        found = decision(self, func, args, kwargs) if name not in COMPARISONS else None
        compared = name in COMPARISONS and any(isinstance(v, torch.Tensor) and self.is_computed(v) for v in args[:2])
        if compared or (found is not None and found.is_computed):
            self.step = max(self.step, found.step if found is not None else 1.0)
        results = func(*args, **kwargs)
        self.note(func, args, kwargs, results)
        return results


class Decisions:
    """The numbers on which a reference decides, in order, and by how much each may be off.

    The first run of the reference shows the numbers, later ones how they change.
    """

    def __init__(self) -> None:
        self._exact: list[Decision] = []
        self._change: list[torch.Tensor] = []
        self._known = False
        self._at = 0

    def begin(self) -> Decisions:
        """Begin the next run."""
        self._known, self._at = self._known or bool(self._exact), 0
        return self

    def see(self, rounding: Rounding, func: Any, args: Any, kwargs: Any) -> None:
        """Look at an operation before it is run."""
        found = decision(rounding, func, args, kwargs)
        if found is None:
            return
        operand = found.operand.detach().double()
        if not self._known:
            self._exact.append(found._replace(operand=operand.clone()))
            self._change.append(torch.zeros_like(operand))
        elif self._at < len(self._exact) and operand.shape == self._exact[self._at].operand.shape:
            change = (operand - self._exact[self._at].operand).abs().nan_to_num(0, 0, 0)
            self._change[self._at] = self._change[self._at].maximum(change)
        self._at += 1

    def error(self, shape: torch.Size) -> torch.Tensor | None:
        """Return by how much each number of the next decision may be off; None where the runs differ."""
        at, self._at = self._at, self._at + 1
        if at >= len(self._exact) or self._exact[at].operand.shape != shape:
            return None
        size = self._exact[at].operand.abs().nan_to_num(0, 0, 0)
        usual = size.square().mean().sqrt() if size.numel() else size.sum()
        change = torch.where(self._change[at] <= JUMP * size.maximum(usual), self._change[at], 0.0)
        return FACTOR * change + (NUDGE * size if self._exact[at].is_computed else 0.0)


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

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, on a moved operand where it decides on one."""
        kwargs = kwargs or {}
        found = decision(self, func, args, kwargs)
        error = self._error(found) if found is not None else None
        first = args[0] if args else None
        if found is not None and error is not None and bool(error.any()):
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

    def _error(self, found: Decision) -> torch.Tensor | None:
        if self._decisions is not None:
            return self._decisions.error(found.operand.shape)
        if not found.is_computed:
            return None
        step = max(NUDGE, HALF_STEP * torch.finfo(found.operand.dtype).eps)
        return step * found.operand.double().abs().nan_to_num(0, 0, 0)
