"""Define the cost of replies of language models, and sum costs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kopt.model.base import Value


class Cost(Value):
    """Calls, tokens and dollars.  Tokens are those of all replies, paid by this run or found in the store."""

    calls: int = 0
    """Calls that returned a reply."""
    stored: int = 0
    """Replies that came from the store; this run paid nothing for them."""
    lost: int = 0
    """Calls that began and returned no reply."""
    turned_away: int = 0
    """Calls that a server turned away at no cost (rate limit, server error, no connection)."""
    input: int = 0
    """Input tokens, cached ones included."""
    cached: int = 0
    """Input tokens read from a prompt cache."""
    output: int = 0
    """Output tokens, reasoning included."""
    reasoning: int = 0
    """Output tokens that were reasoning."""
    paid_usd: float = 0.0
    """Cost of this run's calls, lost calls included, US dollars."""
    lost_usd: float = 0.0
    """Estimated cost of lost calls, a part of `paid_usd`, US dollars."""
    stored_usd: float = 0.0
    """Cost of the replies from the store when they were first made, US dollars."""
    saved_usd: float = 0.0
    """Saving by prompt caching in this run's calls, US dollars; negative when caching cost more."""
    estimated: bool = False
    """Whether some tokens were estimated, since a server reported none."""

    @property
    def replayed(self) -> bool:
        """Whether every reply came from the store, so that no call was made."""
        return self.stored > 0 and self.calls + self.lost + self.turned_away == 0


class LabelledCost(Cost):
    """Cost of the requests with one label."""

    label: str
    """`r1a0s3`: slot 3 of round 1; `r1d0`, `r1c0`: diagnosis of a parent, classification of a kernel; `r1reflect`."""
    model: str
    round: int
    purpose: str
    """Purpose of the requests, one of `PURPOSES`."""
    slot: int | None = None
    """Slot of a proposal or repair; None for requests that the slots share."""


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum, which does not depend on the order of the costs."""
    rows = list(costs)
    numbers = [name for name in Cost.model_fields if name != "estimated"]
    sums = {name: _sum(getattr(row, name) for row in rows) for name in numbers}
    return Cost(**sums, estimated=any(row.estimated for row in rows))


def _sum(numbers: Iterable[float]) -> float | int:
    addends = list(numbers)
    return sum(addends) if all(isinstance(number, int) for number in addends) else math.fsum(addends)
