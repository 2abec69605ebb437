"""See whether a reference deals with NaN or infinities of its inputs, as nan_to_num, isnan and isfinite do."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from kopt.device.draws.sources import Source, Sources
from kopt.device.reference.forward import call
from kopt.device.reference.other_type import computing_in, copied_in
from kopt.errors import ProblemError

ASKS = {
    "nan_to_num", "isnan", "isinf", "isfinite", "isposinf", "isneginf", "nansum", "nanmean", "nanmedian",
    "nanquantile", "nanvar", "nanstd",
}  # fmt: skip
"""Operations that treat NaN or infinities unlike other numbers."""

COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}
"""Operations that tell NaN from numbers where both operands are one, and infinities where one operand is infinite."""

SPECIAL = ((math.nan, math.inf, -math.inf), (math.nan,), (math.inf, -math.inf), (-math.inf,))
"""Values that are drawn where a reference deals with them: the first ones that stay inside its domain."""

SHARE = 16
"""Elements of an input of which one is not finite."""


def leaves_asked(model: torch.nn.Module, inputs: Sequence[Any], dtype: torch.dtype) -> set[Source]:
    """Return the places, among the leaves of a model's inputs, of the tensors that it asks for NaN or infinities.

    Args:
        model: model of a reference, in `dtype`.
        inputs: its inputs, which stay as they are.
        dtype: type in which the model is run.
    """
    leaves, tree = tree_flatten(list(inputs))
    copies = [copied_in(leaf, dtype) for leaf in leaves]
    watch = NotFinite(dict(enumerate(copies)))
    with watch, suppress(ProblemError), computing_in(dtype, list(inputs)):
        call(copy.deepcopy(model), tree_unflatten(copies, tree))
    return watch.asked


class NotFinite(Sources):
    """Watch which inputs an operation asks for NaN or infinities, before anything brings their elements together."""

    def __init__(self, leaves: Mapping[Source, object]) -> None:
        """Watch the tensors among the leaves of a model's inputs."""
        super().__init__(leaves)
        self.asked: set[Source] = set()
        """Places of the leaves that the reference asks."""

    def arrived(self, name: str, args: tuple[Any, ...]) -> None:
        """Note the operands of operations that ask."""
        if name.rstrip("_") in ASKS or (name.rstrip("_") in COMPARISONS and _asks(args)):
            self.asked |= self.of(args)

    def passed(self, func: Any, name: str, args: tuple[Any, ...], operands: frozenset[Source]) -> frozenset[Source]:
        """Follow the inputs through views, copies and elementwise operations."""
        elementwise = torch.Tag.pointwise in func.tags or func.is_view
        return operands if elementwise or name in ("_to_copy", "clone", "cat", "stack") else frozenset()


def _asks(args: Sequence[Any]) -> bool:
    """Return whether a comparison is one of a tensor with itself, or with an infinity."""
    one, other = args[:2]
    if one is other:
        return True
    if isinstance(other, torch.Tensor):
        return other.dim() == 0 and other.is_floating_point() and bool(other.isinf())
    return isinstance(other, float) and math.isinf(other)


def with_special(values: torch.Tensor, special: Sequence[float]) -> torch.Tensor:
    """Return values with special ones in the place of a few, at least one of each kind; an empty tensor as it is."""
    count = min(max(len(special), values.numel() // SHARE), values.numel())
    moved = values.clone(memory_format=torch.contiguous_format)
    where = torch.randperm(values.numel(), device="cpu")[:count].to(values.device)
    drawn = torch.tensor(list(_cycled(special, count)), dtype=torch.float32, device=values.device)
    moved.view(-1)[where] = drawn.to(values.dtype)
    return moved


def _cycled(values: Sequence[float], count: int) -> Iterator[float]:
    return (values[at % len(values)] for at in range(count))
