"""Send many requests to many models at once, and store every reply before any stage uses it.

A reply in the store is never asked for again, two equal requests are asked once, and one slow or failing call costs
its own slot only: while it waits for its next try, it does not count as a call in flight.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import Timeout

from kopt.llm.client import Clients
from kopt.llm.faults import Fault
from kopt.llm.ledger import Ledger, Reserved
from kopt.llm.packed import differences
from kopt.llm.progress import OnProgress, Progress
from kopt.llm.registry import caches_marked_prefix
from kopt.llm.reply import Answered, Kept, NoReplyReason, Reply, Unanswered, Usage
from kopt.llm.request import NoReplyKey, ReplyKey, Request, key_of
from kopt.llm.retry import wait_seconds
from kopt.llm.table import Model, ModelTable
from kopt.model.asking import CallOptions
from kopt.store import Shelf, Store

log = logging.getLogger(__name__)

LOCK_DIGITS = 16
"""Digits of a request's digest that name its lock, so that no two requests share one."""
LOCK_POLL_S = 0.2

CACHED_CHARS = 4000
"""Shorter prefixes are below every provider's minimum for prompt caching."""


def replies_of(store: Store) -> Shelf[Kept]:
    """Return the shelf of kept replies."""
    return store.shelf(Kept)


def ask(
    asked: Mapping[str, Request],
    *,
    table: ModelTable,
    store: Store,
    ledger: Ledger,
    options: CallOptions,
    on_progress: OnProgress | None = None,
) -> dict[str, Reply]:
    """Run `ask_all` for callers without an event loop."""
    job = ask_all(asked, table=table, store=store, ledger=ledger, options=options, on_progress=on_progress)
    return asyncio.run(job)


async def ask_all(
    asked: Mapping[str, Request],
    *,
    table: ModelTable,
    store: Store,
    ledger: Ledger,
    options: CallOptions,
    on_progress: OnProgress | None = None,
) -> dict[str, Reply]:
    """Return the reply to each labelled request, from the store or by a call; every label is in the result.

    Raises:
        ConfigError: a request names a model that the table does not have.
        StoreError: the store cannot be written; replies in it are kept.
    """
    shelf = replies_of(store)
    by_digest = {request.digest: request for request in asked.values()}
    ledger.recover(lambda digest: _stored(shelf, by_digest.get(digest)))
    async with Clients(options, options.concurrency) as clients:
        unknown = {request.model for request in by_digest.values() if shelf.get(key_of(request)) is None}
        clients.open(table.model(name) for name in sorted(unknown))
        asking = _Asking(asked, table, store, ledger, options, clients, on_progress or (lambda _: None))
        return await asking.all()


def _stored(shelf: Shelf[Kept], request: Request | None) -> tuple[str, Usage] | None:
    kept = shelf.get(key_of(request)) if request is not None else None
    return None if kept is None else (kept.status, kept.usage)


