"""Ask the rewriter for a proposal, or read the proposal from the store."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from kopt import artifact
from kopt.jobs.kernels import kernel_source
from kopt.jobs.keys import ProposalKey
from kopt.model.base import Value
from kopt.model.diagnosis import Direction
from kopt.provenance import code_digest
from kopt.rewrite.experience import Experience
from kopt.rewrite.propose import Rewrite, propose, repair
from kopt.rewrite.source.module import parse
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import Numbers, numbers
from kopt.rewrite.tune import tune
from kopt.store import Store


class Proposal(Value):
    """The result of the rewriter: a rewrite with its numbers, or None where no transformation gives a new source."""

    rewrite: Rewrite | None
    sketch: str = ""
    """Digest of the source without its numbers."""
    numbers: tuple[str, ...] = ()
    """The numbers, `kernel.NAME=value` each."""


@dataclass(frozen=True)
class Learned:
    """Results of earlier rounds that the rewriter uses, and the slots in which it refines fast parents."""

    experience: Experience
    tuned: frozenset[int]
    """The slots that refine their parents."""

    def turn(self, slot: int, round: int) -> int | None:
        """Return the number of the turn in which a slot refines its parent; None for a slot that does not."""
        return sorted(self.tuned).index(slot) + round if slot in self.tuned else None


NOTHING_LEARNED = Learned(Experience(), frozenset())
"""The value for runs with learning switched off."""


@dataclass(frozen=True)
class Failure:
    """A source to repair, and what it failed with."""

    kernel: str
    """Digest of the source."""
    phase: str
    reason: str


@dataclass(frozen=True)
class Request:
    """All that a proposal depends on."""

    parent: str
    """Digest of the parent's source."""
    failed: Failure | None
    direction: Direction
    facts: RewriteFacts
    seed: int
    exclude: AbstractSet[str]
    """Digests of the sources that were proposed before."""
    experience: Experience
    """Changes that earlier rounds tried, with their results; empty where learning is off."""
    turn: int | None
    """Number of the turn in which the slot refines the parent; None for a slot that draws transformations."""
    refined: bool
    """Whether some slots of the round refine their parents, whose numbers are left to these."""
    pending: tuple[Numbers, ...]
    """Numbers that the attempt has proposed already."""


def proposal(request: Request, store: Store) -> Proposal:
    """Return the proposal, the same for the same request."""
    return store.shelf(Proposal).get_or_make(_key(request), lambda: _make(request, store))


def _key(request: Request) -> ProposalKey:
    failed, refines = request.failed, request.turn is not None
    pending = [[each.sketch, *each.rows()] for each in request.pending if refines]
    learns = request.experience.tried or request.experience.before or refines
    learned = [request.experience.digest, request.turn, request.refined, pending]
    return ProposalKey(
        parent=request.parent, failed=f"{failed.kernel} {failed.phase}" if failed else "",
        direction=artifact.digest(request.direction), facts=artifact.digest(request.facts), seed=request.seed,
        exclude=artifact.digest(sorted(request.exclude)),
        experience=artifact.digest(learned) if learns else "",
        code=code_digest("kopt.rewrite.tune"),
    )  # fmt: skip


def _make(request: Request, store: Store) -> Proposal:
    rewrite = _rewrite(request, store)
    module = parse(rewrite.source) if rewrite is not None else None
    if module is None:
        return Proposal(rewrite=rewrite)
    found = numbers(module, request.facts)
    return Proposal(rewrite=rewrite, sketch=found.sketch, numbers=found.rows())


def _rewrite(request: Request, store: Store) -> Rewrite | None:
    parent = kernel_source(request.parent, store)
    factors = request.experience.factors(request.parent, request.seed, refined=request.refined)
    if request.failed is not None:
        return repair(
            kernel_source(request.failed.kernel, store), parent=parent, reason=request.failed.reason,
            phase=request.failed.phase, direction=request.direction, facts=request.facts, seed=request.seed,
            exclude=request.exclude, factors=factors,
        )  # fmt: skip
    if request.turn is not None:
        tuned = tune(
            parent, turn=request.turn, facts=request.facts, tried=request.experience.tried, pending=request.pending,
            exclude=request.exclude,
        )  # fmt: skip
        if tuned is not None:
            return tuned
    return propose(
        parent, direction=request.direction, facts=request.facts, seed=request.seed, exclude=request.exclude,
        factors=factors,
    )  # fmt: skip
