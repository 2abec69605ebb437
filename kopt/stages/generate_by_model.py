"""Ask language models for proposals: make a request for each slot, and an answer from each reply.

1. Write a prompt for each slot, from the round's briefing and the slot's own assignment; a repair adds the failure.
2. Ask for all slots of an attempt in one asynchronous call.
3. Continue, once, a reply that was cut off inside its code.
4. Make each reply the answer of its slot, with its request and cost.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.jobs.kernels import kernel_source, put_kernel
from kopt.llm.reply import Answered, Kept, NoReplyReason, Reply, Truncated, Unanswered, joined
from kopt.llm.request import ReplyKey, Request, continued
from kopt.llm.text.extract import Extracted, NoKernel, NotExtracted, continuations, kernel_of
from kopt.model.diagnosis import Direction
from kopt.model.kernel import Candidate, ProposalStatus, Slot, candidate_name, none_reason
from kopt.prompts import propose, repair
from kopt.prompts.context import Assignment, Memory, Parent
from kopt.prompts.sections import Prompt
from kopt.stages.generate import Answer, AttemptContext, FailedCandidate, ModelProposals, unusable

CROWDED = 0.5
"""Every second sample is asked to avoid the techniques that more than this share of the pool uses, but not all."""

MOST_REASONS = 3
"""Reasons of unusable replies that one line on the terminal names."""


@dataclass(frozen=True)
class ModelProposer:
    """The language models of a run as proposers in one attempt."""

    round: int
    attempt: int
    repairs: int
    """Number of attempts after the first."""
    slots: Sequence[Slot]
    """All slots of the round."""
    directions: Mapping[tuple[str, int], Direction]
    """The directions by parent (digest of its source) and rank."""
    earlier: Sequence[Candidate]
    """All candidates of the run so far."""
    briefing: Briefing
    """Briefing of the previous round."""
    asker: Asker

    @property
    def entry(self) -> str:
        """Name of the entry point that a kernel must define."""
        return self.briefing.context.problem.seed.entry


def model_proposals(
    slots: Sequence[Slot],
    context: AttemptContext,
    earlier: Sequence[Candidate],
    *,
    repairs: int,
    briefing: Briefing,
    asker: Asker,
) -> ModelProposals:
    """Return the contribution of language models to an attempt.

    Args:
        slots: all slots of the round.
        context: the inputs that the slots share.
        earlier: all candidates of the run so far.
        repairs: number of attempts after the first.
        briefing: the briefing of the previous round.
        asker: asks the models.
    """
    proposer = ModelProposer(
        round=context.round,
        attempt=context.attempt,
        repairs=repairs,
        slots=slots,
        directions=context.directions,
        earlier=earlier,
        briefing=briefing,
        asker=asker,
    )
    return ModelProposals(ask=lambda slots, failed: _answers(proposer, slots, failed), failed=failed_replies(proposer))


def failed_replies(proposer: ModelProposer) -> dict[int, FailedCandidate]:
    """Find the slots whose reply in the previous attempt held no kernel, with the reasons from the stored replies."""
    failed = {}
    for candidate in unusable(proposer.earlier, proposer.round, proposer.attempt - 1):
        reply = proposer.asker.store.shelf(Kept).named(ReplyKey, candidate.request)
        if reply is None:
            continue
        before = max(
            (c for c in proposer.earlier if _is_try_before(c, candidate)), key=lambda c: c.attempt, default=None
        )
        extracted = kernel_of(
            reply, proposer.entry, _bases(proposer, candidate.parent, before.kernel if before else "")
        )
        if isinstance(extracted, NotExtracted):
            failed[candidate.slot] = FailedCandidate("", extracted.reason, extracted.detail, "reply", extracted.draft)
    return failed


def _is_try_before(earlier: Candidate, candidate: Candidate) -> bool:
    same_slot = (earlier.round, earlier.slot) == (candidate.round, candidate.slot)
    return same_slot and earlier.attempt < candidate.attempt


def _bases(proposer: ModelProposer, parent: str, failed: str) -> tuple[str, ...]:
    """Return the sources that a reply may edit: the failed candidate that it repairs, and the parent.

    Args:
        proposer: has the store.
        parent: digest of the parent's source.
        failed: digest of the failed candidate's source; empty where there is none.
    """
    return tuple(kernel_source(name, proposer.asker.store) for name in (failed, parent) if name)


def _answers(
    proposer: ModelProposer, slots: Sequence[Slot], failed: Mapping[int, FailedCandidate]
) -> dict[int, Answer]:
    labelled = {
        candidate_name(proposer.round, proposer.attempt, slot.slot): slot
        for slot in slots
        if slot.model in proposer.asker.table.models
    }
    requests = {label: request_of(proposer, slot, failed.get(slot.slot)) for label, slot in labelled.items()}
    bases = {
        label: _bases(proposer, slot.parent, failed[slot.slot].kernel if slot.slot in failed else "")
        for label, slot in labelled.items()
    }
    replies = _replies(proposer, requests, bases)
    found = {label: kernel_of(reply, proposer.entry, bases[label]) for label, reply in replies.items()}
    for line in unusable_lines({label: slot.model for label, slot in labelled.items()}, found):
        print(f"kopt: note: {line}", file=sys.stderr, flush=True)
    recorded = proposer.asker.recorded_as
    digests = {label: recorded.get(request.digest, request.digest) for label, request in requests.items()}
    return {
        slot.slot: _answer(proposer, slot, digests[label], replies[label], found[label])
        for label, slot in labelled.items()
    }


def request_of(proposer: ModelProposer, slot: Slot, failed: FailedCandidate | None) -> Request:
    """Make the request for a slot's candidate: a proposal, or the repair of a failed candidate."""
    return proposer.asker.request(slot.model, _prompt(proposer, slot, failed), slot.sample)


