"""Proposals of language models: a request for each slot, and what its reply comes to.

All slots of an attempt are asked in one asynchronous job.  A reply that was cut off in its code is continued once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing, read_briefing
from kopt.jobs.command import Job
from kopt.jobs.keys import KERNEL
from kopt.llm.extract import Extracted, NotExtracted, continuations, kernel_of
from kopt.llm.reply import Answered, Kept, NoReplyReason, Reply, Truncated, Unanswered, joined
from kopt.llm.request import ReplyKey, Request, continued
from kopt.model.diagnosis import Direction
from kopt.model.kernel import Candidate, ProposalStatus, Slot, candidate_name
from kopt.prompts import propose, repair
from kopt.prompts.context import Assignment, Memory, Parent
from kopt.prompts.sections import Prompt
from kopt.stages.generate import AttemptContext, Failure, Written, unusable

CROWDED = 0.5
"""A technique that a larger share of the pool than this uses, but not all of it, is what other samples should avoid."""


@dataclass(frozen=True)
class ModelProposer:
    """What the slots of language models share in one attempt."""

    round: int
    attempt: int
    repairs: int
    """Attempts after the first."""
    slots: Sequence[Slot]
    """All slots of the round."""
    directions: Mapping[tuple[str, int], Direction]
    earlier: Sequence[Candidate]
    briefing: Briefing
    asker: Asker

    @property
    def entry(self) -> str:
        """Name of the function that a kernel must define."""
        return self.briefing.setting.problem.seed.entry


def author_of(
    job: Job, slots: Sequence[Slot], setting: AttemptContext, earlier: Sequence[Candidate], asker: Asker | None
) -> ModelProposer | None:
    """What a job's language models share; None in a run without them."""
    briefing = read_briefing(job.paths("briefing"))
    if briefing is None or asker is None:
        return None
    return ModelProposer(
        round=setting.round,
        attempt=setting.attempt,
        repairs=job.settings.max_repairs,
        slots=slots,
        directions=setting.directions,
        earlier=earlier,
        briefing=briefing,
        asker=asker,
    )


def written(author: ModelProposer | None) -> Written:
    """How language models write the candidates of their slots; without them, nothing is written."""
    if author is None:
        return lambda slots, failed: {}
    return lambda slots, failed: _write(author, slots, failed)


def lost_replies(author: ModelProposer | None) -> dict[int, Failure]:
    """What the attempt before left to repair because a reply held no kernel, by slot; the replies tell why."""
    if author is None:
        return {}
    found = {}
    for candidate in unusable(author.earlier, author.round, author.attempt - 1):
        reply = author.asker.store.shelf(Kept).named(ReplyKey.kind, candidate.request)
        lost = kernel_of(reply, author.entry) if reply is not None else None
        if isinstance(lost, NotExtracted):
            found[candidate.slot] = Failure("", lost.reason, lost.detail, "reply", lost.draft)
    return found


def _write(author: ModelProposer, slots: Sequence[Slot], failed: Mapping[int, Failure]) -> dict[int, Mapping[str, Any]]:
    mine = {
        candidate_name(author.round, author.attempt, slot.slot): slot
        for slot in slots
        if slot.model in author.asker.table.models
    }
    asked = {
        label: author.asker.request(slot.model, _prompt(author, slot, failed.get(slot.slot)), slot.sample)
        for label, slot in mine.items()
    }
    replies = _whole(author, asked)
    return {slot.slot: _fields(author, slot, asked[label].digest, replies[label]) for label, slot in mine.items()}


def _whole(author: ModelProposer, asked: Mapping[str, Request]) -> dict[str, Reply]:
    """The replies, those that were cut off in their code with their continuation."""
    replies = dict(author.asker.ask(asked))
    cut = {
        label: reply
        for label, reply in replies.items()
        if isinstance(reply, Truncated)
        and reply.text.strip()
        and isinstance(kernel_of(reply, author.entry), NotExtracted)
    }
    rests = author.asker.ask({label: continued(asked[label], reply) for label, reply in cut.items()})
    return replies | {label: _with_rest(cut[label], rest, author.entry) for label, rest in rests.items()}


