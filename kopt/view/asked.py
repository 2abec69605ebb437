"""Write the prompt again that a candidate came from, and read the model's reply.

A run keeps the digest of a request, not its text, since the text follows from the run's files.  It is written again by
the code that wrote it; a digest that differs shows that this kopt writes other prompts, and then there is no prompt to
show.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kopt.artifact import read_table, read_value
from kopt.errors import KoptError
from kopt.jobs.asker import Asker
from kopt.jobs.briefing import Briefing
from kopt.llm.reply import Empty, Kept
from kopt.llm.request import ReplyKey, Request
from kopt.llm.table import ModelTable
from kopt.model.base import Value
from kopt.model.kernel import Candidate, Slot
from kopt.report.details import Exchange
from kopt.run.so_far import RunSoFar
from kopt.stages.generate import FailedCandidate, directions, failures
from kopt.stages.generate_by_model import ModelProposer, failed_replies, request_of
from kopt.store import Store


class Asked(Value):
    """The exchange with a language model that a candidate came from; foreign text."""

    model: str
    template: str
    """Name and version of the prompt's template; empty where the prompt cannot be written again."""
    prompt: str
    """System text and messages; empty where they cannot be written again."""
    reply: str
    """Text of the reply; empty where it is not in the store, or holds no text."""
    note: str
    """What cannot be shown, and why; empty otherwise."""
    cost_usd: float


def asked_for(name: str, run: RunSoFar, store: Store) -> Asked | None:
    """Return the exchange that a candidate came from; None for a candidate of no language model.

    Args:
        name: name of the candidate.
        run: its run.
        store: the store that the run used.
    """
    candidate = next((row for row in _candidates(run) if row.name == name), None)
    if candidate is None or not candidate.request:
        return None
    kept = store.shelf(Kept).named(ReplyKey, candidate.request)
    request, notes = _request(candidate, run, store), []
    if request is None:
        notes.append("this kopt cannot write the prompt again: its templates, or files of the run, have changed since")
    if kept is None:
        notes.append("the reply is not in the store, or no longer")
    return Asked(
        model=candidate.model,
        template=request.template if request else "",
        prompt=_text(request) if request else "",
        reply="" if kept is None or isinstance(kept, Empty) else kept.text,
        note="; ".join(notes),
        cost_usd=candidate.cost_usd,
    )


def exchanges_in(store: Store) -> Callable[[str, RunSoFar], Exchange | None]:
    """Return what finds the prompt and the reply that a candidate of a run came from, for the report."""

    def exchange(name: str, run: RunSoFar) -> Exchange | None:
        asked = asked_for(name, run, store)
        if asked is None:
            return None
        return Exchange(model=asked.model, prompt=asked.prompt, reply=asked.reply, note=asked.note)

    return exchange


def _text(request: Request) -> str:
    system = [f"[system]\n{request.system}"] if request.system else []
    return "\n\n".join([*system, *(f"[{message.role}]\n{message.whole}" for message in request.messages)])


def _candidates(run: RunSoFar) -> list[Candidate]:
    begun = run.begun.candidates if run.begun else ()
    return [*(row for round in run.rounds for row in round.tables.candidates), *begun]


def _request(candidate: Candidate, run: RunSoFar, store: Store) -> Request | None:
    """Make the candidate's request again; None where it comes out differently."""
    try:
        request = _made_again(candidate, run, store)
    except (KoptError, OSError, LookupError, StopIteration):
        return None
    return request if request is not None and request.digest == candidate.request else None


def _made_again(candidate: Candidate, run: RunSoFar, store: Store) -> Request | None:
    asking, before = run.settings.asking, run.rounds[candidate.round - 1]
    slots = _slots(run.folder / f"round_{candidate.round}")
    slot = next(slot for slot in slots if slot.slot == candidate.slot)
    if asking is None:
        return None
    attempt = candidate.attempt
    proposer = ModelProposer(
        round=candidate.round,
        attempt=attempt,
        repairs=run.config.max_repairs,
        slots=slots,
        directions=directions(before.diagnoses),
        earlier=[row for row in _candidates(run) if (row.round, row.attempt) < (candidate.round, attempt)],
        briefing=read_value(run.folder / f"round_{candidate.round - 1}" / "briefing.json", Briefing),
        asker=Asker(asking, read_value(run.folder / "models.json", ModelTable), store, run.folder),
    )
    return request_of(proposer, slot, _failed(candidate, run).get(slot.slot) or failed_replies(proposer).get(slot.slot))


def _slots(folder: Path) -> list[Slot]:
    return read_table(folder / "slots.parquet", Slot)


def _failed(candidate: Candidate, run: RunSoFar) -> dict[int, FailedCandidate]:
    part = run.begun if run.begun and run.begun.round == candidate.round else run.rounds[candidate.round].tables
    place = (candidate.round, candidate.attempt - 1)
    return failures(
        [row for row in part.builds if (row.round, row.attempt) == place],
        [row for row in part.evaluations if (row.round, row.attempt) == place],
    )
