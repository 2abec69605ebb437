"""Ask many models many things at once, and keep every reply before anyone uses it.

A known reply is never asked again, two equal requests are asked once, and one slow or failing call costs its own slot
only: its retries wait without holding a place among the calls in flight.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from kopt.llm.client import Clients
from kopt.llm.ledger import Ledger, Reserved
from kopt.llm.packed import differences
from kopt.llm.progress import OnProgress, Progress
from kopt.llm.reply import Answered, Kept, NoReplyReason, Reply, Unanswered, Usage
from kopt.llm.request import NoReplyKey, Request, key_of
from kopt.llm.retry import Fault, Patience
from kopt.llm.table import MILLION, Model, ModelTable
from kopt.llm.wire import tokens
from kopt.model.base import Value
from kopt.store import Shelf, Store

log = logging.getLogger(__name__)

CACHED_CHARS = 4000
"""Shorter prefixes are below every provider's minimum for prompt caching."""


class Terms(Value):
    """How a round is asked."""

    concurrency: int = Field(default=64, ge=1, le=1024)
    """Calls at the same time, over all models."""
    patience: Patience = Patience()


def replies_of(store: Store) -> Shelf[Any]:
    """The shelf of kept replies."""
    return store.shelf(Kept)


def ask(
    asked: Mapping[str, Request],
    *,
    table: ModelTable,
    store: Store,
    ledger: Ledger,
    terms: Terms,
    on_progress: OnProgress | None = None,
) -> dict[str, Reply]:
    """`ask_all` for callers without an event loop."""
    job = ask_all(asked, table=table, store=store, ledger=ledger, terms=terms, on_progress=on_progress)
    return asyncio.run(job)


async def ask_all(
    asked: Mapping[str, Request],
    *,
    table: ModelTable,
    store: Store,
    ledger: Ledger,
    terms: Terms,
    on_progress: OnProgress | None = None,
) -> dict[str, Reply]:
    """The reply to each labelled request, live; every label is in the result.

    Raises:
        ConfigError: a request names a model that the table does not have.
        StoreError: the store cannot be written; replies in it are kept.
    """
    shelf = replies_of(store)
    by_digest = {request.digest: request for request in asked.values()}
    ledger.recover(lambda digest: _known(shelf, by_digest.get(digest)))
    async with Clients(terms.patience, terms.concurrency) as clients:
        unknown = {request.model for request in by_digest.values() if shelf.get(key_of(request)) is None}
        clients.open(table.model(name) for name in sorted(unknown))
        desk = _Desk(asked, table, shelf, ledger, terms, clients, on_progress or (lambda _: None))
        return await desk.all()


def _known(shelf: Shelf[Any], request: Request | None) -> tuple[str, Usage] | None:
    kept = shelf.get(key_of(request)) if request is not None else None
    return None if kept is None else (kept.status, kept.usage)


