"""Decide when to try a request again; pure but for the clock that a date is compared with."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kopt.llm.provider import Json
from kopt.model.asking import CallOptions

SECONDS = re.compile(r"[ \t]*([0-9]+(?:\.[0-9]+)?)s?[ \t]*")
"""ASCII digits and the blanks of HTTP: `\\d` and `\\s` take digits and separators that are none in a header.  The unit
is that of durations in Google's JSON; some servers write it into the header too."""


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


def retry_after_in(error: Mapping[str, Json]) -> float | None:
    """Return the wait that an error object asks for, s; None where it asks for none.

    Google's servers write `details: [{"@type": ".../google.rpc.RetryInfo", "retryDelay": "39.5s"}]`, others
    `retry_after: 39.5`.
    """
    details: Json = error.get("details")
    details = details if isinstance(details, list) else []
    delays = [detail.get("retryDelay") for detail in details if isinstance(detail, Mapping)]
    waits = [wait for delay in (*delays, error.get("retry_after")) if (wait := _duration(delay)) is not None]
    return max(waits, default=None)


def _duration(value: Json) -> float | None:
    """Return a duration in any of JSON's forms, s: a number, a text with or without its unit, seconds and nanos."""
    if isinstance(value, Mapping):
        parts = [_duration(value.get(name, 0)) for name in ("seconds", "nanos")]
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1] / 1e9
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    match = SECONDS.fullmatch(str(value))
    return float(match[1]) if match else None


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