class _Asking:
    """Ask one round of requests: its limits, its calls in flight, its counts."""

    def __init__(
        self,
        asked: Mapping[str, Request],
        table: ModelTable,
        store: Store,
        ledger: Ledger,
        options: CallOptions,
        clients: Clients,
        on_progress: OnProgress,
    ) -> None:
        self.store, self.shelf = store, replies_of(store)
        self.ledger, self.options, self.clients = ledger, options, clients
        self.labels = _by_request(asked)
        self.requests = {request.digest: request for request in asked.values()}
        self.order = {label: request.digest for label, request in asked.items()}
        self.entries = {request.model: table.model(request.model) for request in asked.values()}
        self.gates = {name: asyncio.Semaphore(entry.concurrency) for name, entry in self.entries.items()}
        self.gate = asyncio.Semaphore(options.concurrency)
        self.in_flight = self.ended = 0
        """Calls of this round with a reservation, and those that have ended."""
        self.call_ended = asyncio.Condition()
        self.asked_elsewhere: set[str] = set()
        """Requests that another run, which shares the store, asked while this one waited."""
        self.rng = random.Random()
        self.progress = Progress(total=len(asked))
        self.on_progress = on_progress
        self.leaders = _leaders(self.requests, self.entries)

    async def all(self) -> dict[str, Reply]:
        """Ask each request once and hand its reply to all of its labels."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {digest: group.create_task(self._reply(digest)) for digest in self.requests}
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        replies = {digest: task.result() for digest, task in tasks.items()}
        return {label: replies[digest] for label, digest in self.order.items()}

    async def _reply(self, digest: str) -> Reply:
        request, labels = self.requests[digest], self.labels[digest]
        stored = self.shelf.get(key_of(request))
        if stored is not None:
            for label in labels:
                self.ledger.reuse(request, label, stored.usage)
            self._begun(digest)
            self._count(reused=len(labels))
            return stored
        await self._wait_for_leader(digest)
        try:
            reply = await self._try(request, labels[0])
        finally:
            self._begun(digest)
        if digest in self.asked_elsewhere:
            self._count(reused=len(labels))
            return reply
        dollars = 0.0 if isinstance(reply, Unanswered) else reply.usage.dollars
        self._count(**{_column(reply): len(labels)}, dollars=dollars)
        return reply

    @asynccontextmanager
    async def _alone(self, request: Request) -> AsyncIterator[None]:
        """Wait until no other run that shares the store asks this request; hold others off inside the block."""
        key = key_of(request)
        lock = self.store.lock(key.kind, key.digest(), digits=LOCK_DIGITS)
        while True:
            try:
                lock.acquire(blocking=False)
                break
            except Timeout:
                await asyncio.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    async def _try(self, request: Request, label: str) -> Reply:
        """Call until there is a reply, a fault that no retry can fix, or no try or time left."""
        options, start, fault = self.options, time.monotonic(), None
        for tries in range(1, options.max_tries + 1):
            async with self.gates[request.model], self.gate, self._alone(request):
                stored = self.shelf.get(key_of(request))
                if stored is not None:
                    self.asked_elsewhere.add(request.digest)
                    self.ledger.reuse(request, label, stored.usage)
                    return stored
                outcome = await self._call(request, label, fault)
            if not isinstance(outcome, Fault):
                return outcome
            fault = outcome
            wait = wait_seconds(options, tries, outcome.after, self.rng)
            over = time.monotonic() - start + wait > options.give_up_seconds
            if not outcome.retry or over or tries == options.max_tries:
                return outcome.unanswered(tries)
            log.info("%s (%s): %s; trying again in %.1f s", label, request.model, outcome.detail, wait)
            self._count(retries=1)
            await asyncio.sleep(wait)
        raise AssertionError("max_tries is at least 1")

    async def _call(self, request: Request, label: str, before: Fault | None) -> Reply | Fault:
        """Reserve, call, keep, settle: in this order, so that a kill at any time loses only the calls in flight.

        Args:
            request: the request.
            label: its purpose.
            before: the fault of the try before; None for the first try.
        """
        reserved = await self._reserve(request, label)
        if reserved is None:
            caps = self.ledger.budget
            detail = f"the next call could pass the run's budget (budget_usd {caps.usd}, budget_calls {caps.calls})"
            detail += f"; the call before it brought no reply ({before.reason}: {before.detail})" if before else ""
            return Unanswered(reason=NoReplyReason.BUDGET, detail=detail)
        entry, start = self.entries[request.model], time.monotonic()
        try:
            outcome = await self.clients.send(request, entry, lambda: self._begun(request.digest))
            seconds = time.monotonic() - start
            if isinstance(outcome, Fault):
                lost = _charge(outcome, reserved, entry)
                self.ledger.release(reserved, outcome.reason, billed=outcome.billed, dollars=lost, seconds=seconds)
                return outcome
            kept = await asyncio.to_thread(self.shelf.put, key_of(request), outcome)
            saved = entry.price.saved(outcome.usage)
            self.ledger.settle(reserved, outcome.status, outcome.usage, saved=saved, seconds=seconds)
            return kept
        finally:
            await self._note_end()

    async def _reserve(self, request: Request, label: str) -> Reserved | None:
        """Reserve the worst case of a call; where it does not fit, wait for calls in flight, which may cost less."""
        price = self.entries[request.model].price
        while True:
            before = self.ended
            reserved = self.ledger.reserve(request, label, price)
            if reserved is not None:
                self.in_flight += 1
                return reserved
            if self.in_flight == 0:
                return None
            async with self.call_ended:
                while self.ended == before:
                    await self.call_ended.wait()

    async def _note_end(self) -> None:
        self.in_flight -= 1
        self.ended += 1
        async with self.call_ended:
            self.call_ended.notify_all()

    async def _wait_for_leader(self, digest: str) -> None:
        """Wait until the reply to the first request with this prefix begins: the prefix is cached then."""
        leader, begun = self.leaders.get(digest, (digest, None))
        if begun is not None and leader != digest:
            await begun.wait()

    def _begun(self, digest: str) -> None:
        """Start the siblings of a leader when the leader's reply has begun, or will not come."""
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
    """Return, for requests whose prefix a provider caches, the first request with that prefix, and its beginning."""
    first: dict[tuple[str, str, str], tuple[str, asyncio.Event]] = {}
    leaders = {}
    for digest, request in requests.items():
        prefix = (request.model, request.system, request.messages[0].stable)
        if sum(map(len, prefix)) >= CACHED_CHARS and caches_marked_prefix(entries[request.model]):
            leaders[digest] = first.setdefault(prefix, (digest, asyncio.Event()))
    return leaders


