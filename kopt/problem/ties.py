"""Find the sizes that have to change together though only values show it, not shapes.

Shapes alone do not show that a bias has an element for each row of a weight, where torch does not compare them on meta
tensors, or that an index has to stay below the length of a table.  Works on values: what runs the reference is passed
as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

Runs = Callable[[Mapping[str, int]], bool]
"""Runs the reference with values, with constants replaced; returns whether it runs."""

MOST = 3
"""Most constants of a group that are looked for; others stay together."""


def equal_groups(constants: Mapping[str, int], names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the names of equal constants, several each."""
    by_value: dict[int, list[str]] = {}
    for name in names:
        by_value.setdefault(constants[name], []).append(name)
    return tuple(tuple(group) for group in by_value.values() if len(group) > 1)


def parted(group: Sequence[str], at: Mapping[str, int], runs: Runs) -> tuple[tuple[str, ...], ...]:
    """Part equal constants into the smallest groups that can change while the others stay.

    Args:
        group: the constants.
        at: small values of all constants, at which the reference runs.
        runs: runs the reference.

    Returns:
        The groups of several constants.
    """
    left = list(group)
    found: list[tuple[str, ...]] = []
    for count in range(1, MOST + 1):
        for names in combinations(tuple(left), count):
            if count < len(left) and set(names) <= set(left) and _can_change(names, at, runs):
                left = [name for name in left if name not in names]
                found.append(names)
    return tuple(names for names in (*found, tuple(left)) if len(names) > 1)


def _can_change(names: Sequence[str], at: Mapping[str, int], runs: Runs) -> bool:
    """Return whether constants can both shrink and grow while the others stay."""
    value = at[names[0]]
    return all(runs({**at, **dict.fromkeys(names, other)}) for other in (max(1, value // 2), 2 * value))
