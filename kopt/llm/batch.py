"""Ask a round of requests through the providers' batch APIs: half the price, and replies within hours.

A batch's name is written into the run's folder as soon as the provider gives it, so that a killed run collects its
batches instead of paying for new ones.  Only a kill between the two loses a batch: it is paid and not found.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from kopt.artifact import digest, read_value, write_value
from kopt.errors import KoptError
from kopt.llm.ask import replies_of
from kopt.llm.client import Clients
from kopt.llm.faults import Fault
from kopt.llm.ledger import Ledger, Reserved
from kopt.llm.outcome import most_usage, outcome
from kopt.llm.provider import Connection, Failed, Json
from kopt.llm.registry import full_body, provider_named
from kopt.llm.reply import NoReplyReason, Reply, Unanswered, Usage, encodable
from kopt.llm.request import Request, key_of
from kopt.llm.table import ModelTable
from kopt.model.asking import CallOptions
from kopt.model.base import Value
from kopt.store import Store

log = logging.getLogger(__name__)

CONNECTIONS = 8
"""Connections to one server; a batch needs few."""


class ProviderBatch(Value):
    """A batch that a provider works on, as the run's folder remembers it."""

    id: str
    """The provider's name of the batch."""
    model: str
    requests: tuple[str, ...]
    """Digests of the requests in the batch."""


def ask_by_batch(
    asked: Mapping[str, Request],
    *,
    table: ModelTable,
    store: Store,
    ledger: Ledger,
    folder: Path,
    options: CallOptions,
) -> dict[str, Reply]:
    """Return the reply to each labelled request, from the store or through batches; every label is in the result.

    Args:
        asked: requests by label.
        table: has the requests' models.
        store: keeps replies.
        ledger: the run's ledger, with its caps.
        folder: the folder in which the run records its batches.
        options: how often batches are polled and how long the run waits for them.

    Raises:
        ConfigError: a request names a model that the table does not have.
        StoreError: the store cannot be written.
    """
    return asyncio.run(_Round(asked, table, store, ledger, folder, options).all())


