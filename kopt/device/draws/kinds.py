"""Make the values of each kind of draw, within the structure of an input.

Each kind stands for faults that others hide: `large` for an exponential without a maximum, `tiny` for an eps that
never matters, `negative` for a maximum that starts at zero, and so on.  Rows take turns through a few patterns, the
first of which alone shows the kind's fault, so that one row is enough.  A row lies along the dimensions whose elements
the reference brings together (`Wanted.along`), else along the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kopt.device.draws.not_finite import with_special
from kopt.device.draws.structure import FREE, Structure
from kopt.device.reference.layout import extent, without_repeats

SPAN = 6.0
"""Magnitudes of `range` reach from 2^-SPAN to 2^SPAN times the input's scale."""

HOT = 8.0
"""Magnitude of the one element per row of `onehot`, in units of the input's scale."""

LARGE = (120.0, 24.0)
"""Magnitudes of `large`: float32 cannot hold the exponential of the first, or of its negative; the second is milder."""

NEGATIVE = (240.0, 100.0, 24.0)
"""Mean magnitudes of the large rows of `negative`: float32 has no number for the exponential of any of the first."""

EXTREME = 2.0**16
"""Largest number of the mildest form of `extreme`: below the large negative numbers by which kernels mask scores."""
MASKED_LARGEST = 1000.0
"""Largest magnitude of `extreme` where scores are masked: kernels write -1e4, -1e6 or -1e30 for minus infinity."""

SCALE_ELEMENTS = 1 << 24
"""Elements of an input from which its scale follows."""

TINY = tuple(2.0**-power for power in (9, 13, 17, 24))
"""Magnitudes of the rows of `tiny`, after those that follow from the eps of the reference."""


@dataclass(frozen=True)
class Wanted:
    """The requirements on the values that are drawn for one input, whatever the kind of draw."""

    structure: Structure
    """Structure of the input, which drawn values keep."""
    first: bool
    """Whether the input has the kind's edges, as most often the first of those whose values are free; the others are
    drawn as `normal` does, or with one sign."""
    level: int = 0
    """Mildness of the form: 0 for the kind itself, up to `LEVELS` of the kind less 1 for its mildest form."""
    signed: bool = False
    """Whether both signs may be drawn though `get_inputs` gives values from 0 to 1."""
    epsilons: tuple[float, ...] = ()
    """Small constants of the reference, any of which may be the eps of a norm; rows of `tiny` are near their roots."""
    dtype: torch.dtype = torch.float32
    """Type of the input."""
    along: tuple[int, ...] = ()
    """Dimensions along which a row of the input lies; empty for the last dimension alone."""
    masked: bool = False
    """Whether the reference masks scores, which bounds the magnitudes of `extreme`."""
    others_positive: bool = False
    """Whether `negative` draws positive numbers for the inputs without edges."""
    below: int | None = None
    """Size of the dimension that an input of integers indexes; None where it is not known."""
    special: tuple[float, ...] = ()
    """Values that are not finite, which a few elements get."""
    chosen: bool = False
    """Whether the inputs with edges are chosen: then `tiny`, which all inputs are else, is only drawn for these."""


Fill = Callable[[torch.Tensor, Wanted], torch.Tensor]
"""Makes float32 values in the shape of an input as `get_inputs` made it."""


