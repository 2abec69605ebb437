"""A proposal: one to four transformations of the parent, drawn by a seed and steered by a direction."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from random import Random

from kopt.artifact import digest, text_digest
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.diagnosis import Direction
from kopt.rewrite.catalogue import TRANSFORMATIONS, names
from kopt.rewrite.limits import footprint, plausible
from kopt.rewrite.source.module import TritonModule, parse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation

__all__ = ["TRANSFORMATIONS", "Rewrite", "RewriteFacts", "names", "propose", "repair"]

DRAWS = 48
"""Attempts at a new source before giving up."""
STEPS = ((1, 0.35), (2, 0.3), (3, 0.2), (4, 0.15))
"""How many transformations a proposal stacks, with their shares."""
TECHNIQUE_FACTOR = 6.0
BOTTLENECK_FACTOR = 3.0
AVOIDED_FACTOR = 0.02
LIGHTER = frozenset({"tile_size", "tile_shape", "stages", "pipeline_loop"})
"""Kinds that may bring resources down after a build asked for too many."""


class Rewrite(Value):
    """A source that the rewriter proposes."""

    source: str
    description: str
    """What was changed and why, in words."""
    transformations: tuple[str, ...]
    """Kinds applied, by name, in order."""


def propose(
    parent: str, *, direction: Direction, facts: RewriteFacts, seed: int, exclude: AbstractSet[str]
) -> Rewrite | None:
    """A source that differs from the parent and from all in `exclude`, or None when none was found.

    The same arguments give the same answer.

    Args:
        parent: source to change.
        direction: what to try; kinds that lead to its techniques or answer its bottleneck are likelier.
        facts: what is known of the parent and the device.
        seed: number that tells draws for the same parent and direction apart.
        exclude: digests (`kopt.artifact.text_digest`) of sources that were proposed before.
    """
    return _draw(parent, direction, facts, Random(digest([parent, seed, direction.model_dump()])), exclude, frozenset())


def repair(
    failed: str,
    *,
    parent: str,
    reason: str,
    phase: str,
    direction: Direction,
    facts: RewriteFacts,
    seed: int,
    exclude: AbstractSet[str],
) -> Rewrite | None:
    """Another source from the same parent, that avoids the kinds which the failed one seems to come from.

    After a lack of resources the failed source itself is made lighter where that is possible.
    """
    rng = Random(digest([failed, parent, phase, reason, seed]))
    forbidden = exclude | {text_digest(failed), text_digest(parent)}
    if phase == Phase.RESOURCES:
        lighter = _lighter(failed, direction, facts, rng, forbidden)
        if lighter is not None:
            return lighter
    return _draw(parent, direction, facts, rng, forbidden, frozenset(_kinds_of(failed, parent)))


def _lighter(
    failed: str, direction: Direction, facts: RewriteFacts, rng: Random, exclude: AbstractSet[str]
) -> Rewrite | None:
    """The failed source with smaller tiles or fewer stages, or None when nothing makes it lighter."""
    start = parse(failed)
    if start is None:
        return None
    avoid = frozenset(names()) - LIGHTER
    for _ in range(DRAWS):
        rewrite = _stack(start, direction, facts, rng, 1 + (rng.random() < 0.5), avoid)
        module = parse(rewrite.source) if rewrite is not None else None
        if rewrite is None or module is None or text_digest(rewrite.source) in exclude:
            continue
        if footprint(module, facts) < 0.75 * footprint(start, facts):
            return rewrite
    return None


def _draw(
    parent: str,
    direction: Direction,
    facts: RewriteFacts,
    rng: Random,
    exclude: AbstractSet[str],
    avoid: frozenset[str],
) -> Rewrite | None:
    start = parse(parent)
    if start is None or not start.triton:
        return None
    forbidden = exclude | {text_digest(parent)}
    for _ in range(DRAWS):
        (steps,) = rng.choices([n for n, _ in STEPS], [share for _, share in STEPS])
        rewrite = _stack(start, direction, facts, rng, steps, avoid)
        if rewrite is not None and text_digest(rewrite.source) not in forbidden:
            return rewrite
    return None


def _stack(
    module: TritonModule, direction: Direction, facts: RewriteFacts, rng: Random, steps: int, avoid: frozenset[str]
) -> Rewrite | None:
    """Several transformations on top of each other; a step that does not work out is left out."""
    parent, done = module, list[str]()
    said: list[str] = []
    for _ in range(steps):
        step = _step(module, direction, facts, rng, avoid | set(done))
        if step is not None:
            kind, change, module = step
            done.append(kind)
            said.append(change.description)
    if not done or not plausible(module, facts, parent):
        return None
    return Rewrite(source=module.source, description="; ".join(said), transformations=tuple(done))


def _step(
    module: TritonModule, direction: Direction, facts: RewriteFacts, rng: Random, avoid: AbstractSet[str]
) -> tuple[str, Change, TritonModule] | None:
    offers = [(kind, sites) for kind in TRANSFORMATIONS.values() if (sites := kind.sites(module, facts))]
    if not offers:
        return None
    weights = [_weight(kind, sites, direction, avoid) for kind, sites in offers]
    ((kind, sites),) = rng.choices(offers, weights)
    (site,) = rng.choices(sites, [s.weight for s in sites])
    change = kind.apply(module, site, rng)
    after = _checked(change.source) if change is not None else None
    return (kind.name, change, after) if change is not None and after is not None else None


def _weight(kind: Transformation, sites: Sequence[Site], direction: Direction, avoid: AbstractSet[str]) -> float:
    factor = kind.weight * max(site.weight for site in sites)
    if set(kind.techniques) & set(direction.techniques):
        factor *= TECHNIQUE_FACTOR
    if direction.bottleneck in kind.bottlenecks:
        factor *= BOTTLENECK_FACTOR
    return factor * (AVOIDED_FACTOR if kind.name in avoid else 1.0)


def _checked(source: str) -> TritonModule | None:
    """Model of a source that Python parses, else None."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return parse(source)


def _kinds_of(failed: str, parent: str) -> Iterable[str]:
    """Kinds whose marks occur more often in the failed source than in the parent."""
    for kind, marks in MARKS.items():
        if any(failed.count(mark) > parent.count(mark) for mark in marks):
            yield kind


MARKS: dict[str, tuple[str, ...]] = {
    "pipeline_loop": ("tl.range(",),
    "unroll_loop": ("loop_unroll_factor",),
    "static_loop": ("tl.static_range",),
    "flatten_loop": ("flatten=True",),
    "register_limit": ("maxnreg",),
    "load_hint": ("eviction_policy", "cache_modifier"),
    "store_hint": ("eviction_policy", "cache_modifier"),
    "rows_per_program": ("num_rows",),
    "split_k": ("_split_reduce",),
    "atomic_split_k": ("tl.atomic_add",),
    "even_flag": ("EVEN_",),
    "narrow_index": ("INDEX",),
    "whole_row": ("triton.next_power_of_2",),
    "persistent_grid": ("tl.num_programs",),
    "grid_swizzle": ("group_start",),
    "autotune": ("triton.autotune",),
    "hoist_reduction": ("_parts",),
}
"""What each kind leaves in a source."""
