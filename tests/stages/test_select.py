"""What a round comes to: whether it improved on the best kernel before it."""

import pytest

from kopt.model.trial import RankRow, RoundSummary
from kopt.stages.select import RoundTables, Rules, summarise

RULES = Rules(width=2, clustering=False, share=0.95, patience=3)


def row(origin: str, kernel: str, ms: float, *, estimated: bool = False) -> RankRow:
    return RankRow(
        position=0, kernel=kernel, fingerprint=f"f{kernel}", origin=origin, model="m", time_ms=ms, estimated=estimated,
        roofline_share=0.5,
    )  # fmt: skip


def after(*pool: RankRow, previous: RoundSummary | None = None) -> RoundSummary:
    tables = RoundTables(candidates=(), builds=(), evaluations=(), pool=pool, techniques=())
    return summarise(1 if previous else 0, tables, RULES, previous)


@pytest.mark.parametrize(
    ("best_now", "challenger", "improved"),
    [
        (1.00, 0.9980, False),  # within what one kernel's times differ by
        (1.00, 0.9960, True),
        (0.99, 0.9880, False),  # the best kernel before it is faster today too
        (1.02, 1.0100, True),  # and here slower: what counts was measured side by side
    ],
)
def test_a_measured_best_is_compared_with_the_best_before_it_as_this_round_measured_it(best_now, challenger, improved):
    before = after(row("r0a0s0", "seed", 1.0))
    pool = sorted([row("r0a0s0", "seed", best_now), row("r1a0s0", "new", challenger)], key=lambda one: one.time_ms)
    now = after(*pool, previous=before)
    assert now.improved is improved
    assert now.rounds_without_improvement == (0 if improved else 1)


def test_an_estimate_improves_by_being_smaller():
    before = after(row("r0a0s0", "seed", 1.0, estimated=True))
    pool = (row("r1a0s0", "new", 0.9999, estimated=True), row("r0a0s0", "seed", 1.0, estimated=True))
    now = after(*pool, previous=before)
    assert now.improved
