"""Turn the body of a finished reply into one of the four outcomes that are kept, with its tokens and its price."""

from __future__ import annotations

import math

from kopt.llm.provider import Ending, Failed, Finished, Json, NotTheProtocol, Provider
from kopt.llm.registry import all_providers, provider_named
from kopt.llm.reply import Answered, Empty, Kept, Refused, Truncated, Usage, encodable
from kopt.llm.request import Request
from kopt.llm.table import Model

CHARS_PER_TOKEN = 3.5
"""Rough mean for source code and English."""

MOST_CHARS_PER_TOKEN = 64
"""No tokeniser makes fewer tokens of a text than one for so many characters: a count that does is not believed."""


def outcome(answer: Json, request: Request, entry: Model, *, batch: bool = False) -> Kept:
    """Return the outcome of a reply's body.

    Args:
        answer: the body, as the model's own provider writes it.
        request: the request that the reply answers.
        entry: the model's entry, for provider and price.
        batch: whether the batch price holds.

    Raises:
        NotTheProtocol: the body is no finished reply of this provider.
        Failed: the body reports an error in place of a reply.
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
        except (NotTheProtocol, Failed):
            continue
    try:
        return outcome(answer, request, entry, batch=True)
    except Failed as error:
        raise NotTheProtocol(f"the body reports an error: {error}") from error


def outcome_by_hand(text: str, request: Request) -> Kept:
    """Return the outcome of a text that a person wrote, which costs nothing."""
    usage = Usage(input=tokens(request.chars), output=tokens(len(text)), estimated=True)
    return _kept(Finished(text, Ending.WHOLE, "by hand", usage), request, usage)


def tokens(chars: int) -> int:
    """Return the estimated tokens of so many characters."""
    return math.ceil(chars / CHARS_PER_TOKEN)


def _read(answer: Json, provider: Provider) -> Finished:
    try:
        return provider.read(answer)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise NotTheProtocol(f"the body is no finished reply ({type(error).__name__}: {error})") from error


def most_usage(request: Request, entry: Model, *, batch: bool = False) -> Usage:
    """Return the most that a call may use and cost, for one that was or may be paid and whose tokens are not known."""
    dollars = entry.price.worst(request) * (entry.price.batch_factor if batch else 1.0)
    given = -(-request.utf8_bytes // 2)
    return Usage(input=given, output=request.max_output_tokens, dollars=dollars, estimated=True)


def _priced(finished: Finished, request: Request, entry: Model, batch: bool) -> Kept:
    usage = finished.usage
    if usage is None or not _is_plausible(usage, finished.text):
        return _kept(finished, request, most_usage(request, entry, batch=batch))
    return _kept(finished, request, usage.model_copy(update={"dollars": entry.price.dollars(usage, batch=batch)}))


def _is_plausible(usage: Usage, text: str) -> bool:
    """Return whether counts can be those of a request, which is never empty, and of a text."""
    given = usage.input + usage.cached_input + usage.cache_write
    return given > 0 and usage.output * MOST_CHARS_PER_TOKEN >= len(text)


def _kept(finished: Finished, request: Request, usage: Usage) -> Kept:
    text, stop = encodable(finished.text), encodable(finished.stop)
    at_limit = finished.ending is Ending.UNSAID and not usage.estimated and usage.output >= request.max_output_tokens
    if finished.ending is Ending.REFUSED:
        return Refused(text=text, usage=usage, stop=stop)
    if finished.ending is Ending.TRUNCATED or at_limit:
        return Truncated(text=text, usage=usage, stop=stop)
    if not text.strip():
        return Empty(usage=usage, stop=stop)
    return Answered(text=text, usage=usage, stop=stop)