def scale_of(original: torch.Tensor) -> float:
    """Return the root mean square of an input as `get_inputs` made it; 1 where that is zero or not finite.

    Of a large input every so many rows are enough.
    """
    sample = original[:: -(-original.numel() // SCALE_ELEMENTS)] if original.dim() else original
    scale = float(sample.float().square().mean().sqrt()) if original.numel() else 0.0
    return scale if math.isfinite(scale) and scale > 0 else 1.0


def _normal(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    return torch.randn(original.shape) * scale_of(original)


def _integer(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw -2 to 2 times a power of two: products and short sums are exact, and there are ties."""
    step = 2.0 ** round(math.log2(scale_of(original) / math.sqrt(2.0)))
    return torch.randint(-2, 3, original.shape).float() * step


def _range(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw signed magnitudes over many powers of two: one element may outweigh all others of a sum."""
    sign = torch.randint(0, 2, original.shape).float() * 2 - 1
    return sign * torch.exp2((torch.rand(original.shape) * 2 - 1) * SPAN) * scale_of(original)


def _onehot(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw one element per row of the first input, in the first row the very last and positive; others are normal."""
    if not wanted.first or original.dim() == 0:
        return _normal(original, wanted)
    longest = max(range(original.dim()), key=lambda dimension: original.shape[dimension])
    axis = original.dim() - 1 if original.shape[-1] > 1 else longest
    rows = torch.zeros(original.shape).movedim(axis, -1)
    size = rows.shape[-1]
    where = torch.randint(0, max(size, 1), rows.shape[:-1])
    sign = torch.randint(0, 2, rows.shape[:-1]).float() * 2 - 1
    where.view(-1)[:1], sign.view(-1)[:1] = size - 1, 1.0
    rows = rows.scatter(-1, where.unsqueeze(-1), sign.unsqueeze(-1) * HOT * scale_of(original))
    return rows.movedim(-1, axis).contiguous()


def _large(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw rows of large numbers of both signs, of positive and of negative ones; the last element is the largest."""
    values = _normal(original, wanted)
    if not wanted.first or not original.numel():
        return values
    spread = 1 + 0.25 * torch.rand(original.shape)
    spread.view(-1)[-1] = 1.5
    values = _by_row(spread, [values.sign(), torch.ones_like(values), -torch.ones_like(values)]) * spread
    if values.dim():
        values.reshape(-1, values.shape[-1])[:1, -1:].abs_()
    return values * LARGE[wanted.level]


def _tiny(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw rows so small that an eps matters, each of another magnitude."""
    if wanted.chosen and not wanted.first:
        return _normal(original, wanted)
    magnitudes = [*(math.sqrt(epsilon / 2) for epsilon in wanted.epsilons), *TINY]
    values, least = torch.randn(original.shape), 4 * torch.finfo(wanted.dtype).tiny
    return _by_row(values, [values * max(magnitude, least) for magnitude in magnitudes])


def _negative(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw rows of large negative numbers, of negative ones near zero, and of positive ones.

    Where the other inputs are positive, products with them, and sums of these such as the scores of attention, all lie
    far below zero in the first row.  The large numbers spread, so that a variance may be computed as the difference of
    two means.
    """
    scale = scale_of(original)
    if wanted.others_positive and not wanted.first:
        return scale + _normal(original, wanted).abs() / 4
    positive = _normal(original, wanted).abs() + 0.25 * scale
    if not wanted.first:
        return _by_row(positive, [-positive, -positive, positive])
    large = (0.5 + torch.rand(original.shape)) * -NEGATIVE[wanted.level]
    return _by_row(positive, [large, -positive, positive])


def _equal(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw rows of equal elements; the first two rows are equal to each other."""
    values = _normal(original, wanted)
    if not wanted.first or original.dim() == 0:
        return values
    rows = values[..., :1].expand(original.shape).clone()
    flat = rows.reshape(-1, original.shape[-1])
    flat[1:2] = flat[:1]
    return flat.reshape(original.shape)


def _zeros(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw rows of zeros, the first among them, beside normal rows."""
    values = _normal(original, wanted)
    if not wanted.first:
        return values
    return _by_row(values, [torch.zeros_like(values), values])


def _extreme(original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Draw a row with a number near the largest, one with its negative, one of the smallest normal numbers.

    A quarter of the largest number leaves room for the factors of a right kernel, such as log2(e) before exp2, and the
    row's length for a kernel that multiplies by it before it divides.  The large negative number is second, since no
    row, and no group of a row, may begin with it: kernels shift by the first element before they take a variance.
    """
    values = _normal(original, wanted)
    if not wanted.first or original.dim() == 0 or not original.numel():
        return values
    info = torch.finfo(torch.float32 if wanted.dtype == torch.float64 else wanted.dtype)
    root = math.sqrt(float(info.max))
    largest = (
        max(float(info.max) / (4 * max(original.shape)), 2 * root), root / 16, min(EXTREME, root / 16)
    )[wanted.level]  # fmt: skip
    largest = min(largest, MASKED_LARGEST) if wanted.masked else largest
    high, low = values.clone(), values.clone()
    high[..., -1], low[..., min(1, values.shape[-1] - 1)] = largest, -largest
    return _by_row(values, [high, values.sign() * float(info.tiny), low, values])


def _by_row(values: torch.Tensor, patterns: Sequence[torch.Tensor]) -> torch.Tensor:
    """Give each row of the last dimension the next pattern in turn."""
    if values.dim() < 2 or not values.numel():
        return patterns[0].clone()
    rows = math.prod(values.shape[:-1])
    turn = torch.arange(rows).remainder(len(patterns)).reshape(*values.shape[:-1], 1)
    mixed = patterns[0].clone()
    for place, pattern in enumerate(patterns[1:], 1):
        mixed = torch.where(turn == place, pattern, mixed)
    return mixed


GIVEN = "given"
"""The inputs as `get_inputs` makes them, with the model's own parameters: no kind of its own."""

KINDS: dict[str, Fill] = {
    "normal": _normal,
    "integer": _integer,
    "range": _range,
    "onehot": _onehot,
    "large": _large,
    "negative": _negative,
    "tiny": _tiny,
    "equal": _equal,
    "zeros": _zeros,
    "extreme": _extreme,
}
"""Makers of values by kind.  `large` and `negative` are neighbours, so that they meet different workloads."""

LEVELS = {"negative": len(NEGATIVE), "extreme": 3}
"""Number of forms of a kind; other kinds have two."""

INEXACT = ("normal", "range", "large", "tiny", "negative")
"""Kinds whose values fill the mantissa of float64."""


def drawn(original: torch.Tensor, kind: str, wanted: Wanted) -> torch.Tensor:
    """Return values of a kind for an input, with its structure, strides, offset and dtype."""
    structure = wanted.structure
    if structure.kept:
        return _masked_rows(original) if structure.mask and kind == "zeros" and wanted.level == 0 else original
    if not original.numel():
        return original
    if not original.is_floating_point():
        return _integers(original, kind, wanted)
    given = without_repeats(original).float()
    core = given.where(given.isfinite(), 0.0) if structure.infinities_kept else given
    values = _constant(core, kind) if structure.constant else _within(_filled(core, kind, wanted), core, wanted)
    if original.dtype == torch.float64 and kind in INEXACT:
        values = values.double() * (1 + torch.finfo(torch.float32).eps * torch.rand(values.shape, dtype=torch.float64))
    most = min(torch.finfo(original.dtype).max, torch.finfo(values.dtype).max)
    values = values.clamp(-most, most)
    values = with_special(values, wanted.special) if wanted.special else values
    values = given.where(given.isinf(), values) if structure.infinities_kept else values
    return with_layout(original, values.to(original.device, original.dtype))


def _filled(original: torch.Tensor, kind: str, wanted: Wanted) -> torch.Tensor:
    """Return values of a kind whose rows lie along the wanted dimensions."""
    if not wanted.along or wanted.along == (original.dim() - 1,):
        return KINDS[kind](original, wanted)
    others = tuple(dimension for dimension in range(original.dim()) if dimension not in wanted.along)
    moved = original.permute(*others, *wanted.along)
    rows = KINDS[kind](moved.flatten(len(others)).contiguous(), wanted).reshape(moved.shape)
    order = (*others, *wanted.along)
    return rows.permute(*(order.index(dimension) for dimension in range(original.dim()))).contiguous()


def with_layout(original: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return values in a tensor with the strides and the offset of another one.

    Args:
        original: the tensor whose layout is kept; expanded dimensions stay expanded.
        values: in its shape, where expanded dimensions have one element.
    """
    dense = original.is_contiguous() and original.untyped_storage().nbytes() == original.nbytes
    if dense and values.shape == original.shape:
        return values.contiguous()
    storage = torch.empty(0, dtype=original.dtype, device=original.device)
    storage.set_(original.untyped_storage().clone())
    strides, offset = original.stride(), original.storage_offset()
    if _overlaps(values.shape, strides):  # a sliding window: neighbours share elements
        span = extent(values.shape, strides)
        storage[offset : offset + span] = values.flatten().repeat(-(-span // values.numel()))[:span]
    else:
        torch.as_strided(storage, values.shape, strides, offset).copy_(values)
    return torch.as_strided(storage, original.shape, strides, offset)


def _overlaps(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether two elements of a view share memory."""
    reach = 0
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += (size - 1) * stride
    return False


def _constant(original: torch.Tensor, kind: str) -> torch.Tensor:
    """Return another constant near the given one; zero moves to a half."""
    given = float(original.flatten()[0])
    factor = float(torch.rand(())) + 0.5
    value = given if kind in ("zeros", "equal") else given * factor if given else 0.5 * factor
    return torch.full(original.shape, value)


def _within(values: torch.Tensor, original: torch.Tensor, wanted: Wanted) -> torch.Tensor:
    """Move values into the structure."""
    structure = wanted.structure
    if structure == FREE:
        return values
    scale = scale_of(original)
    if structure.sum_dimension is not None:
        values = torch.softmax(values / scale, dim=structure.sum_dimension)
    elif not (wanted.signed and structure.uniform):
        if structure.sign:
            values = values.abs() * structure.sign
            least = original.abs().amin()  # the argument of a logarithm is zero only where zero was seen
            values = torch.where(values == 0, least * structure.sign, values)
        if structure.low is not None and structure.high is not None:
            share = values.abs() / (2 * scale) if structure.sign else values / (4 * scale) + 0.5
            values = structure.low + (structure.high - structure.low) * share.clamp(0, 1)
    if structure.symmetric:
        values = values.tril() + values.tril(-1).mT
    return torch.where(original == 0, 0.0, values) if structure.zeros_kept else values


def _integers(original: torch.Tensor, kind: str, wanted: Wanted) -> torch.Tensor:
    """Return integers in the declared or given range, or up to the last index of the dimension that they index.

    There are both ends of it (`integer`), all are equal (`equal`), or they are as given.  One negative number among
    others, such as -100 for labels that do not count, stays where it is, unless a range is declared.
    """
    structure = wanted.structure
    if kind not in ("integer", "equal") or not structure.repeats:
        return original
    if structure.low is not None and structure.high is not None:
        return _integers_between(original, kind, math.ceil(structure.low), math.floor(structure.high))
    negative = original[original < 0].unique()
    if negative.numel() == 1 and bool((original >= 0).any()):
        counted = original >= 0
        moved = original.where(counted, original[counted].min())
        return with_layout(
            original, without_repeats(_integers(moved, kind, wanted)).where(without_repeats(counted), negative)
        )
    high = wanted.below - 1 if wanted.below is not None else int(original.max())
    return _integers_between(original, kind, int(original.min()), high)


def _integers_between(original: torch.Tensor, kind: str, low: int, high: int) -> torch.Tensor:
    """Return integers from `low` to `high`, both among them, or all equal to `high`."""
    info = torch.iinfo(original.dtype)
    low, high = max(low, info.min), min(high, info.max)
    shape = without_repeats(original).shape
    if kind == "equal":
        return with_layout(original, torch.full(shape, high, dtype=original.dtype))
    values = torch.randint(low, high + 1, shape) if high < torch.iinfo(torch.int64).max else original.clone()
    values.view(-1)[0], values.view(-1)[-1] = high, low
    return with_layout(original, values.to(original.dtype))


def _masked_rows(original: torch.Tensor) -> torch.Tensor:
    """Return a mask with a first row that is all of one value, and a second that is all of the other.

    Of a mask that is added, minus a large number in the places of zeros, each row keeps one zero: what a softmax makes
    of a row without any depends on the order in which it adds.
    """
    if original.dim() < 2 or original.unique().numel() != 2:
        return original
    core = without_repeats(original).clone()
    rows = core.flatten(0, -2)
    low, high = original.unique()
    rows[:1], rows[1:2] = low, high
    if original.is_floating_point() and low < 0 and high == 0:
        rows[:1, -1:] = high
    return with_layout(original, rows.reshape(core.shape))
