"""Decide when to try a request again; pure but for the clock that a date is compared with."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kopt.model.asking import CallOptions

SECONDS = re.compile(r"[ \t]*([0-9]+(?:\.[0-9]+)?)[ \t]*")
"""ASCII digits and the blanks of HTTP: `\\d` and `\\s` take digits and separators that are none in a header."""


def wait_seconds(options: CallOptions, tries: int, after: float | None, rng: random.Random) -> float:
    """Return the time to wait after `tries` calls, s: full jitter, on top of what the server asked for.

    Args:
        options: the backoff and its cap.
        tries: calls so far, from 1 on.
        after: time that the server asked to wait, s.
        rng: draws the jitter.
    """
    jitter = rng.uniform(0, min(options.backoff_cap_seconds, options.backoff_seconds * 2 ** (tries - 1)))
    return jitter if after is None else after + min(jitter, options.backoff_seconds)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the wait of `Retry-After` (seconds or an HTTP date) or `retry-after-ms`, s; None if absent or malformed.

    Source: RFC 9110, section 10.2.3.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        if match := SECONDS.fullmatch(headers.get(name) or ""):
            return float(match[1]) / unit
    return _until(headers.get("retry-after"), now or datetime.now(UTC))


def _until(text: str | None, now: datetime) -> float | None:
    """Return the time until an HTTP date, s; 0 for one in the past, None for anything else."""
    if not text or not text.isascii():
        return None
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - now).total_seconds())
    except (ValueError, LookupError, TypeError, OverflowError):  # e.g. an impossible year
        return None