class _Round:
    """Ask one round by batch."""

    def __init__(
        self,
        asked: Mapping[str, Request],
        table: ModelTable,
        store: Store,
        ledger: Ledger,
        folder: Path,
        options: CallOptions,
    ) -> None:
        self.asked, self.table, self.ledger, self.folder, self.options = asked, table, ledger, folder, options
        self.shelf = replies_of(store)
        self.requests = {request.digest: request for request in asked.values()}
        self.labels = {request.digest: label for label, request in reversed(list(asked.items()))}
        self.unanswered: dict[str, Unanswered] = {}
        """Requests that got no reply, by digest; the replies to all others are in the store."""
        self.reserved: dict[str, Reserved] = {}
        """Reservations for requests that are in no batch yet, by request."""

    async def all(self) -> dict[str, Reply]:
        """Submit the requests that neither store nor batches hold, wait for all batches, and return the replies."""
        async with Clients(self.options, CONNECTIONS) as clients:
            models = {request.model for digest, request in self.requests.items() if not self._is_stored(digest)}
            await asyncio.gather(*(self._ask_model(name, clients) for name in sorted(models)))
        return {label: self._reply(request) for label, request in self.asked.items()}

    def _is_stored(self, name: str) -> bool:
        return self.shelf.get(key_of(self.requests[name])) is not None

    def _reply(self, request: Request) -> Reply:
        missing = Unanswered(reason=NoReplyReason.SERVER, detail="its batch brought no reply to it", tries=1)
        return self.shelf.get(key_of(request)) or self.unanswered.get(request.digest, missing)

    async def _ask_model(self, name: str, clients: Clients) -> None:
        """Submit and collect the batches of one model; a failure, of whatever kind, is this model's alone."""
        entry = self.table.model(name)
        try:
            connection = clients.connection(entry)
            if connection is None:
                self._give_up(name, NoReplyReason.KEY, f"{entry.key_variable} is not set")
            elif not provider_named(entry.provider).has_batches:
                detail = f"provider {entry.provider} has no batch API: use delivery=direct"
                self._give_up(name, NoReplyReason.REJECTED, detail)
            else:
                await self._batches(name, connection)
        except KoptError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a server or an SDK does costs this model only
            fault = clients.fault(error, entry)
            self._give_up(name, fault.reason, fault.detail)
            self._release(name, fault)

    async def _batches(self, model: str, connection: Connection) -> None:
        """Submit a batch of the requests that are in none, and wait for this batch and for those of earlier runs."""
        files = [path for path in sorted(self.folder.glob("batch-*.json")) if self._is_needed(path, model)]
        batches = [read_value(path, ProviderBatch) for path in files]
        submitted = {request for batch in batches for request in batch.requests}
        wanted = [name for name, request in self.requests.items() if request.model == model and name not in submitted]
        affordable = [name for name in wanted if not self._is_stored(name) and self._reserve(name)]
        if affordable:
            batches.append(await self._submit(model, affordable, connection))
        for batch in batches:
            await self._collect(batch, connection)

    def _is_needed(self, path: Path, model: str) -> bool:
        """Return whether a recorded batch of this model has a reply that this round lacks."""
        batch = read_value(path, ProviderBatch)
        return batch.model == model and any(n in self.requests and not self._is_stored(n) for n in batch.requests)

    def _give_up(self, model: str, reason: NoReplyReason, detail: str) -> None:
        for name, request in self.requests.items():
            if request.model == model:
                self.unanswered.setdefault(name, Unanswered(reason=reason, detail=detail, tries=1))

    def _release(self, model: str, fault: Fault) -> None:
        """Free the reservation of a batch that was not submitted; a batch that may have been keeps its worst case."""
        for call in self.reserved.values():
            if call.model == model:
                dollars = call.dollars if fault.billed else 0
                self.ledger.release(call, fault.reason, billed=fault.billed, dollars=dollars)

    def _reserve(self, name: str) -> bool:
        """Reserve the worst case of one request; False when it could pass a cap."""
        request = self.requests[name]
        reserved = self.ledger.reserve(request, self.labels[name], self.table.model(request.model).price)
        if reserved is None:
            detail = "the batch could pass the run's budget"
            self.unanswered[name] = Unanswered(reason=NoReplyReason.BUDGET, detail=detail)
            return False
        self.reserved[name] = reserved
        return True

    async def _submit(self, model: str, names: list[str], connection: Connection) -> ProviderBatch:
        entry = self.table.model(model)
        provider = provider_named(entry.provider)
        lines = [provider.batch_line(name, full_body(self.requests[name], entry)) for name in names]
        batch = ProviderBatch(id=await connection.create_batch(lines), model=model, requests=tuple(names))
        write_value(self._file(batch), batch)
        self.reserved = {name: call for name, call in self.reserved.items() if name not in names}
        log.info("%s: %d requests in batch %s", model, len(names), batch.id)
        return batch

    async def _collect(self, batch: ProviderBatch, connection: Connection) -> None:
        """Poll until the batch has ended or the wait is over, then keep its replies."""
        end = time.monotonic() + self.options.wait_seconds
        while not await connection.has_ended(batch.id):
            if time.monotonic() > end:
                detail = f"batch {batch.id} has not ended; a later run collects it"
                self._give_up(batch.model, NoReplyReason.DEADLINE, detail)
                return
            await asyncio.sleep(self.options.poll_seconds)
        async for line in connection.batch_output(batch.id):
            self._keep(line, batch)
        self._close(batch)

    def _keep(self, line: Json, batch: ProviderBatch) -> None:
        """Keep one line of output; a request whose line holds no reply is asked again by a later run."""
        name = line.get("custom_id") if isinstance(line, dict) else None
        if name not in self.requests:
            return
        request, entry = self.requests[name], self.table.model(batch.model)
        provider, body = provider_named(entry.provider), None
        try:
            _, body = provider.read_batch_line(line)
            reply = outcome(body, request, entry, batch=True)
        except (ValueError, KeyError, TypeError, AttributeError, Failed) as error:
            detail = encodable(f"its batch failed it: {error}")
            self.unanswered[name] = Unanswered(reason=NoReplyReason.SERVER, detail=detail, tries=1)
            if body is not None:
                self._charge(name, provider.usage_in(body))
            return
        kept = self.shelf.put(key_of(request), reply)
        for call in self.ledger.outstanding():
            if call.request == name:
                saved = entry.price.saved(kept.usage) * entry.price.batch_factor
                self.ledger.settle(call, kept.status, kept.usage, saved=saved)

    def _charge(self, name: str, usage: Usage | None) -> None:
        """Charge a body that holds no reply at what it reports, or else at the most that it can cost."""
        request = self.requests[name]
        entry = self.table.model(request.model)
        dollars = most_usage(request, entry, batch=True).dollars
        if usage is not None:
            dollars = entry.price.dollars(usage, batch=True)
        for call in self.ledger.outstanding():
            if call.request == name:
                self.ledger.release(call, NoReplyReason.PROTOCOL, billed=True, dollars=dollars)

    def _close(self, batch: ProviderBatch) -> None:
        """Forget an ended batch and free its unused reservations, so that a later run may ask for the rest."""
        for call in self.ledger.outstanding():
            if call.request in batch.requests:
                self.ledger.release(call, NoReplyReason.SERVER, billed=False, dollars=0.0)
        self._file(batch).unlink(missing_ok=True)

    def _file(self, batch: ProviderBatch) -> Path:
        return self.folder / f"batch-{digest(batch)[:16]}.json"
