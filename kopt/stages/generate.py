"""Stage `generate`: ask every slot's proposer for a candidate; for repairs, ask again with the error.

An attempt's candidates depend on the run's own files and on the replies in the store alone, never on other items in the
store, so that a repeated run gives the same candidates.  Candidates of the rewriter do not depend on replies of
language models for other slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from kopt import artifact
from kopt.artifact import write_text
from kopt.errors import StoreError
from kopt.jobs.kernels import kernel_source, put_kernel
from kopt.jobs.keys import ProposalKey
from kopt.jobs.recorded import find_build
from kopt.model.base import Value
from kopt.model.build import Built, Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Direction
from kopt.model.kernel import Candidate, ProposalStatus, Slot
from kopt.model.problem import ProblemFacts
from kopt.model.proposers import ECHO, NOBODY, REWRITER
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.provenance import code_digest
from kopt.rewrite.propose import Rewrite, propose, repair
from kopt.rewrite.transformation import RewriteFacts
from kopt.store import Store


class Proposal(Value):
    """The result of the rewriter: a rewrite, or None where no transformation gives a new source."""

    rewrite: Rewrite | None


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
    candidates = []
    for slot in chosen:
        answer = answers.get(slot.slot) or _embedded(slot, context, earlier_kernels, failed.get(slot.slot))
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


def _embedded(slot: Slot, context: AttemptContext, exclude: set[str], failed: FailedCandidate | None) -> Answer:
    """Ask the embedded proposer of a slot: the rewriter, the echo or none."""
    if slot.skipped:
        return Answer(ProposalStatus.SKIPPED, reason=slot.skipped)
    match slot.model:
        case str() if slot.model == NOBODY:
            return Answer(ProposalStatus.NONE, reason="strategy noop proposes nothing")
        case str() if slot.model == ECHO:
            return _proposed(_echo(slot, context), context.store)
        case str() if slot.model == REWRITER:
            rewrite = _rewrite(slot, context, exclude, failed)
            if rewrite is None:
                return Answer(ProposalStatus.NONE, reason="no transformation gives a new source")
            return _proposed(rewrite, context.store)
    raise StoreError(f"slot {slot.slot} belongs to {slot.model}, which was not asked: run again")


def _proposed(rewrite: Rewrite, store: Store) -> Answer:
    return Answer(
        ProposalStatus.PROPOSED, kernel=put_kernel(rewrite.source, store), description=rewrite.description
    )  # fmt: skip


def _candidate(slot: Slot, context: AttemptContext, answer: Answer) -> Candidate:
    return Candidate(
        round=context.round, attempt=context.attempt,
        **slot.model_dump(include={"slot", "parent", "bottleneck", "model", "sample"}), **answer._asdict(),
    )  # fmt: skip


def _echo(slot: Slot, context: AttemptContext) -> Rewrite:
    """Append the slot's number to the parent's source: a proposal at no cost, for dry runs."""
    note = f"# echo r{context.round}a{context.attempt}s{slot.slot}\n"
    source = kernel_source(slot.parent, context.store) + note
    return Rewrite(source=source, description="the parent, numbered", transformations=("echo",))


def _rewrite(slot: Slot, context: AttemptContext, exclude: set[str], failed: FailedCandidate | None) -> Rewrite | None:
    parent = kernel_source(slot.parent, context.store)
    direction = context.directions[slot.parent, slot.bottleneck]
    facts = RewriteFacts(
        launches=_launches(context, slot.parent), device=context.device, workloads=context.facts.workloads
    )
    seed = _seed(slot, context)
    key = ProposalKey(
        parent=slot.parent, failed=f"{failed.kernel} {failed.phase}" if failed else "",
        direction=artifact.digest(direction), facts=artifact.digest(facts), seed=seed,
        exclude=artifact.digest(sorted(exclude)), code=code_digest("kopt.rewrite.propose"),
    )  # fmt: skip

    def make() -> Proposal:
        if failed is None:
            return Proposal(rewrite=propose(parent, direction=direction, facts=facts, seed=seed, exclude=exclude))
        source = kernel_source(failed.kernel, context.store)
        return Proposal(
            rewrite=repair(
                source, parent=parent, reason=failed.reason, phase=failed.phase, direction=direction, facts=facts,
                seed=seed, exclude=exclude,
            )
        )  # fmt: skip

    return context.store.shelf(Proposal).get_or_make(key, make).rewrite


def _seed(slot: Slot, context: AttemptContext) -> int:
    """Derive the seed of one slot, the same in every repetition of the run."""
    parts = [context.seed, context.round, context.attempt, slot.parent, slot.bottleneck, slot.sample]
    return int(artifact.digest(parts)[:12], 16)


def _launches(context: AttemptContext, parent: str) -> tuple[Launch, ...]:
    """Return the parent's launches on all main workloads; empty where the parent was not built."""
    row = context.parents[parent]
    build = find_build(row.build, context.store) if row.build else None
    return tuple(launch for one in build.workloads for launch in one.launches) if isinstance(build, Built) else ()
