"""Stage `generate`: ask every slot's proposer for a candidate; for repairs, ask again with the error.

An attempt's candidates depend on the run's own files and on the replies in the store alone, never on other items in the
store, so that a repeated run gives the same candidates.  Candidates of the rewriter do not depend on replies of
language models for other slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from kopt import artifact
from kopt.artifact import write_text
from kopt.errors import StoreError
from kopt.jobs.kernels import kernel_source, put_kernel
from kopt.jobs.recorded import find_build
from kopt.jobs.rewriter import NOTHING_LEARNED, Failure, Learned, Request, proposal
from kopt.model.build import Built, Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Direction
from kopt.model.kernel import Candidate, ProposalStatus, Slot
from kopt.model.problem import ProblemFacts
from kopt.model.proposers import ECHO, NOBODY, REWRITER
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.tunables import Numbers, read_rows
from kopt.store import Store


class Answer(NamedTuple):
    """The answer of a proposer for one slot."""

    status: ProposalStatus
    kernel: str = ""
    """Digest of the proposed source; empty when there is none."""
    description: str = ""
    """The change, in the proposer's words."""
    reason: str = ""
    """Why there is no kernel."""
    request: str = ""
    """Digest of the request to a language model; empty where none replied."""
    cost_usd: float = 0.0
    moves: tuple[str, ...] = ()
    """Transformations that made the kernel; none where the rewriter did not make it."""
    sketch: str = ""
    """Digest of the source without its numbers; empty where the rewriter did not make it."""
    numbers: tuple[str, ...] = ()
    """The numbers of the source."""


@dataclass(frozen=True)
class FailedCandidate:
    """A candidate to repair, and its error."""

    kernel: str
    """Digest of the candidate's source; empty when the reply held no kernel."""
    phase: str
    reason: str
    stage: Literal["reply", "build", "verdict"]
    draft: str = ""
    """The code in a reply that held no kernel, or the part of the code that arrived."""


@dataclass(frozen=True)
class AttemptContext:
    """The inputs that all slots of an attempt share."""

    round: int
    attempt: int
    seed: int
    """Seed of the run, for the rewriter's draws."""
    parents: Mapping[str, SelectionRow]
    """The parents by digest of their source."""
    directions: Mapping[tuple[str, int], Direction]
    """The directions by parent (digest of its source) and rank."""
    facts: ProblemFacts
    device: Device
    store: Store
    learned: Learned = NOTHING_LEARNED


AskModels = Callable[[Sequence[Slot], Mapping[int, FailedCandidate]], Mapping[int, Answer]]
"""Take the slots of an attempt and the failed candidates by slot; return the answers of language models by slot."""


def ask_nobody(slots: Sequence[Slot], failed: Mapping[int, FailedCandidate]) -> dict[int, Answer]:
    """Return no answers: the `AskModels` of a run without language models."""
    return {}


@dataclass(frozen=True)
class ModelProposals:
    """The contribution of language models to an attempt."""

    ask: AskModels = ask_nobody
    failed: Mapping[int, FailedCandidate] = field(default_factory=dict)
    """Failed candidates of the previous attempt whose reply held no kernel, by slot."""


NO_MODELS = ModelProposals()
"""The contribution in a run without language models."""


def directions(diagnoses: Sequence[Diagnosis]) -> dict[tuple[str, int], Direction]:
    """Return the directions of diagnoses by parent and rank."""
    return {(d.kernel, direction.rank): direction for d in diagnoses for direction in d.directions}


def failures(builds: Sequence[BuildRow], evaluations: Sequence[EvaluationRow]) -> dict[int, FailedCandidate]:
    """Return the candidates of an attempt that failed to build or to pass, by slot."""
    not_built = {b.slot: FailedCandidate(b.kernel, b.phase, b.reason, "build") for b in builds if b.status == "failed"}
    not_passed = {
        e.slot: FailedCandidate(e.kernel, e.phase or "incorrect", e.reason, "verdict")
        for e in evaluations
        if e.verdict not in ("passed", "screened")
    }
    return not_built | not_passed


def generate(
    slots: Sequence[Slot],
    context: AttemptContext,
    *,
    earlier: Sequence[Candidate],
    failed: Mapping[int, FailedCandidate],
    ask_models: AskModels = ask_nobody,
) -> list[Candidate]:
    """Make one candidate per slot, in order of slots; for a repair (attempt 1..) one per slot that failed.

    Args:
        slots: the round's slots.
        context: the inputs that the slots share.
        earlier: all candidates of the run so far; embedded proposers propose none of their sources again.
        failed: failed candidates of the previous attempt, by slot.
        ask_models: asks language models for the answers of their slots.
    """
    chosen = [slot for slot in slots if context.attempt == 0 or slot.slot in failed]
    answers = ask_models([slot for slot in chosen if not slot.skipped], failed)
    earlier_kernels = {candidate.kernel for candidate in earlier if candidate.kernel and not candidate.request}
    moves_before = {c.kernel: c.moves for c in earlier if c.round == context.round}
    candidates: list[Candidate] = []
    for slot in chosen:
        answer = answers.get(slot.slot)
        if answer is None:
            pending = tuple(Numbers(c.sketch, read_rows(c.numbers)) for c in candidates if c.sketch)
            answer = _embedded(slot, context, earlier_kernels, pending, failed.get(slot.slot), moves_before)
        candidate = _candidate(slot, context, answer)
        candidates.append(candidate)
        if not candidate.request:
            earlier_kernels.add(candidate.kernel)
    return candidates


