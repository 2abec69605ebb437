"""Ask language models for a stage: take labelled requests, and return labelled replies, however the run gets them.

The stage interprets the replies.  A missing reply is an error here where the run cannot go on without it, and data
(`Unanswered`) where it costs only its own slot.  Modules that only asking needs are imported when a stage asks.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kopt.artifact import read_value
from kopt.errors import NoReply
from kopt.jobs.command import Job
from kopt.llm.reply import NoReplyReason, Reply, Unanswered
from kopt.llm.request import Message, NoReplyKey, Request, Schema
from kopt.llm.table import ModelTable
from kopt.model.asking import Asking
from kopt.prompts.sections import Prompt
from kopt.store import Store

if TYPE_CHECKING:
    from kopt.llm.ledger import Ledger
    from kopt.model.measurements import Measurements

FATAL = frozenset({NoReplyReason.MISSING, NoReplyReason.KEY, NoReplyReason.QUOTA})
"""Reasons that end the run, since they affect every slot; the user removes the reason and runs again."""

LEDGER = "ledger.jsonl"
"""Name of the ledger in the run's folder."""

LEAST_COUNTED = 0.6
"""Share of the estimated tokens of a prompt below which a server's count means that it cut the prompt."""

SLOT = re.compile(r"r\d+a\d+s\d+")
"""Label of a request for a slot's kernel; other labels count kernels by their place in a pool, which times decide."""

UNANSWERED = "unanswered.txt"
"""Name of the file in the run's folder that lists the requests without a reply, a digest a line."""


def asker_of(job: Job, asking: Asking | None, *, concurrency: int | None = None) -> Asker:
    """Make the asker of a job that asks language models.

    Args:
        job: the job; its rule's input `models` is the run's part of the model table.
        asking: where replies come from, and their limits, from the settings of a rule that asks models.
        concurrency: most concurrent calls; None: the run's own limit.
    """
    assert asking is not None
    table = read_value(job.path("models"), ModelTable)
    return Asker(asking, table, job.store, job.path("run"), concurrency=concurrency)


