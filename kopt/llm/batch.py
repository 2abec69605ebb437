"""Deliver a round through the providers' batch APIs: half the price, and replies within hours.

A batch's name is written into the run's folder as soon as the provider gives it, so that a killed run takes up its
batches again instead of paying for new ones.  Only a kill between the two loses a batch: it is paid and not found.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from kopt.artifact import digest, read_value, write_value
from kopt.errors import KoptError
from kopt.llm import exchange, wire
from kopt.llm.ask import replies_of
from kopt.llm.client import Clients
from kopt.llm.ledger import Ledger, Reserved
from kopt.llm.reply import NoReplyReason, Reply, Unanswered
from kopt.llm.request import Request, key_of
from kopt.llm.retry import Fault, Patience
from kopt.llm.table import ModelTable
from kopt.model.base import Value
from kopt.store import Store

log = logging.getLogger(__name__)

ENDED = frozenset({"completed", "expired", "cancelled", "failed", "ended"})
"""States after which a batch brings nothing more; a batch that was cut short may have brought a part."""


class ProviderBatch(Value):
    """A batch that a provider works on, as the run's folder remembers it."""

    id: str
    """The provider's name of it."""
    model: str
    requests: tuple[str, ...]
    """Digests of the requests in it."""


class BatchTerms(Value):
    """How long batches are waited for."""

    poll_seconds: float = Field(default=60.0, gt=0)
    """Time between two looks at a batch, s."""
    wait_seconds: float = Field(default=90_000.0, gt=0)
    """Time after which a round is given up; its batches are taken up by a later run, s."""


def deliver(
    asked: Mapping[str, Request],
    *,
    table: ModelTable,
    store: Store,
    ledger: Ledger,
    folder: Path,
    terms: BatchTerms,
    patience: Patience,
) -> dict[str, Reply]:
    """The reply to each labelled request, through batches; every label is in the result.

    Args:
        folder: where the run remembers its batches.

    Raises:
        ConfigError: a request names a model that the table does not have.
        StoreError: the store cannot be written.
    """
    return asyncio.run(_Delivery(asked, table, store, ledger, folder, terms).all(patience))


