"""Propose a child: one to four transformations of its parent, drawn by a seed and steered by a direction."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from kopt.artifact import digest, text_digest
from kopt.model.base import Value
from kopt.model.build import Phase
from kopt.model.diagnosis import Direction
from kopt.rewrite.catalogue import TRANSFORMATIONS
from kopt.rewrite.experience import Factor
from kopt.rewrite.limits import footprint, plausible
from kopt.rewrite.source.module import TritonModule, parse
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation
from kopt.rewrite.transformations.products.descriptors import stand_ins

DRAWS = 48
"""Draws of a new source before giving up."""
STEPS = ((1, 0.35), (2, 0.3), (3, 0.2), (4, 0.15))
"""How many transformations a proposal stacks, each number with its probability."""
REFINING_STEPS = ((1, 0.5), (2, 0.5))
"""The same of a refinement."""
TECHNIQUE_FACTOR = 6.0
"""Factor on the weight of a transformation that leads to a technique of the direction."""
BOTTLENECK_FACTOR = 3.0
"""Factor on the weight of a transformation that works against the direction's bottleneck."""
AVOIDED_FACTOR = 0.02
"""Factor on the weight of a transformation that the proposal has used already, or that a repair avoids."""
UNLEARNED: Mapping[str, Factor] = MappingProxyType({})
"""Factors on weights where nothing was learned."""
REFINING: Mapping[str, Factor] = MappingProxyType(
    {name: Factor(float(each.refines), 1.0) for name, each in TRANSFORMATIONS.items()}
)
"""Factors on weights in a refinement: what refines is as likely as any other, the rest is not drawn."""
NO_DIRECTION = Direction(rank=1, bottleneck="", cause="", direction="")
"""The direction of a refinement: none of its own."""


class Rewrite(Value):
    """A source that the rewriter proposes."""

    source: str
    description: str
    """Description of the change and its reason."""
    transformations: tuple[str, ...]
    """Names of the transformations applied, in order; those that a recipe took follow its name."""
    of_failed: bool = False
    """Whether they were applied to the failed source, in a repair, and not to the parent."""


class Steering(NamedTuple):
    """What makes transformations likelier, or less likely."""

    direction: Direction
    factors: Mapping[str, Factor]
    """Learned factors on weights, by name of the transformation."""


def propose(
    parent: str,
    *,
    direction: Direction,
    facts: RewriteFacts,
    seed: int,
    exclude: AbstractSet[str],
    factors: Mapping[str, Factor] = UNLEARNED,
) -> Rewrite | None:
    """Draw a source that differs from the parent and from all in `exclude`; None when no draw gives one.

    The same arguments give the same proposal.

    Args:
        parent: source to change.
        direction: the direction to try, which makes transformations for its techniques and its bottleneck likelier.
        facts: facts of the parent and the device.
        seed: seed of the draws, so that proposals for the same parent and direction differ.
        exclude: digests (`kopt.artifact.text_digest`) of the sources that were proposed before.
        factors: learned factors on the weights of transformations, by name (`kopt.rewrite.experience`).
    """
    rng = Random(digest([parent, seed, direction.model_dump()]))
    return _draw(parent, Steering(direction, factors), facts, rng, exclude, frozenset())


def refine(parent: str, *, facts: RewriteFacts, exclude: AbstractSet[str]) -> Rewrite | None:
    """Draw one or two small changes that leave the parent's tiles, loops and grid as they are; None where none is new.

    The same arguments give the same proposal; each further source in `exclude` gives other draws.

    Args:
        parent: source to change.
        facts: as for `propose`.
        exclude: as for `propose`.
    """
    rng = Random(digest(["refine", parent, len(exclude)]))
    return _draw(parent, Steering(NO_DIRECTION, REFINING), facts, rng, exclude, frozenset(), REFINING_STEPS)


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
    factors: Mapping[str, Factor] = UNLEARNED,
) -> Rewrite | None:
    """Draw another source from the same parent, and avoid the transformations that left marks in the failed one.

    When the build asked for too many resources, the failed source itself is made lighter where that is possible.

    Args:
        failed: the source that failed.
        parent: the source that it was made from.
        reason: the error, which only enters the seed of the draws.
        phase: the phase that failed (`kopt.model.build.Phase`).
        direction: as for `propose`.
        facts: as for `propose`.
        seed: as for `propose`.
        exclude: as for `propose`.
        factors: as for `propose`.
    """
    steering = Steering(direction, factors)
    rng = Random(digest([failed, parent, phase, reason, seed]))
    forbidden = exclude | {text_digest(failed), text_digest(parent)}
    if phase == Phase.RESOURCES:
        lighter = _lighter(failed, steering, facts, rng, forbidden)
        if lighter is not None:
            return lighter
    return _draw(parent, steering, facts, rng, forbidden, frozenset(_blamed(failed, parent)))


