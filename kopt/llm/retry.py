"""What went wrong with one call, whether to try again, and when: pure but for the clock that a date is read against."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic import Field

from kopt.llm.reply import NoReplyReason, Unanswered
from kopt.model.base import Value

RETRIED = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed; all from 500 on are retried too, 529 among them."""

SPENT_CODES = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "credit_balance_too_low"})
REFUSAL_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
KINDS = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "timeout_error": 408,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "invalid_request_error": 400,
}
"""Error types that arrive inside a stream, where the status was 200 already."""

DETAIL_CHARS = 300


class Fault(Value):
    """One call that brought no reply."""

    lack: NoReplyReason
    detail: str
    retry: bool
    after: float | None = None
    """Seconds that the server asked to wait."""
    refused: bool = False
    """The provider's filter refused the prompt: that is an answer of a kind."""
    billed: bool = False
    """The provider may charge for it: it had begun to reply, or was left working."""
    received: int = 0
    """Characters of the reply that had arrived."""

    def unanswered(self, tries: int) -> Unanswered:
        """The outcome when no more tries are left."""
        return Unanswered(kind=self.lack, detail=self.detail, tries=tries)


class Patience(Value):
    """How long and how often one request is tried."""

    deadline_seconds: float = Field(default=600.0, gt=0)
    """Time for one call, from its start to its last token, s."""
    give_up_seconds: float = Field(default=1800.0, gt=0)
    """Time after which a request is not tried again, waits included, s."""
    max_tries: int = Field(default=6, ge=1, le=100)
    """Calls for one request."""
    connect_seconds: float = Field(default=15.0, gt=0)
    """Time to open a connection, s."""
    backoff_seconds: float = Field(default=1.0, ge=0)
    """Longest wait before the second try; it doubles from try to try, s."""
    backoff_cap_seconds: float = Field(default=60.0, ge=0)
    """Longest wait that is not asked for by the server, s."""

    def wait(self, tries: int, after: float | None, rng: random.Random) -> float:
        """Seconds to wait after `tries` calls: full jitter, on top of what the server asked for."""
        jitter = rng.uniform(0, min(self.backoff_cap_seconds, self.backoff_seconds * 2 ** (tries - 1)))
        return jitter if after is None else after + min(jitter, self.backoff_seconds)


def of_status(status: int, headers: Mapping[str, str], body: object, *, began: bool = False) -> Fault:
    """The fault that an HTTP status stands for; `began`: the error came inside a stream that had started."""
    error = _error(body)
    codes = {str(error.get("code")), str(error.get("type"))}
    if began or status < 400:
        status = next((KINDS[code] for code in sorted(codes) if code in KINDS), 500)
    lack, retry = _lack(status, codes)
    return Fault(
        lack=lack,
        detail=f"HTTP {status}: {error.get('message') or 'no message'}"[:DETAIL_CHARS],
        retry=retry,
        after=retry_after(headers) if retry else None,
        refused=bool(codes & REFUSAL_CODES),
        billed=began,
    )


def _lack(status: int, codes: set[str]) -> tuple[NoReplyReason, bool]:
    if codes & SPENT_CODES or status == 402:
        return NoReplyReason.QUOTA, False
    if status in (401, 403):
        return NoReplyReason.KEY, False
    if status == 429:
        return NoReplyReason.RATE, True
    if status >= 500 or status in RETRIED:
        return NoReplyReason.SERVER, True
    return NoReplyReason.REJECTED, False


def _error(body: object) -> Mapping[str, Any]:
    """The error object of a body, with or without the envelope around it."""
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        return inner if isinstance(inner, Mapping) else {"message": str(inner)}
    return {"message": " ".join(str(body).split())[:200]} if body else {}


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait by `Retry-After` (seconds or an HTTP date) or `retry-after-ms`; None when absent or malformed.

    Source: RFC 9110, section 10.2.3.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = _number(headers.get(name))
        if seconds is not None:
            return seconds / unit
    return _until(headers.get("retry-after"), now or datetime.now(UTC))


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else None


def _until(text: str | None, now: datetime) -> float | None:
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


KEY_SHAPES = re.compile(
    r"(?:sk|pk|rk)-[A-Za-z0-9_\-*.]{6,}|AIza[A-Za-z0-9_\-]{10,}|(?i:bearer)\s+[A-Za-z0-9._\-+/=]{6,}"
)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Text without key material: neither the given keys nor anything of a key's shape."""
    return KEY_SHAPES.sub("[key]", without(text, secrets))


def without(text: str, secrets: Iterable[str]) -> str:
    """Text without the given keys, and otherwise untouched."""
    for secret in secrets:
        if len(secret) >= 3:
            text = text.replace(secret, "[key]")
    return text
