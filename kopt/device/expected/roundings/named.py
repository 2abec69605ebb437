"""Find what conversions to 16-bit types that a reference names change in its result."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from kopt.device.draws.distributions import Case
from kopt.device.expected.decisions import Coarsest, Decisions, Watched
from kopt.device.expected.runs import deciding_alike, in_dtype

ROUNDING = 0.25
"""Largest change of an element, over the larger of it and the root mean square, that counts as a rounding error."""


def changes_without(
    case: Case, exact: Sequence[torch.Tensor], first: Coarsest, decisions: Decisions | None, changed: Collection[str]
) -> list[torch.Tensor | None]:
    """Return how each tensor of the result changes when conversions to named 16-bit types do not round.

    None stands for integers.

    Args:
        case: model and inputs.
        exact: the case's result in float64.
        first: the mode that saw how it was computed.
        decisions: its decisions; None where there are none.
        changed: names of the arguments that count as changed.
    """
    within = deciding_alike(decisions, rough=True, noted=False)
    others = in_dtype(case, torch.float64, changed=changed, within=within, rounds=False)
    return [
        (other.to(first.rounded_to(tensor)) - tensor).nan_to_num(0, 0, 0) if tensor.is_floating_point() else None
        for tensor, other in zip(exact, others, strict=True)
    ]


def large_changes_without(case: Case, changed: Collection[str] = ()) -> list[torch.Tensor | None]:
    """Return by how much conversions to named 16-bit types move each element of a result, where that is much.

    It is 0 where the change is as small as a rounding error (`Evidence.kept`), and None for integers.

    Args:
        case: model and inputs.
        changed: names of the arguments that count as changed.
    """
    first = Coarsest()
    exact = in_dtype(case, torch.float64, changed=changed, within=first)
    decisions = Decisions() if first.decides else None
    if decisions is not None:
        in_dtype(case, torch.float64, changed=changed, within=Watched(decisions.begin()))
    changes = changes_without(case, exact, first, decisions, changed)
    return [
        change.abs().masked_fill(is_rounding(change, tensor), 0.0) if change is not None else None
        for change, tensor in zip(changes, exact, strict=True)
    ]


def is_rounding(change: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Return where the change of an element is small enough for a rounding error."""
    size = exact.abs().nan_to_num(0, 0, 0)
    return change.abs() <= ROUNDING * size.maximum(size.square().mean().sqrt())
