"""Choose what a page has room for: the kernels that open on it, and the rows of the table of candidates."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.model.trial import Trial
from kopt.report import lineage, outcomes, tables
from kopt.report.record import RunRecord

OPENED = 80
"""Most kernels that open on the page; collecting one takes a tenth of a second."""

MOST_ROWS = 2000
"""Most rows of the table of candidates."""

FASTEST = 30
"""Fastest kernels that open before others do."""


def opened_kernels(record: RunRecord) -> list[str]:
    """Name the candidates whose kernels open on the page, the most telling first.

    The best kernel and its ancestors, the fastest ones, all that were selected, an example of each kind of failure,
    then a sample of the others, spread evenly over the rounds.
    """
    chain = [step.trial.name for step in lineage.chain(record.trials, record.final.best_name)]
    fast = [trial.name for trial in tables.correct_trials(record.trials)]
    selected = [row.origin for rows_of_round in record.selections for row in rows_of_round]
    examples = [failure.example.name for failure in outcomes.failures(record.trials)]
    telling = list(dict.fromkeys([*chain[::-1], *fast[:FASTEST], *selected, *examples]))
    others = [trial.name for trial in record.trials if trial.status != "skipped" and trial.name not in set(telling)]
    sampled = _sample(others, max(OPENED - len(telling), 0))
    return [*telling, *sampled][:OPENED]


def _sample(names: Sequence[str], most: int) -> list[str]:
    """Choose some names, spread evenly."""
    return [names[len(names) * place // most] for place in range(most)] if len(names) > most else list(names)


def shown_trials(record: RunRecord) -> list[Trial]:
    """Return the rows of the table of candidates: the correct ones, fastest first, then the others in their order.

    Of a search with more than `MOST_ROWS` candidates the fastest half and a sample of the others are shown.
    """
    asked = [trial for trial in record.trials if trial.status != "skipped"]
    correct = tables.correct_trials(asked)
    names = {trial.name for trial in correct}
    order = [*correct, *(trial for trial in asked if trial.name not in names)]
    if len(order) <= MOST_ROWS:
        return order
    rest = order[MOST_ROWS // 2 :]
    return [*order[: MOST_ROWS // 2], *(rest[len(rest) * place // (MOST_ROWS // 2)] for place in range(MOST_ROWS // 2))]
