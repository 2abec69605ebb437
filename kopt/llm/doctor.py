"""Is every model of a run usable?  Found out before anything is spent, one line for each finding."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kopt.llm.client import NO_KEY, connect
from kopt.llm.retry import Patience
from kopt.llm.table import Model, ModelTable, missing_keys

SECONDS = 15.0
"""Longest wait for one server's list; servers are asked side by side."""

CONNECT_SECONDS = 10.0
"""Longest wait for a connection, its name's address included."""

MOST_LISTED = 1000
"""Models in one page of a list, the most that Anthropic gives."""


class Finding(NamedTuple):
    """What is wrong with one model."""

    line: str
    """Names the model, its server, and the variable of its key; never the key."""
    passing: bool = False
    """The server is there and busy, broken or without a list that can be read: the run may still get on with it."""


Judge = Callable[[str, Model], Finding | None]
"""What a server's answer means for one of its models, by name and entry."""


def check_online(
    table: ModelTable, names: Iterable[str], environ: Mapping[str, str] = os.environ, seconds: float = SECONDS
) -> list[Finding]:
    """Ask each server once for its list of models, which costs nothing; what is wrong, or nothing.

    Finds unset and refused keys, servers that cannot be reached, and model ids that the server does not list.  A
    server that offers no list is taken at its word.

    Raises:
        ConfigError: the table has no such model.
    """
    names = list(dict.fromkeys(names))
    unset = missing_keys(table, names, environ)
    silent = {name for name in names if any(line.startswith(f"models: {name} needs") for line in unset)}
    entries = {name: table.model(name) for name in names if name not in silent}
    return [*map(Finding, unset), *asyncio.run(_probe_all(entries, environ, seconds))]


async def _probe_all(entries: Mapping[str, Model], environ: Mapping[str, str], seconds: float) -> list[Finding]:
    servers = {_server(entry): entry for entry in entries.values()}
    judges = await asyncio.gather(*(_probe(entry, environ, seconds) for entry in servers.values()))
    judge_of = dict(zip(servers, judges, strict=True))
    found = [judge_of[_server(entry)](name, entry) for name, entry in entries.items()]
    return [finding for finding in found if finding is not None]


def _server(entry: Model) -> tuple[bool, str, str | None]:
    """What one list of models answers for; both protocols of OpenAI have the same list."""
    return entry.provider == "anthropic", entry.base_url, entry.key_variable


async def _probe(entry: Model, environ: Mapping[str, str], seconds: float) -> Judge:
    """Ask one server for its list."""
    import anthropic
    import httpx2
    import openai

    key = environ.get(entry.key_variable, "").strip() if entry.key_variable else NO_KEY
    patience = Patience(deadline_seconds=seconds, connect_seconds=min(seconds, CONNECT_SECONDS))
    client = connect(entry, key, patience, 1)
    try:
        async with asyncio.timeout(seconds):
            page = await (
                client.models.list(limit=MOST_LISTED) if entry.provider == "anthropic" else client.models.list()
            )
        return _listing(page)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return _status(error.status_code)
    except (openai.APIError, anthropic.APIError, httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        return _unanswered(error.__cause__ or error)
    except (ValueError, TypeError, AttributeError) as error:
        return _unreadable(type(error).__name__)
    finally:
        await client.close()


def _unanswered(error: BaseException) -> Judge:
    import httpx2

    never = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
    )
    why = type(error).__name__
    if isinstance(error, never):
        return lambda name, entry: Finding(
            f"models: {name} cannot be reached at {entry.base_url} ({why}): check base_url and the network"
            f"; {_key_words(entry)}"
        )
    return lambda name, entry: Finding(
        f"models: {name}: {entry.base_url} takes connections and does not answer ({why}); {_key_words(entry)}",
        passing=True,
    )


def _unreadable(why: str) -> Judge:
    return lambda name, entry: Finding(
        f"models: {name}: what {entry.base_url} answers is no list of models ({why}): check that base_url is one of "
        f"{entry.provider}; {_key_words(entry)}",
        passing=True,
    )


def _status(status: int) -> Judge:
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


def _listing(page: Any) -> Judge:
    """A finding for each model that a server's list lacks; a list of nothing, or without its end, says nothing."""
    listed = {_bare(model.id) for model in page.data}
    known = listed | {_undated(model) for model in listed}
    if not listed or getattr(page, "has_more", False):
        return lambda name, entry: None

    def judge(name: str, entry: Model) -> Finding | None:
        wanted = _bare(entry.api_model)
        if wanted in known:
            return None
        close = difflib.get_close_matches(wanted, sorted(listed), n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        line = f"models: {name}: {entry.base_url} does not list the model {entry.api_model!r}{hint}"
        return Finding(f"{line} ({_key_words(entry)})")

    return judge


def _key_words(entry: Model) -> str:
    return f"its key is in {entry.key_variable}" if entry.key_variable else "it has no key_variable"


def _bare(model: str) -> str:
    """A model id without the folder that Gemini's lists put before it."""
    return model.removeprefix("models/")


def _undated(model: str) -> str:
    """A model id without its date: providers list `name-20260101` and answer to `name`."""
    head, _, tail = model.rpartition("-")
    return head if len(tail) == 8 and tail.isdigit() else model
