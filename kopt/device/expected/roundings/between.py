"""Find what becomes of a result when the numbers that eager rounds to 16 bits on the way are rounded otherwise."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import torch

from kopt.device.draws.distributions import Case
from kopt.device.expected.decisions import Decisions, Watched
from kopt.device.expected.emulation import RoundedBetween
from kopt.device.expected.runs import REPEATED_ELEMENTS, deciding_alike, in_dtype, in_wider
from kopt.device.reference.other_type import HALF_TYPES
from kopt.device.reference.tree import tensors_of

ROUNDINGS = (16, 64)
"""Runs in which what the eager model rounds to 16 bits on the way is rounded otherwise: some, and where these decide an
element many."""

ROUNDING_WORK = (1 << 29, 1 << 14)
"""Most elements that these runs compute and convert, and most operations."""

DECIDES = 16
"""Change of an element, in units in the last place of the larger of it and the root mean square, that decides it."""


def changes_between(
    case: Case, exact: Sequence[torch.Tensor], changed: Collection[str] = (), named: torch.dtype | None = None
) -> list[torch.Tensor] | None:
    """Return the largest change of each element of a result when what eager rounds to 16 bits is rounded otherwise.

    None where the model has no numbers of 16 bits, or some of float64, or computes too much for so many runs.  Under
    `torch.autocast` and in conversions to a 16-bit type that the reference names, eager rounds, too.

    Args:
        case: model and inputs.
        exact: the case's result in float64.
        changed: names of the arguments that count as changed.
        named: 16-bit type that the reference names, which counts where no input or parameter has one; None for none.
    """
    tensors = tensors_of(list(case.inputs))
    dtypes = {tensor.dtype for tensor in (*tensors, *case.model.parameters())}
    elements = sum(tensor.numel() for tensor in (*tensors, *case.model.parameters()))
    halves = dtypes & set(HALF_TYPES) or ({named} if named is not None else set())
    if not halves or torch.float64 in dtypes or elements > REPEATED_ELEMENTS:
        return None
    half = max(halves, key=lambda dtype: torch.finfo(dtype).eps)
    decisions = Decisions()
    in_dtype(case, torch.float64, changed=changed, within=Watched(decisions.begin()))
    few, many = ROUNDINGS
    largest = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in exact]
    turn = 0
    while turn < few or (turn < many and any(map(partial(_decides, torch.finfo(half).eps), largest, exact))):
        rounded = RoundedBetween(half, turn)
        within = deciding_alike(decisions, rounded, rough=True, noted=False)
        for most, tensor, right in zip(largest, in_wider(case, changed, half, within), exact, strict=True):
            change = (tensor.to(right.device) - right).abs().double()
            torch.maximum(most, change.nan_to_num(0, 0, 0), out=most)
        if turn == 0:
            work = (elements + rounded.elements, rounded.operations)
            affordable = min(limit // max(one, 1) for limit, one in zip(ROUNDING_WORK, work, strict=True))
            if affordable < few:
                return None
            many = min(many, affordable)
        turn += 1
    return largest


def _decides(unit: float, change: torch.Tensor, exact: torch.Tensor) -> bool:
    """Return whether changes are larger than small steps of an element, a unit being relative to its size."""
    size = exact.abs().double().nan_to_num(0, 0, 0)
    return bool((change > DECIDES * unit * size.maximum(size.square().mean().sqrt())).any())