def _column(reply: Reply) -> str:
    """Return the field of `Progress` that counts a reply."""
    if isinstance(reply, Unanswered):
        return "unanswered"
    return "answered" if isinstance(reply, Answered) else "other"


def _charge(fault: Fault, reserved: Reserved, entry: Model) -> float:
    """Return what a provider may charge for a call without a reply, US dollars: its worst case, unless its body says.

    The part of a reply that arrived says little: a model also makes reasoning that it does not show, and a server may
    go on with a reply that nobody reads any longer.
    """
    if not fault.billed:
        return 0.0
    return reserved.dollars if fault.usage is None else entry.price.dollars(fault.usage)


def replay(asked: Mapping[str, Request], *, store: Store) -> dict[str, Reply]:
    """Return the recorded reply to each labelled request, or the recorded reason why there was none.

    No connection is opened.  Where nothing is recorded, the reply is `Unanswered` and names the request, and how the
    versions of packages here differ from those of an unpacked run.
    """
    shelf = replies_of(store)
    return {label: _recorded(label, request, shelf, store) for label, request in asked.items()}


def recorded_reply(name: str, store: Store) -> Reply | None:
    """Return the recorded reply to the request with a digest, or the recorded reason why there was none."""
    return replies_of(store).named(ReplyKey, name) or store.shelf(Unanswered).get(NoReplyKey(request=name))


def keep_reply(request: Request, reply: Reply, store: Store) -> None:
    """Keep a recorded reply, or the recorded reason why there was none, as that to another request."""
    if isinstance(reply, Unanswered):
        store.shelf(Unanswered).put(NoReplyKey(request=request.digest), reply)
    else:
        replies_of(store).put(key_of(request), reply)


def _recorded(label: str, request: Request, shelf: Shelf[Kept], store: Store) -> Reply:
    reply = shelf.get(key_of(request)) or store.shelf(Unanswered).get(NoReplyKey(request=request.digest))
    if reply is not None:
        return reply
    detail = (
        f"{label}: no recorded reply to request {request.digest} (model {request.model}, template {request.template}, "
        f"sample {request.sample}) in {store.root}"
    )
    if versions := differences(store):
        detail += f"; the replies unpacked there were made with {versions}, on which prompts may depend"
    return Unanswered(reason=NoReplyReason.MISSING, detail=detail)