class _Desk:
    """One round of asking: its limits, its calls in flight, its counts."""

    def __init__(
        self,
        asked: Mapping[str, Request],
        table: ModelTable,
        shelf: Shelf[Any],
        ledger: Ledger,
        terms: Terms,
        clients: Clients,
        on_progress: OnProgress,
    ) -> None:
        self.shelf, self.ledger, self.terms, self.clients = shelf, ledger, terms, clients
        self.labels = _by_request(asked)
        self.requests = {request.digest: request for request in asked.values()}
        self.order = {label: request.digest for label, request in asked.items()}
        self.entries = {request.model: table.model(request.model) for request in asked.values()}
        self.gates = {name: asyncio.Semaphore(entry.concurrency) for name, entry in self.entries.items()}
        self.gate = asyncio.Semaphore(terms.concurrency)
        self.paying = self.finished = 0
        self.settled = asyncio.Condition()
        self.rng = random.Random()
        self.progress = Progress(total=len(asked))
        self.on_progress = on_progress
        self.leaders = _leaders(self.requests, self.entries)

    async def all(self) -> dict[str, Reply]:
        """Ask each request once and hand its reply to all of its labels."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {digest: group.create_task(self._one(digest)) for digest in self.requests}
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        replies = {digest: task.result() for digest, task in tasks.items()}
        return {label: replies[digest] for label, digest in self.order.items()}

    async def _one(self, digest: str) -> Reply:
        request, labels = self.requests[digest], self.labels[digest]
        known = self.shelf.get(key_of(request))
        if known is not None:
            for label in labels:
                self.ledger.reuse(request, label, known.usage)
            self._begun(digest)
            self._count(reused=len(labels))
            return known  # type: ignore[no-any-return]
        await self._lead(digest)
        try:
            reply = await self._try(request, labels[0])
        finally:
            self._begun(digest)
        self._count(
            **{_column(reply): len(labels)}, dollars=0.0 if isinstance(reply, Unanswered) else reply.usage.dollars
        )
        return reply

    async def _try(self, request: Request, label: str) -> Reply:
        """Call until there is a reply, a fault that no retry mends, or no patience left."""
        patience, start = self.terms.patience, time.monotonic()
        for tries in range(1, patience.max_tries + 1):
            async with self.gates[request.model], self.gate:
                outcome = await self._call(request, label)
            if not isinstance(outcome, Fault):
                return outcome
            wait = patience.wait(tries, outcome.after, self.rng)
            over = time.monotonic() - start + wait > patience.give_up_seconds
            if not outcome.retry or over or tries == patience.max_tries:
                return outcome.unanswered(tries)
            log.info("%s (%s): %s; trying again in %.1f s", label, request.model, outcome.detail, wait)
            self._count(retries=1)
            await asyncio.sleep(wait)
        raise AssertionError("max_tries is at least 1")

    async def _call(self, request: Request, label: str) -> Reply | Fault:
        """Reserve, call, keep, settle: in this order, so that a kill at any time loses only what is in flight."""
        reserved = await self._reserve(request, label)
        if reserved is None:
            caps = self.ledger.budget
            detail = f"the next call could pass the run's budget (budget_usd {caps.usd}, budget_calls {caps.calls})"
            return Unanswered(kind=NoReplyReason.BUDGET, detail=detail)
        entry, start = self.entries[request.model], time.monotonic()
        try:
            outcome = await self.clients.send(request, entry, lambda: self._begun(request.digest))
            seconds = time.monotonic() - start
            if isinstance(outcome, Fault):
                lost = _lost(outcome, request, entry)
                self.ledger.release(reserved, outcome.lack, billed=outcome.billed, dollars=lost, seconds=seconds)
                return outcome
            kept: Reply = await asyncio.to_thread(self.shelf.put, key_of(request), outcome)
            saved = entry.price.saved(outcome.usage)
            self.ledger.settle(reserved, outcome.status, outcome.usage, saved=saved, seconds=seconds)
            return kept
        finally:
            await self._paid()

    async def _reserve(self, request: Request, label: str) -> Reserved | None:
        """A reservation; while own calls are in flight, whose worst case may not come true, it is waited for."""
        price = self.entries[request.model].price
        while True:
            before = self.finished
            reserved = self.ledger.reserve(request, label, price)
            if reserved is not None:
                self.paying += 1
                return reserved
            if self.paying == 0:
                return None
            async with self.settled:
                while self.finished == before:
                    await self.settled.wait()

    async def _paid(self) -> None:
        self.paying -= 1
        self.finished += 1
        async with self.settled:
            self.settled.notify_all()

    async def _lead(self, digest: str) -> None:
        """Wait until the first of the siblings with this prefix has begun to be answered: its prefix is cached then."""
        leader, begun = self.leaders.get(digest, (digest, None))
        if begun is not None and leader != digest:
            await begun.wait()

    def _begun(self, digest: str) -> None:
        leader, begun = self.leaders.get(digest, ("", None))
        if begun is not None and leader == digest:
            begun.set()

    def _count(self, **more: float) -> None:
        now = self.progress.model_dump()
        self.progress = Progress(**now | {name: now[name] + value for name, value in more.items()})
        self.on_progress(self.progress)


def _by_request(asked: Mapping[str, Request]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for label, request in asked.items():
        labels.setdefault(request.digest, []).append(label)
    return labels


def _leaders(requests: Mapping[str, Request], entries: Mapping[str, Model]) -> dict[str, tuple[str, asyncio.Event]]:
    """For requests whose prefix a provider would cache: the first request with that prefix, and its beginning."""
    first: dict[tuple[str, str, str], tuple[str, asyncio.Event]] = {}
    found = {}
    for digest, request in requests.items():
        entry, prefix = entries[request.model], (request.model, request.system, request.messages[0].stable)
        if entry.provider == "anthropic" and entry.cache_prefix and sum(map(len, prefix)) >= CACHED_CHARS:
            found[digest] = first.setdefault(prefix, (digest, asyncio.Event()))
    return found


def _column(reply: Reply) -> str:
    if isinstance(reply, Unanswered):
        return "unanswered"
    return "answered" if isinstance(reply, Answered) else "other"


def _lost(fault: Fault, request: Request, entry: Model) -> float:
    """What a provider may charge for a call without a reply: the input, and the output that had arrived."""
    if not fault.billed:
        return 0.0
    given, made = tokens(request.chars), tokens(fault.received)
    if not entry.stream and fault.lack is NoReplyReason.DEADLINE:
        made = request.max_output_tokens
    return (given * entry.price.input + made * entry.price.output) / MILLION


def replay(asked: Mapping[str, Request], *, store: Store) -> dict[str, Reply]:
    """The recorded reply to each labelled request, or the recorded reason why there was none.

    No connection is opened, and what is missing is named, with how the versions here differ from an unpacked run's.
    """
    shelf = replies_of(store)
    return {label: _replayed(label, request, shelf, store) for label, request in asked.items()}


def _replayed(label: str, request: Request, shelf: Shelf[Any], store: Store) -> Reply:
    kept: Reply | None = shelf.get(key_of(request)) or store.shelf(Unanswered).get(NoReplyKey(request=request.digest))
    if kept is not None:
        return kept
    detail = (
        f"{label}: no recorded reply to request {request.digest} (model {request.model}, template {request.template}, "
        f"sample {request.sample}) in {store.root}"
    )
    if unlike := differences(store):
        detail += f"; the replies unpacked there were made with {unlike}, on which prompts may depend"
    return Unanswered(kind=NoReplyReason.MISSING, detail=detail)
