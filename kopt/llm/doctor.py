"""Find out whether every model of a run can be asked, before anything is spent; one line for each finding."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from kopt.llm.client import Clients
from kopt.llm.faults import Fault
from kopt.llm.provider import ModelList
from kopt.llm.registry import provider_named
from kopt.llm.reply import NoReplyReason
from kopt.llm.table import Model, ModelTable, key_faults
from kopt.model.asking import CallOptions

SECONDS = 15.0
"""Longest wait for one server's list; servers are asked side by side."""

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, name resolution included."""


class Finding(NamedTuple):
    """One fault of a model."""

    line: str
    """Description that names the model, its server, and the variable of its key; never the key."""
    passing: bool = False
    """Whether the fault may pass: the server answers but is busy, broken or has no readable list."""


Check = Callable[[str, Model], Finding | None]
"""Return what a server's answer means for one of its models, by name and entry."""


def check_online(
    table: ModelTable, names: Iterable[str], environ: Mapping[str, str] = os.environ, seconds: float = SECONDS
) -> list[Finding]:
    """Ask each server once for its list of models, which costs nothing, and return what is wrong.

    This finds keys that are unset or refused, servers that cannot be reached, and model ids that the server does not
    list.  A server without a list of models is trusted to have the model.

    Raises:
        ConfigError: the table has no such model.
    """
    names = list(dict.fromkeys(names))
    unset = key_faults(table, names, environ)
    entries = {name: table.model(name) for name in names if name not in unset}
    return [*map(Finding, unset.values()), *asyncio.run(_probe_all(entries, environ, seconds))]


async def _probe_all(entries: Mapping[str, Model], environ: Mapping[str, str], seconds: float) -> list[Finding]:
    servers = {_server(entry): entry for entry in entries.values()}
    options = CallOptions(deadline_seconds=seconds, connect_seconds=min(seconds, CONNECT_SECONDS))
    async with Clients(options, 1, environ) as clients:
        checks = await asyncio.gather(*(_probe(entry, clients, seconds) for entry in servers.values()))
    check_of = dict(zip(servers, checks, strict=True))
    findings = [check_of[_server(entry)](name, entry) for name, entry in entries.items()]
    return [finding for finding in findings if finding is not None]


def _server(entry: Model) -> tuple[str, str, str | None]:
    """Return what identifies one list of models."""
    return provider_named(entry.provider).family, entry.base_url, entry.key_variable


async def _probe(entry: Model, clients: Clients, seconds: float) -> Check:
    """Ask one server for its list."""
    try:
        connection = clients.connection(entry)
        assert connection is not None, "models without a key are not probed"
        async with asyncio.timeout(seconds):
            return _listing(await connection.list_models())
    except Exception as error:
        fault = clients.fault(error, entry)
        if fault.reason is NoReplyReason.DEFECT:
            raise
        return _failed(fault)


def _failed(fault: Fault) -> Check:
    """Return what a failed request for the list means."""
    if fault.status is not None:
        return _status(fault.status)
    if fault.reason is NoReplyReason.PROTOCOL:
        return lambda name, entry: Finding(
            f"models: {name}: what {entry.base_url} answers is no list of models: check that base_url is one of "
            f"{entry.provider}; {_key_words(entry)}",
            passing=True,
        )
    if fault.billed:  # the server took the connection
        return lambda name, entry: Finding(
            f"models: {name}: {entry.base_url} takes connections and does not answer ({fault.detail}); "
            f"{_key_words(entry)}",
            passing=True,
        )
    return lambda name, entry: Finding(
        f"models: {name} cannot be reached at {entry.base_url}, {fault.detail}: check base_url and the network; "
        f"{_key_words(entry)}"
    )


def _status(status: int) -> Check:
    """Return what an HTTP status means; 404, 405 and 501 say that there is no list of models."""
    if status in (401, 403):
        return lambda name, entry: Finding(_refused(name, entry, status))
    if status == 429 or (status >= 500 and status != 501):
        return lambda name, entry: Finding(
            f"models: {name}: {entry.base_url} answers with HTTP {status}: try again later; {_key_words(entry)}",
            passing=True,
        )
    return lambda name, entry: None


def _refused(name: str, entry: Model, status: int) -> str:
    if entry.key_variable is None:
        return f"models: {name}: {entry.base_url} wants a key ({status}), and the entry names no key_variable"
    return f"models: {name}: the key in {entry.key_variable} was refused by {entry.base_url} ({status})"


def _listing(models: ModelList) -> Check:
    """Return a finding for each model that a list lacks; an empty list, or one with further pages, proves nothing."""
    listed = {_bare(model) for model in models.ids}
    accepted = listed | {_undated(model) for model in listed}
    if not listed or not models.whole:
        return lambda name, entry: None

    def check(name: str, entry: Model) -> Finding | None:
        wanted = _bare(entry.api_model)
        if wanted in accepted:
            return None
        close = difflib.get_close_matches(wanted, sorted(listed), n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        line = f"models: {name}: {entry.base_url} does not list the model {entry.api_model!r}{hint}"
        return Finding(f"{line} ({_key_words(entry)})")

    return check


def _key_words(entry: Model) -> str:
    return f"its key is in {entry.key_variable}" if entry.key_variable else "it has no key_variable"


def _bare(model: str) -> str:
    """Return a model id without the folder that Gemini's lists put before it."""
    return model.removeprefix("models/")


def _undated(model: str) -> str:
    """Return a model id without its date: providers list `name-20260101` and answer to `name`."""
    head, _, tail = model.rpartition("-")
    return head if len(tail) == 8 and tail.isdecimal() else model
