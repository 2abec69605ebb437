"""Define how replies of language models come to a run; settings, rules and calls share these values."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kopt.model.base import Documented, Value


class CallOptions(Documented):
    """How language models are called."""

    concurrency: int = Field(default=64, ge=1, le=1024)
    """Concurrent calls, over all models; each model has its own limit in the model table."""
    deadline_seconds: float = Field(default=600.0, gt=0)
    """Time limit of one call, from its start to its last token, s."""
    give_up_seconds: float = Field(default=1800.0, gt=0)
    """Time after which a request is not tried again, waits included, s."""
    connect_seconds: float = Field(default=15.0, gt=0)
    """Time to open a connection, s."""
    max_tries: int = Field(default=6, ge=1, le=100)
    """Most calls for one request, the first included."""
    backoff_seconds: float = Field(default=1.0, ge=0)
    """Longest wait before the second try, s; the longest wait doubles with each further try."""
    backoff_cap_seconds: float = Field(default=60.0, ge=0)
    """Longest wait before any try, s, unless the server asks for a longer wait."""
    poll_seconds: float = Field(default=60.0, gt=0)
    """Time between two polls of a batch, s."""
    wait_seconds: float = Field(default=90_000.0, gt=0)
    """Time after which a run stops waiting for its batches, s; a later run collects them."""


class Asking(Value):
    """Where replies of language models come from, and what they may cost; each field is the setting of its name."""

    replies: Literal["live", "replay", "exchange", "slots"]
    delivery: Literal["direct", "batch"]
    exchange: str
    budget_usd: float | None
    budget_calls: int | None
    llm: CallOptions
    by_label: bool = False
    """Whether a replay takes the recorded reply of the same slot where kopt's words for its prompt have changed."""