class _Delivery:
    """One round by batch: what is asked, what is known, what is lacking."""

    def __init__(
        self,
        asked: Mapping[str, Request],
        table: ModelTable,
        store: Store,
        ledger: Ledger,
        folder: Path,
        terms: BatchTerms,
    ) -> None:
        self.asked, self.table, self.ledger, self.folder, self.terms = asked, table, ledger, folder, terms
        self.shelf = replies_of(store)
        self.requests = {request.digest: request for request in asked.values()}
        self.labels = {request.digest: label for label, request in reversed(list(asked.items()))}
        self.lacking: dict[str, Unanswered] = {}
        self.reserved: dict[str, Reserved] = {}

    async def all(self, patience: Patience) -> dict[str, Reply]:
        """Submit what is not known and in no batch yet, wait for all batches, and hand out the replies."""
        async with Clients(patience, 8) as clients:
            models = {request.model for digest, request in self.requests.items() if not self._known(digest)}
            await asyncio.gather(*(self._model(name, clients) for name in sorted(models)))
        return {label: self._reply(request) for label, request in self.asked.items()}

    def _known(self, name: str) -> bool:
        return self.shelf.get(key_of(self.requests[name])) is not None

    def _reply(self, request: Request) -> Reply:
        kept: Reply | None = self.shelf.get(key_of(request))
        missing = Unanswered(kind=NoReplyReason.SERVER, detail="its batch brought no reply to it", tries=1)
        return kept or self.lacking.get(request.digest, missing)

    async def _model(self, name: str, clients: Clients) -> None:
        """All batches of one model; whatever fails is this model's alone."""
        try:
            client = clients.of(self.table.model(name))
            if client is None:
                self._lack(name, NoReplyReason.KEY, f"{self.table.model(name).key_variable} is not set")
                return
            known = [path for path in sorted(self.folder.glob("batch-*.json")) if self._waits(path, name)]
            batches = [read_value(path, ProviderBatch) for path in known]
            begun = {request for batch in batches for request in batch.requests}
            rest = [n for n, r in self.requests.items() if r.model == name and n not in begun and not self._known(n)]
            if fits := [n for n in rest if self._reserve(n)]:
                batches.append(await self._submit(name, fits, client))
            for batch in batches:
                await self._await(batch, client)
        except KoptError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a server or an SDK does costs this model only
            fault = clients.fault(error, self.table.model(name))
            self._lack(name, fault.lack, fault.detail)
            self._release(name, fault)

    def _waits(self, path: Path, model: str) -> bool:
        batch = read_value(path, ProviderBatch)
        return batch.model == model and any(n in self.requests and not self._known(n) for n in batch.requests)

    def _lack(self, model: str, lack: NoReplyReason, detail: str) -> None:
        for name, request in self.requests.items():
            if request.model == model:
                self.lacking.setdefault(name, Unanswered(kind=lack, detail=detail, tries=1))

    def _release(self, model: str, fault: Fault) -> None:
        """Free what was reserved for a batch that could not be submitted; what may have been, keeps its worst case."""
        for call in self.reserved.values():
            if call.model == model:
                self.ledger.release(call, fault.lack, billed=fault.billed, dollars=call.dollars if fault.billed else 0)

    def _reserve(self, name: str) -> bool:
        request = self.requests[name]
        reserved = self.ledger.reserve(request, self.labels[name], self.table.model(request.model).price)
        if reserved is None:
            self.lacking[name] = Unanswered(kind=NoReplyReason.BUDGET, detail="the batch could pass the run's budget")
            return False
        self.reserved[name] = reserved
        return True

    async def _submit(self, model: str, names: list[str], client: Any) -> ProviderBatch:
        entry = self.table.model(model)
        if entry.provider == "anthropic":
            items = [exchange.anthropic_line(n, self.requests[n], entry) for n in names]
            made = await client.messages.batches.create(requests=items)
        else:
            lines = exchange.lines(exchange.openai_line(n, self.requests[n], entry) for n in names)
            file = await client.files.create(file=("requests.jsonl", lines.encode()), purpose="batch")
            made = await client.batches.create(
                input_file_id=file.id, endpoint=wire.PATHS[entry.provider], completion_window="24h"
            )
        batch = ProviderBatch(id=made.id, model=model, requests=tuple(names))
        write_value(self.folder / f"batch-{digest(batch)[:16]}.json", batch)
        self.reserved = {n: call for n, call in self.reserved.items() if n not in names}
        log.info("%s: %d requests in batch %s", model, len(names), batch.id)
        return batch

    async def _await(self, batch: ProviderBatch, client: Any) -> None:
        """Look until the batch has ended or the wait is over, then keep what it brought."""
        anthropic = self.table.model(batch.model).provider == "anthropic"
        batches = client.messages.batches if anthropic else client.batches
        end = time.monotonic() + self.terms.wait_seconds
        state = await batches.retrieve(batch.id)
        while (state.processing_status if anthropic else state.status) not in ENDED:
            if time.monotonic() > end:
                self._lack(
                    batch.model, NoReplyReason.DEADLINE, f"batch {batch.id} has not ended; a later run takes it up"
                )
                return
            await asyncio.sleep(self.terms.poll_seconds)
            state = await batches.retrieve(batch.id)
        lines = _anthropic_lines(client, batch) if anthropic else _openai_lines(client, state)
        async for line in lines:
            self._keep(line)
        self._close(batch)

    def _keep(self, line: Any) -> None:
        """Keep one line of output; one that is no reply lacks its reason and is asked again by a later run."""
        name = line.get("custom_id") if isinstance(line, dict) else None
        if name not in self.requests:
            return
        request = self.requests[name]
        price = self.table.model(request.model).price
        try:
            _, body = exchange.batch_answer(line)
            kept = self.shelf.put(key_of(request), wire.reply(body, request, price, batch=True))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.lacking[name] = Unanswered(kind=NoReplyReason.SERVER, detail=f"its batch failed it: {error}", tries=1)
            return
        for call in self.ledger.outstanding():
            if call.request == name:
                self.ledger.settle(call, kept.status, kept.usage, saved=price.saved(kept.usage) * price.batch_factor)

    def _close(self, batch: ProviderBatch) -> None:
        """Forget an ended batch and free what it did not use, so that a later run may ask for the rest."""
        for call in self.ledger.outstanding():
            if call.request in batch.requests:
                self.ledger.release(call, NoReplyReason.SERVER, billed=False, dollars=0.0)
        (self.folder / f"batch-{digest(batch)[:16]}.json").unlink(missing_ok=True)


async def _anthropic_lines(client: Any, batch: ProviderBatch) -> AsyncIterator[Any]:
    async for item in await client.messages.batches.results(batch.id):
        yield item.model_dump(mode="json", warnings=False)


async def _openai_lines(client: Any, state: Any) -> AsyncIterator[Any]:
    for file in filter(None, (state.output_file_id, state.error_file_id)):
        content = await client.files.content(file)
        for line in content.text.removeprefix("\ufeff").split("\n"):  # JSON strings may hold other ends of lines
            if line.strip():
                yield json.loads(line)
