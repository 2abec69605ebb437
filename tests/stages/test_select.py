"""What a round comes to: whether it improved on the best kernel before it."""

from dataclasses import replace

import pytest

from kopt.errors import ProblemError
from kopt.model.kernel import Candidate, ProposalStatus
from kopt.model.technique import TechniqueVector
from kopt.model.trial import EvaluationRow, RankRow, RoundSummary, StopReason, TechniqueRow
from kopt.report.round_line import round_line
from kopt.run.tables import RoundTables
from kopt.stages.classify import classify_pool
from kopt.stages.select import SelectSettings, check_seed, summarise

SKIPPED = Candidate(
    round=1, attempt=0, slot=0, parent="", bottleneck=0, model="m", sample=0, status=ProposalStatus.SKIPPED
)
VECTOR = TechniqueVector(taxonomy="t", techniques=("tensor_cores",), classifier="static")
SETTINGS = SelectSettings(
    strategy="beam", candidate_pool_size=2, clustering=False, stop_share=0.95, patience=3, replayed=False
)


def row(origin: str, kernel: str, ms: float, *, estimated: bool = False) -> RankRow:
    return RankRow(
        position=0, kernel=kernel, fingerprint=f"f{kernel}", origin=origin, model="m", time_ms=ms, estimated=estimated,
        roofline_share=0.5,
    )  # fmt: skip


def technique(one: RankRow) -> TechniqueRow:
    return TechniqueRow(
        kernel=one.kernel, fingerprint=one.fingerprint, techniques=(), classified=True, cluster="none", new=True
    )  # fmt: skip


def after(*pool: RankRow, previous: RoundSummary | None = None, candidates: tuple = ()) -> RoundSummary:
    tables = RoundTables(candidates=candidates, builds=(), evaluations=(), pool=pool, techniques=())
    return summarise(1 if previous else 0, tables, SETTINGS, previous)


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


def test_the_seed_is_the_problems_own_where_a_second_one_is_faster():
    pool = row("r0a0s1", "made", 0.8), row("r0a0s0", "seed", 1.0)
    now = after(pool[0].model_copy(update={"model": "kopt-seed"}), pool[1])
    assert (now.seed_ms, now.best_ms) == (1.0, 0.8)
    assert round_line(now) == "R0: seed 1.0000 ms, best 0.8000 ms (kopt-seed)"
    assert round_line(after(row("r0a0s0", "seed", 1.0).model_copy(update={"model": "seed"}))) == "R0: seed 1.0000 ms"


@pytest.mark.parametrize("pool", [(), (row("r0a0s1", "made", 0.8),)])
def test_a_seed_that_is_wrong_is_refused_whether_or_not_a_second_one_is_right(pool):
    wrong = EvaluationRow(
        round=0, attempt=0, slot=0, kernel="seed", fingerprint="f", verdict="incorrect", reason="it is off", judge="j"
    )
    seed = SKIPPED.model_copy(update={"round": 0, "status": ProposalStatus.PROPOSED})
    tables = RoundTables(candidates=(seed,), builds=(), evaluations=(wrong,), pool=pool, techniques=())
    with pytest.raises(ProblemError, match=r"the seed kernel cannot be used.*: incorrect: it is off"):
        check_seed(tables)


def test_later_rounds_need_not_hold_the_seed():
    later = RoundTables(
        candidates=(SKIPPED,), builds=(), evaluations=(), pool=(row("r1a0s0", "k", 1.0),), techniques=()
    )
    check_seed(later)


def test_an_estimate_improves_by_being_smaller():
    before = after(row("r0a0s0", "seed", 1.0, estimated=True))
    pool = (row("r1a0s0", "new", 0.9999, estimated=True), row("r0a0s0", "seed", 1.0, estimated=True))
    now = after(*pool, previous=before)
    assert now.improved


def test_a_round_that_left_slots_out_ends_the_search_for_want_of_budget():
    before = after(row("r0a0s0", "seed", 1.0))
    now = after(row("r0a0s0", "seed", 1.0), previous=before, candidates=(SKIPPED,))
    assert (now.stopped, now.slots) == (StopReason.BUDGET, 0)
    assert "the budget for language models is spent" in round_line(now)
    later = after(row("r0a0s0", "seed", 1.0), previous=now, candidates=(SKIPPED,))
    assert later.stopped == StopReason.BUDGET


def test_a_stop_for_another_reason_keeps_its_reason():
    stopped = after(row("r0a0s0", "seed", 1.0)).model_copy(update={"stopped": StopReason.NO_IMPROVEMENT})
    now = after(row("r0a0s0", "seed", 1.0), previous=stopped, candidates=(SKIPPED,))
    assert now.stopped == StopReason.NO_IMPROVEMENT


@pytest.mark.parametrize(("estimated", "reason"), [(False, StopReason.ROOFLINE), (True, None)])
def test_a_measured_best_near_the_roofline_ends_the_search_and_an_estimated_one_does_not(estimated, reason):
    before = after(row("r0a0s0", "seed", 1.0, estimated=estimated))
    near = row("r1a0s0", "new", 0.5, estimated=estimated).model_copy(update={"roofline_share": 0.96})
    now = after(near, previous=before)
    assert now.stopped is reason
    assert ("the best kernel is near the roofline" in round_line(now)) is (reason is not None)


def test_only_new_kernels_are_classified_and_the_line_of_the_round_counts_both():
    pool = tuple(row("r2a0s0", f"k{n}", 1.0 + n / 100) for n in range(73))
    earlier = [technique(one) for one in pool[15:]]
    rows = classify_pool(pool, earlier, classify=lambda unique: dict.fromkeys((one.kernel for one in unique), VECTOR))
    assert [one.kernel for one in rows if one.new] == [f"k{n}" for n in range(15)]
    tables = RoundTables(candidates=(SKIPPED,), builds=(), evaluations=(), pool=pool, techniques=tuple(rows))
    asked = tables.candidates[0].model_copy(update={"status": ProposalStatus.NONE})
    clustered = SETTINGS.model_copy(update={"strategy": "clustered", "clustering": True})
    now = summarise(2, replace(tables, candidates=(asked,)), clustered, after(row("r0a0s0", "seed", 1.0)))
    assert "classified 15 new, 58 known" in round_line(now)
