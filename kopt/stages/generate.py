"""Stage generate: ask every slot's proposer for a candidate; for repairs, ask again with the error.

An attempt's candidates depend only on the run's own files and the store's replies, never on what else the store
holds, so that a run repeated is a run repeated.  The rewriter's slots do not depend on what language models reply to
the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kopt import artifact
from kopt.artifact import write_text
from kopt.config import ECHO, NOBODY, REWRITER
from kopt.errors import StoreError
from kopt.jobs.keys import KERNEL, BuildKey, ProposalKey
from kopt.model.base import Value
from kopt.model.build import Build, Built, Launch
from kopt.model.device import Device
from kopt.model.diagnosis import Diagnosis, Direction
from kopt.model.kernel import Candidate, ProposalStatus, Slot
from kopt.model.problem import ProblemFacts
from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.provenance import code_digest
from kopt.rewrite.propose import Rewrite, propose, repair
from kopt.rewrite.transformation import RewriteFacts
from kopt.store import Store

log = logging.getLogger(__name__)


class Proposal(Value):
    """What the rewriter answered: a rewrite, or nothing new."""

    rewrite: Rewrite | None


@dataclass(frozen=True)
class Failure:
    """A candidate to repair, and what was wrong with it."""

    kernel: str
    """Empty when a reply held none."""
    phase: str
    reason: str
    stage: Literal["reply", "build", "verdict"]
    draft: str = ""
    """The code of a reply that held no kernel, or what there is of it."""


@dataclass(frozen=True)
class AttemptContext:
    """What all slots of an attempt share."""

    round: int
    attempt: int
    seed: int
    parents: Mapping[str, SelectionRow]
    directions: Mapping[tuple[str, int], Direction]
    """Direction of a parent (kernel digest) by rank."""
    facts: ProblemFacts
    device: Device
    store: Store


Written = Callable[[Sequence[Slot], Mapping[int, Failure]], Mapping[int, Mapping[str, Any]]]
"""From slots and what they repair to the fields of their candidates (status, kernel or reason, request, cost)."""


def directions(diagnoses: Sequence[Diagnosis]) -> dict[tuple[str, int], Direction]:
    """Directions by parent and rank."""
    return {(d.kernel, direction.rank): direction for d in diagnoses for direction in d.directions}


def failures(builds: Sequence[BuildRow], evaluations: Sequence[EvaluationRow]) -> dict[int, Failure]:
    """What an attempt left to repair, by slot."""
    failed = {b.slot: Failure(b.kernel, b.phase, b.reason, "build") for b in builds if b.status == "failed"}
    wrong = {
        e.slot: Failure(e.kernel, e.phase or "incorrect", e.reason, "verdict")
        for e in evaluations
        if e.verdict != "passed"
    }
    return failed | wrong


def generate(
    slots: Sequence[Slot],
    setting: AttemptContext,
    *,
    earlier: Sequence[Candidate],
    failed: Mapping[int, Failure],
    written: Written = lambda slots, failed: {},
) -> list[Candidate]:
    """One candidate per slot, in slot order; for a repair (attempt 1..) one per slot that failed.

    Args:
        slots: the round's slots.
        setting: what they share.
        earlier: all candidates of the run so far; none of the embedded proposers' sources is proposed by them again.
        failed: what the previous attempt left to repair.
        written: asks the language models for the slots that are theirs; slots of no language model are passed over.
    """
    chosen = [slot for slot in slots if setting.attempt == 0 or slot.slot in failed]
    replied = written([slot for slot in chosen if not slot.skipped], failed)
    known = {candidate.kernel for candidate in earlier if candidate.kernel and not candidate.request}
    candidates = []
    for slot in chosen:
        fields = replied.get(slot.slot)
        candidate = _candidate(slot, setting, **fields) if fields else _one(slot, setting, known, failed.get(slot.slot))
        candidates.append(candidate)
        if not candidate.request:
            known.add(candidate.kernel)
    return candidates


def unusable(candidates: Sequence[Candidate], round: int, attempt: int) -> list[Candidate]:
    """Candidates of an attempt whose reply held no kernel, for the first time in their slot: once is repaired."""
    lost = [c for c in candidates if c.round == round and c.request and not c.kernel]
    before = {c.slot for c in lost if c.attempt < attempt}
    return [c for c in lost if c.attempt == attempt and c.slot not in before]


def unusable_slots(candidates: Sequence[Candidate], round: int, attempt: int) -> str:
    """The slots of `unusable`, a line each: what a repair has to do."""
    return "".join(f"{c.slot}\n" for c in unusable(candidates, round, attempt))


def write_sources(folders: Sequence[Path], candidates: Sequence[Candidate], store: Store) -> None:
    """A file per slot for people to read: the candidate's source, or why there is none."""
    for folder in folders:
        for candidate in candidates:
            text = store.text(KERNEL, candidate.kernel, ".py") if candidate.kernel else f"# {candidate.reason}\n"
            write_text(folder / f"{candidate.slot}.py", text)