def unusable_lines(models: Mapping[str, str], found: Mapping[str, Extracted | NotExtracted]) -> list[str]:
    """Return a line for each model with replies that hold no kernel, with how many there are for which reason.

    Requests without a reply have lines of their own.

    Args:
        models: the model that was asked, by label.
        found: the kernel in its reply, or why there is none, by label.
    """
    lines = []
    for model in dict.fromkeys(models.values()):
        replies = [found[label] for label, name in models.items() if name == model]
        without = [one for one in replies if isinstance(one, NotExtracted) and one.reason is not NoKernel.UNANSWERED]
        if without:
            counted = Counter(f"{one.reason}: {one.detail}" for one in without).most_common(MOST_REASONS)
            shown = "; ".join(f"{count} x {reason}" for reason, count in counted)
            rest = len(without) - sum(count for _, count in counted)
            more = f"; {rest} more" if rest else ""
            lines.append(f"{model}: {len(without)} of {len(replies)} replies hold no kernel ({shown}{more})")
    return lines


def _replies(
    proposer: ModelProposer, requests: Mapping[str, Request], bases: Mapping[str, Sequence[str]]
) -> dict[str, Reply]:
    """Ask for all replies, and for the rest of each reply that was cut off inside its code."""
    replies = dict(proposer.asker.ask(requests))
    cut = {
        label: reply
        for label, reply in replies.items()
        if isinstance(reply, Truncated)
        and reply.text.strip()
        and isinstance(kernel_of(reply, proposer.entry, bases[label]), NotExtracted)
    }
    rests = proposer.asker.ask({label: continued(requests[label], reply) for label, reply in cut.items()})
    return replies | {
        label: _with_rest(cut[label], rest, proposer.entry, bases[label]) for label, rest in rests.items()
    }


def _with_rest(first: Truncated, rest: Reply, entry: str, bases: Sequence[str]) -> Answered | Truncated:
    """Join a reply with its continuation; an empty or refused continuation only adds its cost to the reply."""
    if isinstance(rest, Answered | Truncated):
        ways = [joined(first, rest.model_copy(update={"text": text})) for text in continuations(first.text, rest.text)]
        return next((way for way in ways if isinstance(kernel_of(way, entry, bases), Extracted)), ways[0])
    if isinstance(rest, Unanswered):
        return first
    return first.model_copy(update={"usage": first.usage + rest.usage})


def _answer(
    proposer: ModelProposer, slot: Slot, request: str, reply: Reply, extracted: Extracted | NotExtracted
) -> Answer:
    """Make a reply the answer of its slot.  Once the budget is spent, slots are skipped and the search ends."""
    if isinstance(reply, Unanswered):
        status = ProposalStatus.SKIPPED if reply.reason == NoReplyReason.BUDGET else ProposalStatus.NONE
        return Answer(status, reason=none_reason(reply.reason, reply.detail))
    if not isinstance(extracted, Extracted):
        return Answer(
            ProposalStatus.NONE, reason=none_reason(extracted.reason, extracted.detail), request=request,
            cost_usd=reply.usage.dollars,
        )  # fmt: skip
    direction = proposer.directions[slot.parent, slot.bottleneck]
    return Answer(
        ProposalStatus.PROPOSED,
        kernel=put_kernel(extracted.kernel.source, proposer.asker.store),
        description=extracted.description or f"follows {direction.bottleneck}",
        request=request,
        cost_usd=reply.usage.dollars,
    )


def _prompt(proposer: ModelProposer, slot: Slot, failed: FailedCandidate | None) -> Prompt:
    briefing = proposer.briefing
    parent, assignment = briefing.parents[slot.parent_rank], _assignment(proposer, slot, briefing.memory)
    if failed is None:
        return propose.propose(briefing.context, parent, briefing.memory, assignment)
    return _repair(proposer, slot, parent, assignment, failed)


def _repair(
    proposer: ModelProposer, slot: Slot, parent: Parent, assignment: Assignment, failed: FailedCandidate
) -> Prompt:
    before = next(c for c in reversed(proposer.earlier) if (c.round, c.slot) == (proposer.round, slot.slot))
    failure = repair.FailedProposal(
        stage=failed.stage,
        phase=failed.phase,
        reason=failed.reason,
        draft=kernel_source(failed.kernel, proposer.asker.store) if failed.kernel else failed.draft,
        description=before.description,
    )
    return repair.repair(
        proposer.briefing.context, parent, assignment, failure, proposer.attempt, proposer.repairs
    )  # fmt: skip


def _assignment(proposer: ModelProposer, slot: Slot, memory: Memory) -> Assignment:
    direction = proposer.directions[slot.parent, slot.bottleneck]
    others = [
        sibling
        for (parent, rank), sibling in sorted(proposer.directions.items())
        if parent == slot.parent and rank != slot.bottleneck
    ]
    key = (slot.parent, slot.bottleneck, slot.model)
    alike = [s for s in proposer.slots if (s.parent, s.bottleneck, s.model) == key]
    crowded = [name for name in _crowded(memory) if name not in direction.techniques]
    return Assignment(
        direction=direction,
        others=tuple(others),
        sample=slot.sample,
        samples=len(alike),
        avoid=tuple(crowded) if slot.sample % 2 else (),
    )


def _crowded(memory: Memory) -> list[str]:
    """List the techniques that more than the share `CROWDED` of the pool uses, but not the whole pool."""
    used: Counter[str] = Counter()
    for share in memory.pool:
        used.update(dict.fromkeys(share.techniques, share.kernels))
    pool = sum(share.kernels for share in memory.pool)
    return sorted(name for name, kernels in used.items() if CROWDED * pool < kernels < pool)
