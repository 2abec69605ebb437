"""Turn the body of a finished reply into one of the four outcomes that are kept, with its tokens and its price."""

from __future__ import annotations

import math

from kopt.llm.provider import Ending, Finished, Json, NotTheProtocol, Provider
from kopt.llm.registry import all_providers, provider_named
from kopt.llm.reply import Answered, Empty, Kept, Refused, Truncated, Usage, encodable
from kopt.llm.request import Request
from kopt.llm.table import Model

CHARS_PER_TOKEN = 3.5
"""Rough mean for source code and English, used where a provider reports no tokens, and for forecasts."""


def outcome(answer: Json, request: Request, entry: Model, *, batch: bool = False) -> Kept:
    """Return the outcome of a reply's body.

    Args:
        answer: the body, as the model's own provider writes it.
        request: the request that the reply answers.
        entry: the model's entry, for provider and price.
        batch: whether the batch price holds.

    Raises:
        NotTheProtocol: the body is no finished reply of this provider.
    """
    return _priced(_read(answer, provider_named(entry.provider)), request, entry, batch)


def outcome_of_any(answer: Json, request: Request, entry: Model) -> Kept:
    """Return the outcome of a body from batch output, which another provider may have written.

    Raises:
        NotTheProtocol: the body is no finished reply of any provider.
    """
    for provider in all_providers():
        try:
            return _priced(_read(answer, provider), request, entry, batch=True)
        except NotTheProtocol:
            continue
    return outcome(answer, request, entry, batch=True)


def outcome_by_hand(text: str, request: Request) -> Kept:
    """Return the outcome of a text that a person wrote, which costs nothing."""
    return _kept(Finished(text, Ending.WHOLE, "by hand", None), _estimated(request, text))


def tokens(chars: int) -> int:
    """Return the estimated tokens of so many characters."""
    return math.ceil(chars / CHARS_PER_TOKEN)


def _read(answer: Json, provider: Provider) -> Finished:
    try:
        return provider.read(answer)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise NotTheProtocol(f"the body is no finished reply ({type(error).__name__}: {error})") from error


def _priced(finished: Finished, request: Request, entry: Model, batch: bool) -> Kept:
    usage = finished.usage or _estimated(request, finished.text)
    return _kept(finished, usage.model_copy(update={"dollars": entry.price.dollars(usage, batch=batch)}))


def _estimated(request: Request, text: str) -> Usage:
    """Estimate tokens from the texts, for a reply that came without a count."""
    return Usage(input=tokens(request.chars), output=tokens(len(text)), estimated=True)


def _kept(finished: Finished, usage: Usage) -> Kept:
    text, stop = encodable(finished.text), encodable(finished.stop)
    if finished.ending is Ending.REFUSED:
        return Refused(text=text, usage=usage, stop=stop)
    if finished.ending is Ending.TRUNCATED:
        return Truncated(text=text, usage=usage, stop=stop)
    if not text.strip():
        return Empty(usage=usage, stop=stop)
    return Answered(text=text, usage=usage, stop=stop)