def unusable(candidates: Sequence[Candidate], round: int, attempt: int) -> list[Candidate]:
    """List the candidates of an attempt whose reply held no kernel, if that is the slot's first such reply.

    Such a reply is repaired once.
    """
    without_kernel = [c for c in candidates if c.round == round and c.request and not c.kernel]
    before = {c.slot for c in without_kernel if c.attempt < attempt}
    return [c for c in without_kernel if c.attempt == attempt and c.slot not in before]


def unusable_slots(candidates: Sequence[Candidate], round: int, attempt: int) -> str:
    """List the slots of `unusable`, a line each, for the next attempt to repair."""
    return "".join(f"{c.slot}\n" for c in unusable(candidates, round, attempt))


def write_sources(folders: Sequence[Path], candidates: Sequence[Candidate], store: Store) -> None:
    """Write a file per slot for people to read: the candidate's source, or the reason why there is none."""
    for folder in folders:
        for candidate in candidates:
            text = kernel_source(candidate.kernel, store) if candidate.kernel else f"# {candidate.reason}\n"
            write_text(folder / f"{candidate.slot}.py", text, synced=False)


def _embedded(
    slot: Slot,
    context: AttemptContext,
    exclude: AbstractSet[str],
    pending: tuple[Numbers, ...],
    failed: FailedCandidate | None,
    moves_before: Mapping[str, tuple[str, ...]],
) -> Answer:
    """Ask the embedded proposer of a slot: the rewriter, the echo or none.

    Args:
        slot: the slot.
        context: the inputs that the slots share.
        exclude: digests of the sources that embedded proposers proposed before.
        pending: numbers that the attempt has proposed so far.
        failed: the failed candidate to repair, if any.
        moves_before: transformations by kernel of the round's earlier attempts.
    """
    if slot.skipped:
        return Answer(ProposalStatus.SKIPPED, reason=slot.skipped)
    match slot.model:
        case str() if slot.model == NOBODY:
            return Answer(ProposalStatus.NONE, reason="strategy noop proposes nothing")
        case str() if slot.model == ECHO:
            return _echo(slot, context)
        case str() if slot.model == REWRITER:
            return _rewritten(slot, context, exclude, pending, failed, moves_before)
    raise StoreError(f"slot {slot.slot} belongs to {slot.model}, which was not asked: run again")


def _candidate(slot: Slot, context: AttemptContext, answer: Answer) -> Candidate:
    return Candidate(
        round=context.round, attempt=context.attempt,
        **slot.model_dump(include={"slot", "parent", "bottleneck", "model", "sample"}), **answer._asdict(),
    )  # fmt: skip


def _echo(slot: Slot, context: AttemptContext) -> Answer:
    """Append the slot's number to the parent's source: a proposal at no cost, for dry runs."""
    note = f"# echo r{context.round}a{context.attempt}s{slot.slot}\n"
    source = kernel_source(slot.parent, context.store) + note
    return Answer(
        ProposalStatus.PROPOSED, kernel=put_kernel(source, context.store), description="the parent, numbered"
    )  # fmt: skip


def _rewritten(
    slot: Slot,
    context: AttemptContext,
    exclude: AbstractSet[str],
    pending: tuple[Numbers, ...],
    failed: FailedCandidate | None,
    moves_before: Mapping[str, tuple[str, ...]],
) -> Answer:
    made = proposal(
        Request(
            parent=slot.parent, direction=context.directions[slot.parent, slot.bottleneck],
            failed=Failure(failed.kernel, failed.phase, failed.reason) if failed else None,
            facts=RewriteFacts(
                launches=_launches(context, slot.parent), device=context.device, workloads=context.facts.workloads
            ),
            seed=_seed(slot, context), exclude=exclude, experience=context.learned.experience,
            turn=context.learned.turn(slot.slot, context.round) if failed is None else None,
            refined=bool(context.learned.tuned), pending=pending,
        ),
        context.store,
    )  # fmt: skip
    if made.rewrite is None:
        return Answer(ProposalStatus.NONE, reason="no transformation gives a new source")
    before = moves_before.get(failed.kernel, ()) if failed and made.rewrite.of_failed else ()
    return Answer(
        ProposalStatus.PROPOSED, kernel=put_kernel(made.rewrite.source, context.store),
        description=made.rewrite.description, moves=(*before, *made.rewrite.transformations),
        sketch=made.sketch, numbers=made.numbers,
    )  # fmt: skip


def _seed(slot: Slot, context: AttemptContext) -> int:
    """Derive the seed of one slot, the same in every repetition of the run."""
    parts = [context.seed, context.round, context.attempt, slot.parent, slot.bottleneck, slot.sample]
    return int(artifact.digest(parts)[:12], 16)


def _launches(context: AttemptContext, parent: str) -> tuple[Launch, ...]:
    """Return the parent's launches on all main workloads; empty where the parent was not built."""
    row = context.parents[parent]
    build = find_build(row.build, context.store) if row.build else None
    return tuple(launch for one in build.workloads for launch in one.launches) if isinstance(build, Built) else ()