def _with_rest(first: Truncated, rest: Reply, entry: str) -> Answered | Truncated:
    """A reply with its continuation, or as it was with the cost of a continuation that brought nothing."""
    if isinstance(rest, Answered | Truncated):
        ways = [joined(first, rest.model_copy(update={"text": text})) for text in continuations(first.text, rest.text)]
        return next((way for way in ways if isinstance(kernel_of(way, entry), Extracted)), ways[0])
    if isinstance(rest, Unanswered):
        return first
    return first.model_copy(update={"usage": first.usage + rest.usage})


def _fields(author: ModelProposer, slot: Slot, request: str, reply: Reply) -> Mapping[str, Any]:
    """What a reply makes of its slot's candidate.  Once the budget is spent, slots are skipped and the search ends."""
    if isinstance(reply, Unanswered):
        status = ProposalStatus.SKIPPED if reply.kind == NoReplyReason.BUDGET else ProposalStatus.NONE
        return {"status": status, "reason": f"{reply.kind}: {reply.detail}"}
    paid = {"request": request, "cost_usd": reply.usage.dollars}
    found = kernel_of(reply, author.entry)
    if not isinstance(found, Extracted):
        return {"status": ProposalStatus.NONE, "reason": f"{found.reason}: {found.detail}"} | paid
    kernel = author.asker.store.put_text(KERNEL, found.kernel.source, ".py")
    said = found.description or f"follows {author.directions[slot.parent, slot.bottleneck].bottleneck}"
    return {"status": ProposalStatus.PROPOSED, "kernel": kernel, "description": said} | paid


def _prompt(author: ModelProposer, slot: Slot, failure: Failure | None) -> Prompt:
    briefing = author.briefing
    parent, assignment = briefing.parents[slot.parent_rank], _assignment(author, slot, briefing.memory)
    if failure is None:
        return propose.propose(briefing.setting, parent, briefing.memory, assignment)
    return _repair(author, slot, parent, assignment, failure)


def _repair(author: ModelProposer, slot: Slot, parent: Parent, assignment: Assignment, failure: Failure) -> Prompt:
    store = author.asker.store
    before = next(c for c in reversed(author.earlier) if (c.round, c.slot) == (author.round, slot.slot))
    told = repair.FailedProposal(
        stage=failure.stage,
        phase=failure.phase,
        reason=failure.reason,
        draft=store.text(KERNEL, failure.kernel, ".py") if failure.kernel else failure.draft,
        description=before.description,
    )
    return repair.repair(author.briefing.setting, parent, assignment, told, author.attempt, author.repairs)


def _assignment(author: ModelProposer, slot: Slot, memory: Memory) -> Assignment:
    mine = author.directions[slot.parent, slot.bottleneck]
    others = [
        direction
        for (parent, rank), direction in sorted(author.directions.items())
        if parent == slot.parent and rank != slot.bottleneck
    ]
    alike = [s for s in author.slots if (s.parent, s.bottleneck, s.model) == (slot.parent, slot.bottleneck, slot.model)]
    crowded = [name for name in _crowded(memory) if name not in mine.techniques]
    return Assignment(
        direction=mine,
        others=tuple(others),
        sample=slot.sample,
        samples=len(alike),
        avoid=tuple(crowded) if slot.sample % 2 else (),
    )


def _crowded(memory: Memory) -> list[str]:
    """Techniques that most of the pool uses and not all of it: every second sample is asked for something else."""
    used: Counter[str] = Counter()
    for share in memory.pool:
        used.update(dict.fromkeys(share.techniques, share.kernels))
    pool = sum(share.kernels for share in memory.pool)
    return sorted(name for name, kernels in used.items() if CROWDED * pool < kernels < pool)