def _one(slot: Slot, setting: AttemptContext, known: set[str], failure: Failure | None) -> Candidate:
    if slot.skipped:
        return _without(slot, setting, ProposalStatus.SKIPPED, slot.skipped)
    match slot.model:
        case str() if slot.model == NOBODY:
            return _without(slot, setting, ProposalStatus.NONE, "strategy noop proposes nothing")
        case str() if slot.model == ECHO:
            return _with(slot, setting, _echo(slot, setting))
        case str() if slot.model == REWRITER:
            rewrite = _rewrite(slot, setting, known, failure)
            if rewrite is None:
                return _without(slot, setting, ProposalStatus.NONE, "no transformation gives a new source")
            return _with(slot, setting, rewrite)
    raise StoreError(f"slot {slot.slot} is {slot.model}'s, and nobody was asked: run again")


def _with(slot: Slot, setting: AttemptContext, rewrite: Rewrite) -> Candidate:
    kernel = setting.store.put_text(KERNEL, rewrite.source, ".py")
    return _candidate(slot, setting, status=ProposalStatus.PROPOSED, kernel=kernel, description=rewrite.description)


def _without(slot: Slot, setting: AttemptContext, status: ProposalStatus, reason: str) -> Candidate:
    return _candidate(slot, setting, status=status, reason=reason)


def _candidate(slot: Slot, setting: AttemptContext, **fields: Any) -> Candidate:
    return Candidate(
        round=setting.round, attempt=setting.attempt,
        **slot.model_dump(include={"slot", "parent", "bottleneck", "model", "sample"}), **fields,
    )  # fmt: skip


def _echo(slot: Slot, setting: AttemptContext) -> Rewrite:
    """The parent's source with the slot's number: a proposal that costs nothing, for dry runs."""
    source = setting.store.text(KERNEL, slot.parent, ".py")
    note = f"# echo r{setting.round}a{setting.attempt}s{slot.slot}\n"
    return Rewrite(source=source + note, description="the parent, numbered", transformations=("echo",))


def _rewrite(slot: Slot, setting: AttemptContext, known: set[str], failure: Failure | None) -> Rewrite | None:
    parent = setting.store.text(KERNEL, slot.parent, ".py")
    direction = setting.directions[slot.parent, slot.bottleneck]
    facts = RewriteFacts(
        launches=_launches(setting, slot.parent), device=setting.device, workloads=setting.facts.workloads
    )
    seed = _seed(slot, setting)
    key = ProposalKey(
        parent=slot.parent, failed=f"{failure.kernel} {failure.phase}" if failure else "",
        direction=artifact.digest(direction), facts=artifact.digest(facts), seed=seed,
        exclude=artifact.digest(sorted(known)), code=code_digest("kopt.rewrite.propose"),
    )  # fmt: skip

    def make() -> Rewrite | None:
        if failure is None:
            return propose(parent, direction=direction, facts=facts, seed=seed, exclude=known)
        return repair(
            setting.store.text(KERNEL, failure.kernel, ".py"), parent=parent, reason=failure.reason,
            phase=failure.phase, direction=direction, facts=facts, seed=seed, exclude=known,
        )  # fmt: skip

    return setting.store.shelf(Proposal).get_or_make(key, lambda: Proposal(rewrite=make())).rewrite


def _seed(slot: Slot, setting: AttemptContext) -> int:
    """A seed of the slot's own, stable over reruns."""
    parts = [setting.seed, setting.round, setting.attempt, slot.parent, slot.bottleneck, slot.sample]
    return int(artifact.digest(parts)[:12], 16)


def _launches(setting: AttemptContext, parent: str) -> tuple[Launch, ...]:
    row = setting.parents[parent]
    build = setting.store.shelf(Build).named(BuildKey.kind, row.build) if row.build else None
    return build.workloads[0].launches if isinstance(build, Built) and build.workloads else ()
