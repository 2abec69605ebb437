"""See the structure of a problem's inputs: which values a draw may give to them.

Structure is looked for in several calls of `get_inputs`, so that it is not luck, or declared by an `InputRule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from kopt.device.reference.layout import computable
from kopt.model.problem import InputRule

FEW = 16
"""Largest number of distinct values (levels of a mask, of labels, of ternary weights) that stay as they are given."""

ZEROS = 0.01
"""Share of zeros from which their places are kept: triangular, banded, padded and sparse inputs."""

SUM_ERROR = 0.02
"""Error of a sum of probabilities, which the rounding to the problem's dtype may cause."""


@dataclass(frozen=True)
class Structure:
    """The values that a draw may give to one input."""

    kept: bool = False
    """Values stay as `get_inputs` makes them: of masks, inputs of few levels, sorted or unique indexes, tables that
    no seed changes, and inputs that a rule says to keep."""
    constant: bool = False
    """All elements are equal."""
    sign: int = 0
    """1 or -1 where all elements have this sign (or are zero), else 0."""
    low: float | None = None
    """Least number that may be drawn; None where no bound is known, or the integers that are given show it."""
    high: float | None = None
    """Greatest number that may be drawn; None where no bound is known, or the integers that are given show it."""
    uniform: bool = False
    """Values fill the range 0 to 1, as those of `torch.rand` do, which does not show that the reference needs it."""
    sum_dimension: int | None = None
    """Dimension along which elements sum to one, counted from the end."""
    zeros_kept: bool = False
    """Zeros stay where `get_inputs` puts them."""
    infinities_kept: bool = False
    """Infinities stay where `get_inputs` puts them; the other elements are drawn."""
    symmetric: bool = False
    """Exchanging the last two dimensions changes nothing: a symmetric matrix."""
    repeats: bool = False
    """Some integer occurs more than once, so that drawn ones may repeat too."""
    mask: bool = False
    """Two values in places that change from seed to seed; a row may hold either value alone."""


FREE = Structure()
KEPT = Structure(kept=True)


def structure_seen(samples: Sequence[Sequence[torch.Tensor]], rule: InputRule | None = None) -> Structure:
    """Return the structure that is declared for one input, or seen in all samples of it.

    Args:
        samples: values of the input by workload, for each workload those of several seeds.
        rule: the declared rule.
    """
    samples = [[computable(value.detach()) for value in values] for values in samples]
    every = [value for values in samples for value in values if value.numel()]
    if rule is not None and rule.keep is not None:
        return KEPT
    if not every or every[0].is_complex():
        return KEPT
    if rule is not None and rule.range is not None and every[0].dtype != torch.bool:
        return Structure(low=rule.range[0], high=rule.range[1], repeats=not every[0].is_floating_point())
    if _two_values(every) and not _fixed(samples):
        return Structure(kept=True, mask=not _one_hot(every))
    if every[0].is_floating_point():
        return _floating(every, samples)
    return _integers(every, samples)


def _integers(every: Sequence[torch.Tensor], samples: Sequence[Sequence[torch.Tensor]]) -> Structure:
    if every[0].dtype == torch.bool or _fixed(samples):
        return KEPT
    if _all(every, _sorted) or _all(every, _unique) or _all(every, _equal):
        return KEPT
    return Structure(repeats=any(value.unique().numel() < value.numel() for value in every))


def _floating(every: Sequence[torch.Tensor], samples: Sequence[Sequence[torch.Tensor]]) -> Structure:
    if any(bool(value.isnan().any()) for value in every):
        return KEPT
    if not all(bool(value.isfinite().all()) for value in every):
        return _beside_infinities(every, samples)
    low, high = min(float(value.min()) for value in every), max(float(value.max()) for value in every)
    sign = 1 if low >= 0 < high else -1 if high <= 0 > low else 0
    if _all(every, _equal):
        return Structure(constant=True, sign=sign)
    if _few_levels(every) or _fixed(samples) or _all(every, _sorted) or _all(every, _whole):
        return KEPT
    along = _sum_dimension(every) if sign == 1 else None
    return Structure(
        sign=sign,
        low=low if sign == 1 and high <= 1 else None,
        high=high if sign == 1 and high <= 1 else None,
        uniform=sign == 1 and along is None and 0.9 < high <= 1 and low < 0.1,
        sum_dimension=along,
        zeros_kept=all(bool((value == 0).double().mean() >= ZEROS) for value in every),
        symmetric=_all(every, _symmetric),
    )


def _two_values(every: Sequence[torch.Tensor]) -> bool:
    """Return whether all values together are two numbers; nothing is sorted, since inputs may be large."""
    low, high = min(value.min() for value in every), max(value.max() for value in every)
    return bool(low < high) and all(bool(((value == low) | (value == high)).all()) for value in every)


def _few_levels(every: Sequence[torch.Tensor]) -> bool:
    """Return whether values are few numbers that occur again and again; values that begin otherwise are not sorted."""
    values = torch.cat([value.flatten() for value in every])
    if values[: 64 * FEW].unique().numel() > FEW:
        return False
    levels: int = values.unique().numel()
    return levels <= FEW and values.numel() >= 4 * levels


def _beside_infinities(every: Sequence[torch.Tensor], samples: Sequence[Sequence[torch.Tensor]]) -> Structure:
    """Return the structure of an input with infinities: that of its finite elements, unless places follow a rule."""
    finite = [value[value.isfinite()] for value in every]
    if not all(value.numel() for value in finite) or _fixed(samples) or _all(every, _sorted):
        return KEPT
    seen = _floating(finite, [[value[value.isfinite()] for value in values] for values in samples])
    return seen if seen.kept or seen.constant else replace(seen, sum_dimension=None, infinities_kept=True)


def _all(values: Sequence[torch.Tensor], holds: Callable[[torch.Tensor], bool]) -> bool:
    return all(holds(value) for value in values)


def _fixed(samples: Sequence[Sequence[torch.Tensor]]) -> bool:
    """Return whether no seed changes the values: tables of angles, positions, windows."""
    return all(torch.equal(values[0], other) for values in samples for other in values[1:])


def _one_hot(every: Sequence[torch.Tensor]) -> bool:
    return every[0].dtype != torch.bool and _sum_dimension([value.double() for value in every]) is not None


def _equal(value: torch.Tensor) -> bool:
    return bool((value == value.flatten()[0]).all())


def _sorted(value: torch.Tensor) -> bool:
    return value.dim() > 0 and value.shape[-1] > 3 and bool((value.diff(dim=-1) >= 0).all())


def _unique(value: torch.Tensor) -> bool:
    return value.numel() > 3 and value.unique().numel() == value.numel()


def _whole(value: torch.Tensor) -> bool:
    return bool((value == value.round()).all())


def _symmetric(value: torch.Tensor) -> bool:
    return value.dim() > 1 and value.shape[-1] == value.shape[-2] > 1 and torch.equal(value, value.mT)


def _sum_dimension(every: Sequence[torch.Tensor]) -> int | None:
    """Return the dimension, counted from the end, along which the elements of every sample sum to one."""
    for dimension in range(1, min(value.dim() for value in every) + 1):
        sums = [value.sum(-dimension) for value in every if value.shape[-dimension] > 1]
        if sums and all(bool(((total - 1).abs() <= SUM_ERROR).all()) for total in sums):
            return -dimension
    return None
