"""How a stage asks language models: labelled requests in, labelled replies out, by whichever way the run gets them.

What a reply means is the asking stage's business.  A reply that the run cannot go on without is an error here; one
that costs its own slot only is data.  What only an asking run needs is imported when something is asked.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.artifact import read_value
from kopt.config import Asking
from kopt.errors import NoReply
from kopt.jobs.command import Job
from kopt.llm.reply import NoReplyReason, Reply, Unanswered
from kopt.llm.request import Message, NoReplyKey, Request, Schema
from kopt.llm.table import ModelTable
from kopt.prompts.sections import Prompt
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.llm.ledger import Ledger

NEEDED = frozenset({NoReplyReason.MISSING, NoReplyReason.KEY, NoReplyReason.QUOTA})
"""Lacks that no other slot makes up for: the run ends, and goes on once they are mended."""

LEDGER = "ledger.jsonl"
"""The run's ledger, in its folder."""

LACKING = "unanswered.txt"
"""The requests that the run got no reply to, in its folder, a digest a line."""


class Asker:
    """Asks the models of one run; every stage of the run shares its ledger and budget."""

    def __init__(
        self, asking: Asking, table: ModelTable, store: Store, run: Path, *, concurrency: int | None = None
    ) -> None:
        self.asking, self.table, self.store, self.run = asking, table, store, run
        self.concurrency = concurrency or asking.llm.concurrency

    def request(self, model: str, prompt: Prompt, sample: int = 0) -> Request:
        """A prompt as a request to a model."""
        schema = Schema(name=prompt.schema_name, body=prompt.output_schema) if prompt.output_schema else None
        return self.table.request(
            model,
            system=prompt.system,
            messages=(Message(role="user", stable=prompt.stable, text=prompt.text),),
            template=prompt.template,
            sample=sample,
            output_schema=schema,
        )

    def ask(self, asked: Mapping[str, Request]) -> Mapping[str, Reply]:
        """The reply to each labelled request; every label is in the result.

        Raises:
            NoReply: replies are pending in the exchange folder, were not recorded, or no key or credit is left.
        """
        return _usable(self._replies(asked)) if asked else {}

    def _replies(self, asked: Mapping[str, Request]) -> Mapping[str, Reply]:
        from kopt.llm.ask import replay
        from kopt.llm.ledger import Budget, Ledger

        ledger = Ledger(self.run / LEDGER, Budget(usd=self.asking.budget_usd, calls=self.asking.budget_calls))
        if self.asking.replies == "replay":
            return _noted(asked, replay(asked, store=self.store), ledger)
        if self.asking.replies == "exchange":
            return self._exchanged(asked, ledger)
        return self._recorded(asked, self._live(asked, ledger))

    def _exchanged(self, asked: Mapping[str, Request], ledger: Ledger) -> Mapping[str, Reply]:
        from kopt.llm.exchange import Pending, exchange

        folder = Path(self.asking.exchange)
        found = exchange(asked, table=self.table, store=self.store, ledger=ledger, folder=folder)
        if isinstance(found, Pending):
            raise NoReply(found.message)
        return found

    def _recorded(self, asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> Mapping[str, Reply]:
        """The replies; which requests got none, and why, is kept for replays."""
        lacking = {
            asked[label].digest: reply
            for label, reply in replies.items()
            if isinstance(reply, Unanswered) and reply.kind not in NEEDED
        }
        for request, reply in lacking.items():
            self.store.shelf(Unanswered).put(NoReplyKey(request=request), reply)
        with (self.run / LACKING).open("a") as file:
            file.writelines(f"{request}\n" for request in lacking)
        for line in lacking_lines(asked, replies):
            print(f"kopt: note: {line}", file=sys.stderr, flush=True)
        return replies

    def _live(self, asked: Mapping[str, Request], ledger: Ledger) -> Mapping[str, Reply]:
        from kopt.llm.ask import Terms, ask
        from kopt.llm.batch import BatchTerms, deliver
        from kopt.llm.progress import progress_shown
        from kopt.llm.retry import Patience

        limits = self.asking.llm.model_dump()
        patience = Patience(**{name: limits[name] for name in Patience.model_fields})
        if self.asking.delivery == "batch":
            terms = BatchTerms(**{name: limits[name] for name in BatchTerms.model_fields})
            return deliver(
                asked, table=self.table, store=self.store, ledger=ledger, folder=self.run / "batches", terms=terms,
                patience=patience,
            )  # fmt: skip
        with progress_shown(sys.stderr) as on_progress:
            return ask(
                asked, table=self.table, store=self.store, ledger=ledger, on_progress=on_progress,
                terms=Terms(concurrency=self.concurrency, patience=patience),
            )  # fmt: skip


def lacking_lines(asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> list[str]:
    """A line for each model that left requests without a reply, with the most frequent reason (not a spent budget)."""
    lines = []
    for model in dict.fromkeys(request.model for request in asked.values()):
        mine = [replies[label] for label, request in asked.items() if request.model == model]
        lacks = [one for one in mine if isinstance(one, Unanswered) and one.kind != NoReplyReason.BUDGET]
        if lacks:
            ((reason, _),) = Counter(f"{one.kind}: {one.detail}" for one in lacks).most_common(1)
            lines.append(f"{model} gave no reply to {len(lacks)} of {len(mine)} requests ({reason})")
    return lines


def asker_of(job: Job, asking: Asking | None, *, concurrency: int | None = None) -> Asker:
    """Make the asker of a job that asks language models.

    Args:
        job: its rule's input `models` is the run's part of the model table.
        asking: how replies come, from the settings of a rule that asks.
        concurrency: calls at the same time, fewer than the run allows.
    """
    assert asking is not None
    table = read_value(job.path("models"), ModelTable)
    return Asker(asking, table, job.store, job.path("run"), concurrency=concurrency)


def _noted(asked: Mapping[str, Request], replies: Mapping[str, Reply], ledger: Ledger) -> Mapping[str, Reply]:
    """The replies, each noted as known: a replay pays nothing, and can tell what they had cost."""
    for label, reply in replies.items():
        if not isinstance(reply, Unanswered):
            ledger.reuse(asked[label], label, reply.usage)
    return replies


def _usable(replies: Mapping[str, Reply]) -> Mapping[str, Reply]:
    missing = [r for r in replies.values() if isinstance(r, Unanswered) and r.kind in NEEDED]
    if missing:
        more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        raise NoReply(f"no reply ({missing[0].kind}): {missing[0].detail}{more}; nothing was written, run again")
    return replies
