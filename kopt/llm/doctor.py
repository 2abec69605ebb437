"""Is every model of a run usable?  Found out before anything is spent, one line for each finding."""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kopt.llm.client import NO_KEY, connect
from kopt.llm.retry import Patience, scrub
from kopt.llm.table import Model, ModelTable, missing_keys


class Finding(NamedTuple):
    """What is wrong with one model."""

    line: str
    """Names the model, its server, and the variable of its key; never the key."""
    passing: bool = False
    """The server answers that it is busy or broken, which may be over when the run asks."""


def check_online(
    table: ModelTable, names: Iterable[str], environ: Mapping[str, str] = os.environ, seconds: float = 10.0
) -> list[Finding]:
    """Ask each model's server for its list of models, which costs nothing; what is wrong, or nothing.

    Finds unset and refused keys, servers that cannot be reached, and model ids that the server does not list.  A
    server that offers no list is taken at its word.

    Raises:
        ConfigError: the table has no such model.
    """
    names = list(dict.fromkeys(names))
    unset = missing_keys(table, names, environ)
    silent = {name for name in names if any(line.startswith(f"models: {name} needs") for line in unset)}
    rest = [name for name in names if name not in silent]
    return [*map(Finding, unset), *asyncio.run(_probe_all(table, rest, environ, seconds))]


async def _probe_all(table: ModelTable, names: list[str], environ: Mapping[str, str], seconds: float) -> list[Finding]:
    found = await asyncio.gather(*(_probe(name, table.model(name), environ, seconds) for name in names))
    return [finding for finding in found if finding is not None]


async def _probe(name: str, entry: Model, environ: Mapping[str, str], seconds: float) -> Finding | None:
    import anthropic
    import httpx2
    import openai

    key = environ.get(entry.key_variable, "").strip() if entry.key_variable else NO_KEY
    client = connect(entry, key, Patience(deadline_seconds=seconds, connect_seconds=seconds), 1)
    try:
        async with asyncio.timeout(seconds):
            return _unlisted(name, entry, await client.models.list())
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        return _status(name, entry, error.status_code)
    except (openai.APIError, anthropic.APIError, httpx2.HTTPError, TimeoutError) as error:
        why = scrub(type(error.__cause__ or error).__name__, [key])
        return Finding(f"models: {name} cannot be reached at {entry.base_url} ({why}): check base_url and the network")
    except (ValueError, TypeError, AttributeError) as error:
        why = type(error).__name__
        return Finding(f"models: {name}: what answers at {entry.base_url} does not speak {entry.provider} ({why})")
    finally:
        await client.close()


def _status(name: str, entry: Model, status: int) -> Finding | None:
    if status in (401, 403):
        key = entry.key_variable or "(none)"
        return Finding(f"models: {name}: the key in {key} was refused by {entry.base_url} ({status})")
    if status == 429 or (status >= 500 and status != 501):
        return Finding(f"models: {name}: {entry.base_url} answers with HTTP {status}: try again later", passing=True)
    return None


def _unlisted(name: str, entry: Model, page: Any) -> Finding | None:
    """A finding when the server lists models and this one is not among them."""
    listed = [model.id.removeprefix("models/") for model in page.data]
    if not listed or getattr(page, "has_more", False) or any(entry.api_model in (i, _undated(i)) for i in listed):
        return None
    close = difflib.get_close_matches(entry.api_model, listed, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return Finding(f"models: {name}: {entry.base_url} does not list the model {entry.api_model!r}{hint}")


def _undated(model: str) -> str:
    """A model id without its date: providers list `name-20260101` and answer to `name`."""
    head, _, tail = model.rpartition("-")
    return head if len(tail) == 8 and tail.isdigit() else model