class Asker:
    """Ask the models of one run; all stages of a run share a ledger and a budget."""

    def __init__(
        self, asking: Asking, table: ModelTable, store: Store, run: Path, *, concurrency: int | None = None
    ) -> None:
        """Take the settings of asking.

        Args:
            asking: where replies come from, and what they may cost.
            table: the run's part of the model table.
            store: keeps the replies.
            run: the run's folder, which holds the ledger.
            concurrency: most concurrent calls; None: `asking.llm.concurrency`.
        """
        self.asking, self.table, self.store, self.run = asking, table, store, run
        self.recorded_as: dict[str, str] = {}
        """Digests of the recorded requests by those of the requests that were replayed in their place."""
        self.options = asking.llm.model_copy(update={"concurrency": concurrency or asking.llm.concurrency})

    def request(self, model: str, prompt: Prompt, sample: int = 0) -> Request:
        """Make the request that sends a prompt to a model."""
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
        """Return the reply to each labelled request; every label is in the result.

        Raises:
            NoReply: replies are pending in the exchange folder, were not recorded, or no key or credit is left.
        """
        replies = self._replies(asked) if asked else {}
        _check_fatal(replies)
        return replies

    def _replies(self, asked: Mapping[str, Request]) -> Mapping[str, Reply]:
        from kopt.llm.ledger import Budget, Ledger

        ledger = Ledger(self.run / LEDGER, Budget(usd=self.asking.budget_usd, calls=self.asking.budget_calls))
        if self.asking.replies in ("replay", "slots"):
            return self._replayed(asked, ledger)
        if self.asking.replies == "exchange":
            return self._exchanged(asked, ledger)
        replies = self._live(asked, ledger)
        self._record_unanswered(asked, replies)
        return replies

    def _replayed(self, asked: Mapping[str, Request], ledger: Ledger) -> Mapping[str, Reply]:
        """Replay the replies; the ledger notes what the recorded run paid for them, though a replay pays nothing."""
        from kopt.llm.ask import replay

        replies = replay(asked, store=self.store)
        if self.asking.by_label:
            replies |= self._replayed_by_label(asked, replies)
        elif self.asking.replies == "slots":
            replies |= self._replies_of_slots(asked, replies)
        for label, reply in replies.items():
            if not isinstance(reply, Unanswered):
                ledger.reuse(asked[label], label, reply.usage)
        return replies

    def _replayed_by_label(self, asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> dict[str, Reply]:
        """Return the recorded replies for labels whose own requests have none, and say on the terminal how many."""
        from kopt.jobs.recorded import recorded_with

        found = self._recorded(asked, replies)
        self.recorded_as |= {asked[label].digest: name for label, (name, _) in found.items()}
        self._say_how_many(found, asked, "in kopt's words", recorded_with(self._recording()))
        return {label: reply for label, (_, reply) in found.items()}

    def _replies_of_slots(self, asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> dict[str, Reply]:
        """Return the replies that slots had in the recording, and keep each for the prompt that it answers now."""
        from kopt.llm.ask import keep_reply

        found = self._recorded({label: one for label, one in asked.items() if SLOT.fullmatch(label)}, replies)
        for label, (_, reply) in found.items():
            keep_reply(asked[label], reply, self.store)
        self._say_how_many(found, asked, "in what was measured or in kopt's words")
        return {label: reply for label, (_, reply) in found.items()}

    def _recording(self) -> Measurements:
        from kopt.jobs.recorded import measurements_in

        return measurements_in(self.store)

    def _recorded(self, asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> dict[str, tuple[str, Reply]]:
        """Return request and reply of the recording for each label whose own request has no reply."""
        from kopt.llm.ask import recorded_reply

        requests, found = self._recording().requests, dict[str, tuple[str, Reply]]()
        for label, request in asked.items():
            reply = replies[label]
            names = requests.get(label, ())[len(request.messages) // 2 :]
            if isinstance(reply, Unanswered) and reply.reason is NoReplyReason.MISSING and names:
                known = recorded_reply(names[0], self.store)
                if known is not None:
                    found[label] = names[0], known
        return found

    @staticmethod
    def _say_how_many(found: Mapping[str, object], asked: Mapping[str, Request], wherein: str, rest: str = "") -> None:
        if found:
            print(
                f"kopt: note: {len(found)} of {len(asked)} prompts differ from those that were recorded, {wherein} "
                f"({', '.join(sorted(found)[:3])}): the recorded replies of these slots stand{rest}",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def _exchanged(self, asked: Mapping[str, Request], ledger: Ledger) -> Mapping[str, Reply]:
        from kopt.llm.exchange import Pending, exchange

        folder = Path(self.asking.exchange)
        replies = exchange(asked, table=self.table, store=self.store, ledger=ledger, folder=folder)
        if isinstance(replies, Pending):
            raise NoReply(replies.message)
        return replies

    def _live(self, asked: Mapping[str, Request], ledger: Ledger) -> Mapping[str, Reply]:
        from kopt.llm.ask import ask
        from kopt.llm.batch import ask_by_batch
        from kopt.llm.progress import progress_shown

        if self.asking.delivery == "batch":
            return ask_by_batch(
                asked, table=self.table, store=self.store, ledger=ledger, folder=self.run / "batches",
                options=self.options,
            )  # fmt: skip
        with progress_shown(sys.stderr) as on_progress:
            return ask(
                asked, table=self.table, store=self.store, ledger=ledger, options=self.options,
                on_progress=on_progress,
            )  # fmt: skip

    def _record_unanswered(self, asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> None:
        """Store the reason of each missing reply, for replays, and print a note on the terminal."""
        unanswered = {
            asked[label].digest: reply
            for label, reply in replies.items()
            if isinstance(reply, Unanswered) and reply.reason not in FATAL
        }
        for request, reply in unanswered.items():
            self.store.shelf(Unanswered).put(NoReplyKey(request=request), reply)
        with (self.run / UNANSWERED).open("a") as file:
            file.writelines(f"{request}\n" for request in unanswered)
        for line in (*unanswered_lines(asked, replies), *cut_prompt_lines(asked, replies)):
            print(f"kopt: note: {line}", file=sys.stderr, flush=True)


def unanswered_lines(asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> list[str]:
    """Return a line for each model that left requests unanswered, with the most frequent reason.

    Requests that the budget left unanswered do not count.
    """
    lines = []
    for model in dict.fromkeys(request.model for request in asked.values()):
        model_replies = [replies[label] for label, request in asked.items() if request.model == model]
        reasons = [
            f"{reply.reason}: {reply.detail}"
            for reply in model_replies
            if isinstance(reply, Unanswered) and reply.reason != NoReplyReason.BUDGET
        ]
        if reasons:
            ((reason, _),) = Counter(reasons).most_common(1)
            lines.append(f"{model} gave no reply to {len(reasons)} of {len(model_replies)} requests ({reason})")
    return lines


def cut_prompt_lines(asked: Mapping[str, Request], replies: Mapping[str, Reply]) -> list[str]:
    """Return a line for each model whose server counted far fewer input tokens than the prompts can have."""
    from kopt.llm.outcome import tokens

    lines = []
    for model in dict.fromkeys(request.model for request in asked.values()):
        shares = [
            (counted / tokens(request.chars), counted, tokens(request.chars))
            for label, request in asked.items()
            if request.model == model and (counted := _counted_input(replies[label])) is not None
        ]
        if shares and min(shares)[0] < LEAST_COUNTED:
            _, counted, sent = min(shares)
            lines.append(
                f"{model}: its server counted {counted} input tokens where about {sent} were sent, so it cut the "
                "prompt: raise the context length of the server (Ollama: num_ctx, llama.cpp: --ctx-size, vLLM: "
                "--max-model-len)"
            )
    return lines


def _counted_input(reply: Reply) -> int | None:
    """Return the input tokens that a server counted; None where it counted none."""
    if isinstance(reply, Unanswered) or reply.usage.estimated:
        return None
    usage = reply.usage
    return usage.input + usage.cached_input + usage.cache_write or None


def _check_fatal(replies: Mapping[str, Reply]) -> None:
    """Refuse replies without which the run cannot go on.

    Raises:
        NoReply: names the first reason.
    """
    fatal = [reply for reply in replies.values() if isinstance(reply, Unanswered) and reply.reason in FATAL]
    if fatal:
        more = f" (and {len(fatal) - 1} more)" if fatal[1:] else ""
        raise NoReply(f"no reply ({fatal[0].reason}): {fatal[0].detail}{more}; nothing was written, run again")
