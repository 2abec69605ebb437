"""Find the dimensions of an input along which a reference brings elements together, as sums and norms do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from kopt.device.reference.layout import same_values

CHANGE = 2.0
"""Amount that is added to one element, over the largest one: it becomes the largest."""


def dimensions_together(
    value: torch.Tensor, before: Sequence[torch.Tensor], outputs: Callable[[torch.Tensor], Sequence[torch.Tensor]]
) -> tuple[int, ...]:
    """Return the dimensions along which neighbours change a common element of the output.

    None are returned where this holds for all of them or for none, or where the reference fails.

    Args:
        value: an input of at least two dimensions, whose elements may be changed one by one.
        before: outputs for it.
        outputs: computes the outputs for a changed input; none where the reference fails.
    """
    middle = [size // 2 for size in value.shape]
    here = _changed(value, middle, before, outputs)
    together = []
    for dimension, size in enumerate(value.shape):
        if size > 1:
            neighbour = list(middle)
            neighbour[dimension] = (middle[dimension] + 1) % size
            there = _changed(value, neighbour, before, outputs)
            if any(bool((one & other).any()) for one, other in zip(here, there, strict=False)):
                together.append(dimension)
    several = sum(size > 1 for size in value.shape)
    return tuple(together) if len(together) < several else ()


def _changed(
    value: torch.Tensor,
    place: Sequence[int],
    before: Sequence[torch.Tensor],
    outputs: Callable[[torch.Tensor], Sequence[torch.Tensor]],
) -> list[torch.Tensor]:
    """Return which elements of the outputs change with one element of an input."""
    changed = value.to(torch.float64, copy=True)
    changed[tuple(place)] += CHANGE * (float(changed.abs().max()) or 1.0)
    after = outputs(changed)
    if [one.shape for one in after] != [one.shape for one in before]:
        return []
    return [~same_values(one, other) for one, other in zip(after, before, strict=True)]