def _lighter(
    failed: str, steering: Steering, facts: RewriteFacts, rng: Random, exclude: AbstractSet[str]
) -> Rewrite | None:
    """Draw smaller tiles or fewer stages for the failed source; None when no draw makes it lighter."""
    start = parse(failed)
    if start is None:
        return None
    avoid = frozenset(name for name, each in TRANSFORMATIONS.items() if not each.lightens)
    for _ in range(DRAWS):
        rewrite = _stack(start, steering, facts, rng, 1 + (rng.random() < 0.5), avoid)
        module = parse(rewrite.source) if rewrite is not None else None
        if rewrite is None or module is None or text_digest(rewrite.source) in exclude:
            continue
        if footprint(module, facts) < 0.75 * footprint(start, facts):
            return rewrite.model_copy(update={"of_failed": True})
    return None


def _draw(
    parent: str,
    steering: Steering,
    facts: RewriteFacts,
    rng: Random,
    exclude: AbstractSet[str],
    avoid: frozenset[str],
    stacks: Sequence[tuple[int, float]] = STEPS,
) -> Rewrite | None:
    start = parse(parent)
    if start is None or not start.triton:
        return None
    forbidden = exclude | {text_digest(parent)}
    start = _launched(start, facts)
    for _ in range(DRAWS):
        (steps,) = rng.choices([n for n, _ in stacks], [share for _, share in stacks])
        rewrite = _stack(start, steering, facts, rng, steps, avoid)
        if rewrite is not None and text_digest(rewrite.source) not in forbidden:
            return rewrite
    return None


def _launched(module: TritonModule, facts: RewriteFacts) -> TritonModule:
    """Leave out the kernels that no main workload launches: a change of theirs would change nothing that is timed."""
    launched = {launch.kernel for launch in facts.launches}
    idle = {kernel.name for kernel in module.kernels} - launched
    return _without(module, frozenset(idle)) if launched & {kernel.name for kernel in module.kernels} else module


def _without(module: TritonModule, names: frozenset[str]) -> TritonModule:
    kept = tuple(kernel for kernel in module.kernels if kernel.name not in names)
    return replace(module, kernels=kept, left_out=names) if names else module


def _stack(
    module: TritonModule, steering: Steering, facts: RewriteFacts, rng: Random, steps: int, avoid: frozenset[str]
) -> Rewrite | None:
    """Apply several transformations one after another, leaving out those that do not work out."""
    parent, done = module, list[str]()
    moves, descriptions = list[str](), list[str]()
    for _ in range(steps):
        step = _step(module, steering, facts, rng, avoid | set(done))
        if step is not None:
            name, change, module = step
            done.append(name)
            moves += (name, *dict.fromkeys(change.parts))
            descriptions.append(change.description)
    whole = parse(module.source)
    if not done or whole is None or not plausible(whole, facts, parent):
        return None
    return Rewrite(source=module.source, description="; ".join(descriptions), transformations=tuple(moves))


def _step(
    module: TritonModule, steering: Steering, facts: RewriteFacts, rng: Random, avoid: AbstractSet[str]
) -> tuple[str, Change, TritonModule] | None:
    """Draw a transformation and one of its sites: the transformation's name, the change, and the module after it."""
    offers = _offers(_Question(module, facts))
    weights = [_weight(each, sites, steering, avoid) for each, sites in offers]
    if not any(weights):
        return None
    ((transformation, sites),) = rng.choices(offers, weights)
    (site,) = rng.choices(sites, [s.weight for s in sites])
    change = site.apply(rng)
    after = _checked(change.source) if change is not None else None
    after = _without(after, module.left_out | stand_ins(after)) if after is not None else None
    return (transformation.name, change, after) if change is not None and after is not None else None


@dataclass(frozen=True, eq=False)
class _Question:
    """A module and facts, equal where the module is the same object and the facts are equal."""

    module: TritonModule
    facts: RewriteFacts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Question) and self.module is other.module and self.facts == other.facts

    def __hash__(self) -> int:
        return hash(self.module)


@lru_cache(maxsize=64)  # the slots of one parent, and draws that end like others, ask for the same sites
def _offers(question: _Question) -> Sequence[tuple[Transformation, Sequence[Site]]]:
    """List the transformations that apply to a module, each with its sites, whose `apply` changes no state."""
    module, facts = question.module, question.facts
    return [(each, sites) for each in TRANSFORMATIONS.values() if (sites := each.sites(module, facts))]


def _weight(
    transformation: Transformation, sites: Sequence[Site], steering: Steering, avoid: AbstractSet[str]
) -> float:
    weight = transformation.weight * max(site.weight for site in sites)
    if set(transformation.techniques) & set(steering.direction.techniques):
        weight *= TECHNIQUE_FACTOR
    if steering.direction.bottleneck in transformation.bottlenecks:
        weight *= BOTTLENECK_FACTOR
    if transformation.name in steering.factors:
        weight = steering.factors[transformation.name].on(weight)
    return weight * (AVOIDED_FACTOR if transformation.name in avoid else 1.0)


def _checked(source: str) -> TritonModule | None:
    """Parse a source into a model; None when Python does not accept the source."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return parse(source)


def _blamed(failed: str, parent: str) -> Iterable[str]:
    """Name the transformations whose marks occur more often in the failed source than in the parent."""
    for name, transformation in TRANSFORMATIONS.items():
        if any(failed.count(mark) > parent.count(mark) for mark in transformation.marks):
            yield name
