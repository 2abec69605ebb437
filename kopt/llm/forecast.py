"""Estimate what a run will cost before it starts, from calls by purpose and model, typical sizes and prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kopt.llm.registry import caches_marked_prefix
from kopt.llm.reply import Usage
from kopt.llm.table import Model, ModelTable
from kopt.model.base import Value


class Size(Value):
    """Typical tokens of one call."""

    input: int
    stable: int
    """Part of the input that sibling requests share and a prompt cache may serve."""
    output: int


TYPICAL: Mapping[str, Size] = {
    "propose": Size(input=9000, stable=7000, output=8000),
    "repair": Size(input=8000, stable=4500, output=7000),
    "diagnose": Size(input=7000, stable=4500, output=3000),
    "classify": Size(input=4000, stable=1800, output=1200),
    "reflect": Size(input=4500, stable=1500, output=800),
}
"""Typical tokens by purpose.  Inputs follow from the prompts' budgets; outputs are guesses that include reasoning."""


class Calls(Value):
    """A number of calls of one purpose to one model."""

    purpose: str
    """A key of `TYPICAL`."""
    model: str
    calls: int
    """Calls that are likely."""
    siblings: int = 1
    """Calls that share a stable prefix, this one included."""
    most: int = 0
    """Most calls that there can be; 0: no more than `calls`."""
    continued: bool = False
    """A reply that is cut off is continued, once, by a further call."""


class Forecast(Value):
    """The estimate for one group of calls."""

    purpose: str
    model: str
    calls: int
    likely_usd: float
    """Cost with typical sizes, and prompt caching where the provider has it, US dollars."""
    most_usd: float
    """Cost with every slot repaired each time, every reply the longest and continued, the same input and no cache hit,
    US dollars."""


def estimate_cost(planned: Iterable[Calls], table: ModelTable, *, batch: bool = False) -> list[Forecast]:
    """Estimate each group of calls; the run's estimate is their sum.

    Raises:
        ConfigError: the table has no such model.
    """
    return [_forecast(group, table.model(group.model), batch) for group in planned]


def plan(
    models: Iterable[str], *, rounds: int, slots_per_model: int, repairs: int, others: Iterable[Calls] = ()
) -> list[Calls]:
    """Return the calls of a run by its fan-out.

    Args:
        models: language models that propose.
        rounds: rounds after the seed.
        slots_per_model: parents x bottlenecks x samples.
        repairs: attempts after the first; half of the slots of each are expected to need the next.
        others: further calls, beside proposals and repairs.
    """
    proposals = rounds * slots_per_model
    repaired = rounds * sum(slots_per_model // 2**attempt for attempt in range(1, repairs + 1))
    calls: list[Calls] = []
    for name in models:
        calls.append(Calls(purpose="propose", model=name, calls=proposals, siblings=slots_per_model, continued=True))
        calls.append(Calls(purpose="repair", model=name, calls=repaired, most=proposals * repairs, continued=True))
    return [group for group in (*calls, *others) if group.calls or group.most]


def _forecast(group: Calls, entry: Model, batch: bool) -> Forecast:
    size = TYPICAL[group.purpose]
    output = min(size.output, entry.max_output_tokens)
    likely = _usage(group, size, entry, output)
    return Forecast(
        purpose=group.purpose,
        model=group.model,
        calls=group.calls,
        likely_usd=entry.price.dollars(likely, batch=batch),
        most_usd=entry.price.dollars(_most(group, size, entry), batch=batch),
    )


def _most(group: Calls, size: Size, entry: Model) -> Usage:
    """Return the most tokens of a group, inputs at their highest price; a continuation sends the cut-off reply too."""
    longest, calls = entry.max_output_tokens, max(group.calls, group.most)
    given = size.input * calls + (size.input + longest) * calls * group.continued
    dearest = caches_marked_prefix(entry) and entry.price.cache_write > entry.price.input
    return Usage(
        input=0 if dearest else given,
        cache_write=given if dearest else 0,
        output=longest * calls * (1 + group.continued),
    )


def _usage(group: Calls, size: Size, entry: Model, output: int) -> Usage:
    """Return the likely tokens: one of each group of siblings pays for the prefix, the others read the cache."""
    first = -(-group.calls // group.siblings)
    read = size.stable * (group.calls - first)
    written = size.stable * first if caches_marked_prefix(entry) else 0
    return Usage(
        input=size.input * group.calls - read - written,
        cached_input=read,
        cache_write=written,
        output=output * group.calls,
    )
