"""The registry of transformations."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.rewrite import launching, loops, memory_hints, tiles
from kopt.rewrite.kind import Transformation

TRANSFORMATIONS: Mapping[str, Transformation] = {
    kind.name: kind
    for kinds in (
        tiles.KINDS, launching.KINDS, loops.KINDS, memory_hints.KINDS,
    )
    for kind in kinds
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Names of all transformations, in the registry's order."""
    return tuple(TRANSFORMATIONS)
