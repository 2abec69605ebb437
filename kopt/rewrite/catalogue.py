"""The registry of transformations."""

from __future__ import annotations

from collections.abc import Mapping

from kopt.rewrite.transformation import Transformation
from kopt.rewrite.transformations import (
    accumulate,
    autotune,
    launching,
    loops,
    masks,
    memory_hints,
    persistent,
    rows,
    split_k,
    tiles,
)
from kopt.rewrite.transformations import specialise_sizes as sizes

TRANSFORMATIONS: Mapping[str, Transformation] = {
    kind.name: kind
    for kinds in (
        tiles.KINDS, launching.KINDS, loops.KINDS, accumulate.KINDS, rows.KINDS, split_k.KINDS, sizes.KINDS,
        masks.KINDS, persistent.KINDS, memory_hints.KINDS, autotune.KINDS,
    )
    for kind in kinds
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Names of all transformations, in the registry's order."""
    return tuple(TRANSFORMATIONS)
