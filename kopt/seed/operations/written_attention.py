"""Recognise attention that a reference writes out, as products on both sides of a softmax, while it is traced.

    scores = query @ key.transpose(-2, -1) * scale        then a mask, conversions
    output = torch.softmax(scores, -1) @ value

becomes one call of a template, which keeps the scores out of memory.  Each tensor between the two products is
remembered with what it came from, until any tensor is changed in place: traced tensors do not tell what they share.
`Any`: functions of torch take and return anything.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

HALF_TYPES = (torch.bfloat16, torch.float16)
"""Types in which the template multiplies on tensor cores."""
DIMENSIONS = 4
LEAST = -1e9
"""Numbers from here on downwards leave an element out of a softmax, as minus infinity does."""

_IN_PLACE = {"__setitem__", "__delitem__", "__set__"} | {
    f"__i{name}__" for name in
    ("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
}  # fmt: skip
"""Methods that change a tensor, beside those whose names end with `_`."""

_T = torch.Tensor
_MATMUL = {torch.matmul, _T.matmul, _T.__matmul__, torch.bmm, _T.bmm}
_SOFTMAX = {torch.softmax, _T.softmax, torch.nn.functional.softmax}
_CONVERSIONS = {_T.to, _T.float, _T.half, _T.bfloat16, _T.type, _T.type_as, _T.contiguous}
_MULTIPLY = {torch.mul, _T.mul, _T.__mul__, _T.__rmul__, torch.multiply, _T.multiply}
_DIVIDE = {torch.div, _T.div, _T.__truediv__, torch.true_divide, _T.true_divide}
_ADD = {torch.add, _T.add, _T.__add__, _T.__radd__}
_FILL = {torch.masked_fill, _T.masked_fill}


@dataclass(frozen=True)
class Scores:
    """Scores on their way to a softmax, or behind it."""

    query: torch.Tensor
    """Batches, heads, rows and elements of a head."""
    key: torch.Tensor
    """Batches, heads, keys and elements of a head."""
    scale: Any = 1.0
    """Factor of the scores, a number or an expression of sizes."""
    seen: torch.Tensor | None = None
    """Truth values: which keys a row sees; None for all."""
    added: torch.Tensor | None = None
    """Numbers that are added to the scores."""
    is_weight: bool = False
    """Whether the softmax has been taken."""

    @property
    def is_masked(self) -> bool:
        """Return whether there is a mask; a scale behind it would be its scale, too."""
        return self.seen is not None or self.added is not None


@dataclass
class WrittenAttention:
    """Remember what tensors came from, and call the template at the second product."""

    attention: Callable[..., torch.Tensor]
    """Computes attention of query, key, value, mask, whether it is causal, and scale, in four dimensions."""
    largest_head: int
    """Largest head dimension that it takes."""
    _known: dict[int, tuple[torch.Tensor, Scores]] = field(default_factory=dict)
    """By identity: the tensor, which so stays alive, and what it came from."""

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of torch, or the template in its place."""
        made = self._second_product(func, args, kwargs)
        if made is not None:
            return made
        result = func(*args, **kwargs)
        if _changes(func, args, kwargs):
            self._known.clear()
        elif isinstance(result, torch.Tensor):
            followed = self._first_product(func, args, kwargs) or self._followed(func, args, kwargs, result)
            if followed is not None:
                self._known[id(result)] = (result, followed)
        return result

    def knows(self, value: Any) -> bool:
        """Return whether a value is scores or weights, which have to be computed if the reference returns them."""
        return isinstance(value, torch.Tensor) and id(value) in self._known

    def _of(self, value: Any) -> Scores | None:
        """Return what a tensor came from."""
        return self._known[id(value)][1] if self.knows(value) else None

    def _first_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scores | None:
        operands = _operands(func, args, kwargs)
        if operands is None or operands.made != operands.rows[:3] + operands.columns[-1]:
            return None
        query, key = _multiplied(operands.left), _multiplied(operands.right).transpose(-2, -1)
        if query.dtype not in HALF_TYPES or key.dtype != query.dtype:
            return None
        return Scores(query, key)

    def _second_product(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
        operands = _operands(func, args, kwargs)
        scores = self._of(operands.given[0]) if operands else None
        if operands is None or scores is None or not scores.is_weight or not operands.keeps_left:
            return None
        query, key, value, head = scores.query, scores.key, _multiplied(operands.right), scores.query.shape[-1]
        scale = _plain_scale(scores.scale, head)
        fits = value.dtype == query.dtype == _multiplied(operands.left).dtype and value.shape[-1] == head
        if scale is None or not fits or head > self.largest_head:
            return None
        mask = scores.added if scores.seen is None else scores.seen
        if mask is not None:
            mask = mask.expand(*query.shape[:-1], key.shape[-2])
        made = self.attention(query, key, value, mask, False, None if scale == _OF_HEAD else scale)
        return operands.arranged(made)

    def _followed(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: torch.Tensor
    ) -> Scores | None:
        """Return what the result of a function came from, where scores go through it."""
        at = next((place for place, value in enumerate(args) if self.knows(value)), None)
        scores = self._of(args[at]) if at is not None else None
        if at is None or scores is None:
            return None
        if func in _CONVERSIONS or _is_idle_dropout(func, args, kwargs):
            return scores if result.is_floating_point() and result.element_size() > 1 else None
        if func in _SOFTMAX and not scores.is_weight:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            return replace(scores, is_weight=True) if dim in (-1, result.dim() - 1) else None
        if scores.is_weight or len(args) < 2 or (kwargs and func not in _FILL):
            return None
        other = args[1 - at] if at < 2 else None
        if func in _MULTIPLY | _DIVIDE and _is_number(other) and not scores.is_masked:
            divides = func in _DIVIDE
            return None if divides and at else replace(scores, scale=_scaled(scores.scale, other, divides))
        if func in _ADD and isinstance(other, torch.Tensor) and other.is_floating_point():
            fits = not scores.is_masked and result.shape == args[at].shape
            return replace(scores, added=_four(other, result)) if fits else None
        return _masked(scores, func, args, at, result)


def _changes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call may change a tensor in place."""
    name = getattr(func, "__name__", "")
    by_name = name in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))
    by_choice = getattr(func, "__module__", "") == torch.nn.functional.__name__ and args and args[-1] is True
    return by_name or bool(by_choice) or kwargs.get("out") is not None or kwargs.get("inplace") is True


def _is_idle_dropout(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call is of dropout outside of training."""
    training = kwargs.get("training", args[2] if len(args) > 2 else True)
    return func is torch.nn.functional.dropout and training is False


def _masked(scores: Scores, func: Any, args: tuple[Any, ...], at: int, result: torch.Tensor) -> Scores | None:
    """Return scores with a mask: `masked_fill(scores, left_out, -inf)`, or `where` with a number on either side."""
    if func in _FILL and at == 0 and len(args) == 3:
        condition, number, left_out = args[1], args[2], True
    elif func is torch.where and at in (1, 2):
        condition, number, left_out = args[0], args[3 - at], at == 2
    else:
        return None
    is_mask = isinstance(condition, torch.Tensor) and condition.dtype is torch.bool and scores.added is None
    if (
        not is_mask
        or type(number) not in (int, float)
        or number > LEAST
        or result.shape != args[at].shape
        or scores.added is not None
    ):
        return None
    condition = _four(condition, result)
    if number == -math.inf:
        seen = ~condition if left_out else condition
        seen = seen if scores.seen is None else seen & scores.seen
        return replace(scores, seen=seen)
    if scores.seen is not None:
        return None
    zeros = torch.zeros((), dtype=torch.float32, device=condition.device)
    numbers = torch.full((), number, dtype=torch.float32, device=condition.device)
    return replace(scores, added=torch.where(condition, *((numbers, zeros) if left_out else (zeros, numbers))))


# --- products ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Operands:
    """The operands of a product in four dimensions: batches, heads, rows and columns."""

    given: tuple[torch.Tensor, torch.Tensor]
    left: torch.Tensor
    right: torch.Tensor
    rows: str = "bhmk"
    columns: str = "bhkn"
    made: str = "bhmn"
    """Letters of the product's dimensions in the order in which the reference has them."""
    dimensions: int = DIMENSIONS
    keeps_left: bool = True
    """Whether the left operand has its dimensions in this order already."""

    def arranged(self, product: torch.Tensor) -> torch.Tensor:
        """Return a product with the dimensions that the reference's has."""
        if self.dimensions < DIMENSIONS:
            return product.squeeze(1)
        order = self.rows[:3] + self.columns[-1]
        return product if order == self.made else product.permute([order.index(letter) for letter in self.made])


def _operands(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Operands | None:
    """Return the operands of a batched product; None for any other call."""
    if kwargs:
        return None
    if func is torch.einsum:
        return _of_einsum(args)
    if func not in _MATMUL or len(args) != 2 or not all(isinstance(one, torch.Tensor) for one in args):
        return None
    left, right = args
    if left.dim() != right.dim() or left.dim() not in (DIMENSIONS - 1, DIMENSIONS):
        return None
    if left.dim() == DIMENSIONS - 1:
        return _Operands((left, right), left.unsqueeze(1), right.unsqueeze(1), dimensions=left.dim(), made="bhmn")
    if left.shape[:2] != right.shape[:2]:
        return None
    return _Operands((left, right), left, right)


def _of_einsum(args: tuple[Any, ...]) -> _Operands | None:
    """Return the operands of an einsum of two tensors of four dimensions, two of which are batches of both."""
    tensors = list(args[1]) if len(args) == 2 and isinstance(args[1], list | tuple) else list(args[1:])
    equation = args[0].replace(" ", "") if isinstance(args[0], str) else ""
    inputs, arrow, made = equation.partition("->")
    letters = inputs.split(",")
    if not arrow or [len(set(one)) for one in (*letters, made)] != [DIMENSIONS] * 3 or len(tensors) != 2:
        return None
    left, right = letters
    batch = "".join(letter for letter in left if letter in made and letter in right)
    row = "".join(letter for letter in left if letter in made and letter not in right)
    column = "".join(letter for letter in right if letter in made and letter not in left)
    summed = "".join(letter for letter in left if letter in right and letter not in made)
    if (len(batch), len(row), len(column), len(summed)) != (2, 1, 1, 1):
        return None
    rows, columns = batch + row + summed, batch + summed + column
    first, second = tensors
    return _Operands(
        (first, second), _permuted(first, left, rows), _permuted(second, right, columns), rows, columns, made,
        keeps_left=left == rows,
    )  # fmt: skip


def _multiplied(tensor: torch.Tensor) -> torch.Tensor:
    """Return an operand of a product in the type in which torch multiplies it: that of a region of autocast, in one."""
    return tensor.to(torch.get_autocast_dtype("cuda")) if is_converted(tensor) else tensor


def is_converted(tensor: torch.Tensor) -> bool:
    """Return whether operations convert a tensor in the region of `torch.autocast` where the reference is."""
    return torch.is_autocast_enabled("cuda") and tensor.is_floating_point() and tensor.dtype != torch.float64


def _permuted(tensor: torch.Tensor, letters: str, order: str) -> torch.Tensor:
    return tensor if letters == order else tensor.permute([letters.index(letter) for letter in order])


def _four(mask: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Return a mask for scores in four dimensions: to those of three a dimension of one head is added."""
    return mask.unsqueeze(1) if scores.dim() < DIMENSIONS and mask.dim() == scores.dim() else mask


# --- scales -----------------------------------------------------------------------------------------------------------

_OF_HEAD = "of the head"
"""The scale that the template takes by itself: one over the root of the head's dimension."""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) or isinstance(value, torch.SymFloat | torch.SymInt)


def _scaled(scale: Any, factor: Any, divides: bool) -> Any:
    return operator.truediv(scale, factor) if divides else scale * factor


def _plain_scale(scale: Any, head: Any) -> Any:
    """Return a scale as the template takes it: a number, or `_OF_HEAD`; None for any other expression."""
    if type(scale) in (int, float):
        return float(scale)
    if not isinstance(scale, torch.SymFloat) or not isinstance(head, torch.SymInt):
        return None
    own, size = scale.node.expr, head.node.expr
    symbols = sorted(size.free_symbols, key=str)
    if not own.free_symbols <= set(symbols):
        return None
    for value in (48, 96, 480):
        values = dict.fromkeys(symbols, value)
        if not math.isclose(float(own.subs(values)), float(size.subs(values)) ** -0.5, rel_tol=1e-9):
            return None
    return _OF_HEAD
