"""Tell for which arguments a kernel may run: those that are like the arguments with which it was verified.

A size may differ from the verified ones where it differed between the workloads; sizes that were equal in all of them
have to be equal.  A size that was the same multiple of another one in all of them, or larger by the same number, has to
be so, and so has a product, quotient, sum or difference of two.  A size that was a power of two in all of them has to
be one, no smaller than the smallest up to 16; one that was a multiple of 2, 4, 8 or 16 in all of them has to be one;
and a size that never differed has to stay.  A size of 0 has to have been among the verified ones.  Dtypes have to be
the same, and so has the order in which the dimensions lie in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from math import gcd, prod
from typing import NamedTuple

from kopt.errors import ProblemError
from kopt.model.problem import Argument, Given

MANY = 3
"""Unlike workloads from which a size that follows from two others counts as following from them."""
POWER = "power"
"""Begin of the name of a size that has to be a power of two."""
MULTIPLE = "multiple"
"""Begin of the name of a size that has to be a multiple of a number."""
OR_ZERO = "_or_0"
"""End of the name of a size that may be 0."""
LARGEST_DIVISOR = 1024
"""Largest power of two of which a size has to be a multiple: no tile is wider."""

Size = int | str
"""A size that has to stay, or the name of one that may differ; the name stands for the same size everywhere.  It is
`size0` for any size but 0, `power0` for a power of two, `power0_from_8` for one that is no smaller than 8,
`multiple0_of_8` for a multiple of 8; all with `_or_0` where 0 was verified.  A size that follows from one before it is
written with its name: `size0*2`, `size0/64`, `size0+1`, `size0*size1`."""


class Pattern(NamedTuple):
    """What one argument has to be like."""

    name: str
    is_input: bool
    dtype: str
    """Empty for a plain value."""
    sizes: tuple[Size, ...]
    order: tuple[int, ...]
    """Dimensions from the outermost to the innermost in memory."""
    strides: tuple[tuple[int, ...], ...]
    """All strides that were verified, where the elements do not lie one behind the other; else empty."""
    values: tuple[str, ...]
    """`repr` of the verified values of a plain value; empty where it differed between workloads, or for a tensor."""


def patterns(given: Sequence[Given], problem: str) -> tuple[Pattern, ...]:
    """Return the pattern of each argument (see `patterns_and_names`)."""
    return patterns_and_names(given, problem)[0]


def patterns_and_names(given: Sequence[Given], problem: str) -> tuple[tuple[Pattern, ...], dict[tuple[int, ...], str]]:
    """Return the pattern of each argument, inputs in order, then parameters and buffers, and the names of sizes.

    The names are by the values that a size has in the workloads, in their order.

    Args:
        given: the arguments in the workloads with which the kernel was verified.
        problem: name of the problem, for the error.

    Raises:
        ProblemError: the arguments are not known, or differ in more than sizes, strides and values.
    """
    if not given:
        raise ProblemError(
            f"{problem}: an input is inside a list or dictionary, which a script alone takes: use --as script, or make "
            "a problem whose inputs are the tensors themselves"
        )
    kinds = {tuple((one.name, one.dtype, len(one.shape)) for one in every.arguments) for every in given}
    if len(kinds) > 1:
        raise ProblemError(f"{problem}: its workloads have arguments of unlike kinds: use --as script")
    names: dict[tuple[int, ...], str] = {}
    found = tuple(_pattern(several, names) for several in zip(*(every.arguments for every in given), strict=True))
    return found, names


def size_like(column: tuple[int, ...], names: Mapping[tuple[int, ...], str]) -> str:
    """Return the size of arguments that has some values in the workloads, or follows so from others; empty if none."""
    return names.get(column) or _following(column, names)


def _pattern(several: Sequence[Argument], names: dict[tuple[int, ...], str]) -> Pattern:
    first = several[0]
    sizes: list[Size] = []
    for column in zip(*(one.shape for one in several), strict=True):
        if len(set(column)) == 1:
            sizes.append(column[0])
            continue
        if column not in names:
            names[column] = _following(column, names) or _named(column, len(names))
        sizes.append(names[column])
    order = _order(first)
    dense = all(_is_dense(one, order) for one in several)
    values = {one.value for one in several if one.value is not None}
    return Pattern(
        first.name, first.is_input, first.dtype, tuple(sizes), order,
        () if dense else tuple(dict.fromkeys(one.stride for one in several)),
        tuple(values) if len(values) == 1 else (),
    )  # fmt: skip


def by_divisor(names: Iterable[str]) -> dict[int, list[str]]:
    """Return names of sizes by the power of two of which a size of that name has to be a multiple; 1 where of none."""
    found: dict[int, list[str]] = {}
    for name in names:
        words = name.split("_")
        found.setdefault(int(words[2]) if words[1:2] in (["of"], ["from"]) else 1, []).append(name)
    return found


def _named(column: tuple[int, ...], number: int) -> str:
    """Name a size that follows from no other by its values in all workloads."""
    common = gcd(*column)
    divisor = min(common & -common, LARGEST_DIVISOR)
    if any(size & (size - 1) for size in column):
        name = f"{MULTIPLE}{number}_of_{divisor}" if divisor > 1 else f"size{number}"
    else:
        name = f"{POWER}{number}_from_{divisor}" if divisor > 1 else f"{POWER}{number}"
    return name + (OR_ZERO if 0 in column else "")


def _following(column: tuple[int, ...], names: Mapping[tuple[int, ...], str]) -> str:
    """Write how a size follows in all workloads from one before it, or from two; empty where it does not."""
    known = {name: other for other, name in names.items() if name.isidentifier()}
    if 0 in column or any(0 in other for other in known.values()):
        return ""
    for name, other in known.items():
        pairs = list(zip(column, other, strict=True))
        if all(one % two == 0 for one, two in pairs) and len(ratios := {one // two for one, two in pairs}) == 1:
            return f"{name}*{ratios.pop()}"
        if all(two % one == 0 for one, two in pairs) and len(ratios := {two // one for one, two in pairs}) == 1:
            return f"{name}/{ratios.pop()}"
        if len(steps := {one - two for one, two in pairs}) == 1:
            return f"{name}{steps.pop():+d}"
    if len(set(zip(column, *known.values(), strict=True))) < MANY:
        return ""
    for (first, one), (second, two) in permutations(known.items(), 2):
        triples = list(zip(column, one, two, strict=True))
        if all(size == a * b for size, a, b in triples):
            return f"{first}*{second}"
        if all(size * b == a for size, a, b in triples):
            return f"{first}/{second}"
        if all(size == a + b for size, a, b in triples):
            return f"{first}+{second}"
        if all(size == a - b for size, a, b in triples):
            return f"{first}-{second}"
    return ""


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor as torch gives them, elements."""
    return tuple(prod(max(size, 1) for size in shape[place + 1 :]) for place in range(len(shape)))


def _order(argument: Argument) -> tuple[int, ...]:
    """Return the dimensions from the largest stride to the smallest; of equal ones the first first."""
    return tuple(sorted(range(len(argument.shape)), key=lambda place: -argument.stride[place]))


def _is_dense(argument: Argument, order: Sequence[int]) -> bool:
    """Return whether the elements lie one behind the other in an order of dimensions; size 1 has any stride."""
    expected = 1
    for place in reversed(order):
        if argument.shape[place] != 1 and argument.stride[place] != expected:
            return False
        expected *= argument.shape[place]
    return True
