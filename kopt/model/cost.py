"""What replies of language models cost, and the sum of costs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kopt.model.base import Value


class Cost(Value):
    """Calls, tokens and dollars.  Tokens are those of all replies, paid by this run or found in the store."""

    calls: int = 0
    """Calls that brought a reply."""
    stored: int = 0
    """Replies that came from the store; this run paid nothing for them."""
    lost: int = 0
    """Calls that were begun and brought no reply."""
    turned_away: int = 0
    """Calls that a server turned away, at no cost."""
    input: int = 0
    """Input tokens, cached ones included."""
    cached: int = 0
    """Input tokens read from a prompt cache."""
    output: int = 0
    """Output tokens, reasoning included."""
    reasoning: int = 0
    """Output tokens that were reasoning."""
    paid_usd: float = 0.0
    """What this run paid, lost calls included, US dollars."""
    lost_usd: float = 0.0
    """Estimate of what lost calls cost, a part of `paid_usd`."""
    stored_usd: float = 0.0
    """What the replies from the store had cost when they were made."""
    saved_usd: float = 0.0
    """What prompt caching saved in this run's calls; negative when it cost more."""
    estimated: bool = False
    """Some tokens were estimated, since a server reported none."""

    @property
    def replayed(self) -> bool:
        """Nothing was asked: every reply came from the store."""
        return self.stored > 0 and self.calls + self.lost + self.turned_away == 0


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum, which does not depend on the order of the costs."""
    rows = list(costs)
    numbers = [name for name in Cost.model_fields if name != "estimated"]
    sums = {name: _sum(getattr(row, name) for row in rows) for name in numbers}
    return Cost(**sums, estimated=any(row.estimated for row in rows))


def _sum(numbers: Iterable[float]) -> float | int:
    addends = list(numbers)
    return sum(addends) if all(isinstance(number, int) for number in addends) else math.fsum(addends)
