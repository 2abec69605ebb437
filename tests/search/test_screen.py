"""The screen: which kernels are not judged, by estimates whose errors measured kernels show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.model.trial import BuildRow, EvaluationRow, SelectionRow
from kopt.search.screen import LEAST, MARGIN, ScreenSettings, bound_of, screen, screen_kernels, screen_line
from kopt.stages.evaluate import evaluate, failed_slots
from kopt.stages.generate import failures

EXACT = [(1.0 + place, 1.0 + place) for place in range(LEAST)]
RATIOS = st.dictionaries(st.integers(0, 300), st.floats(0.01, 100.0), min_size=1, max_size=60)


def fates(rows):
    return {row.slot: row.fate for row in rows}


def test_few_measured_kernels_set_no_bound_and_all_are_judged():
    assert bound_of(EXACT[1:]) is None
    assert set(fates(screen({0: 1.0, 1: 1e6}, None, "a")).values()) == {"judged"}


def test_exact_estimates_are_believed_up_to_the_margin():
    assert bound_of(EXACT) == MARGIN


def test_the_worst_error_sets_the_bound():
    """A kernel that was twice as fast as its estimate: another one may be too."""
    assert bound_of([*EXACT, (3.0, 1.5)]) == pytest.approx(2 * MARGIN)


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)), min_size=LEAST, max_size=40))
def test_no_kernel_that_was_measured_as_fast_as_the_best_would_have_been_left_out(pairs):
    bound = bound_of(pairs)
    assert all(estimated <= bound for estimated, ms in pairs if ms <= 1.0)


@given(RATIOS, st.floats(1.0, 50.0), st.text(max_size=5))
def test_what_is_within_the_bound_is_judged_and_of_the_rest_a_tenth(ratios, bound, seed):
    rows = screen(ratios, bound, seed)
    assert [row.slot for row in rows] == sorted(ratios)
    beyond = {slot for slot, ratio in ratios.items() if ratio > bound}
    assert {row.slot for row in rows if row.fate != "judged"} == beyond
    sampled = sum(row.fate == "sampled" for row in rows)
    assert bool(sampled) == bool(beyond)
    assert sampled <= 0.1 * len(beyond) + 1


@given(RATIOS, st.floats(1.0, 50.0))
def test_the_order_of_the_kernels_decides_nothing(ratios, bound):
    assert screen(ratios, bound, "a") == screen(dict(reversed(ratios.items())), bound, "a")


BEST = SelectionRow(
    kernel="f" * 64, fingerprint="f", origin="r1a0s0", model="m", time_ms=1.0, estimated=False, roofline_share=0.5,
    build="best", rank=0, techniques=(), cluster="",
)  # fmt: skip


def build(slot):
    return BuildRow(
        round=2, attempt=0, slot=slot, kernel=f"{slot:064x}", fingerprint=f"{slot}", status="built", build=f"b{slot}",
        duplicate_of="", chunk=0,
    )  # fmt: skip


def evaluation(slot, ms, verdict="passed"):
    place = {"round": 2, "attempt": 0, "slot": slot, "kernel": f"{slot:064x}", "fingerprint": f"{slot}"}
    timed = {"time_ms": ms, "roofline_share": 0.5, "estimated": False, "build": f"b{slot}"} if ms else {}
    return EvaluationRow(**place, verdict=verdict, judge="cuda", **timed)


def test_the_stage_compares_with_the_fastest_parent_and_skips_what_is_far_beyond():
    estimates = {f"b{slot}": 1.0 + slot for slot in range(40)} | {"best": 1.0}
    measured = [evaluation(slot, 1.0 + slot) for slot in range(20)]
    rows = screen_kernels(
        [build(slot) for slot in range(40)], measured, [BEST, BEST.model_copy(update={"time_ms": 9.0})],
        ScreenSettings(backend="cuda", seed=0), estimate=estimates.__getitem__,
    )  # fmt: skip
    assert {row.slot for row in rows if row.fate == "judged"} == {0}
    assert sum(row.fate == "sampled" for row in rows) == 4
    assert {row.bound for row in rows} == {MARGIN}


def test_skipped_kernels_reach_no_judge_and_are_not_repaired():
    asked = []

    def judge(rows):
        asked.extend(row.slot for row in rows)
        return {}

    decided = [row.model_copy(update={"fate": "skipped"}) for row in screen({0: 9.0, 1: 8.0}, 2.0, "a")]
    rows = evaluate([build(0), build(1)], chunk=0, judge=judge, screen=decided)
    assert asked == []
    assert {row.verdict for row in rows} == {"screened"}
    assert failed_slots(rows) == ""
    assert failures([], rows) == {}
    assert "estimated at 9.00x the best kernel's time" in rows[0].reason


def test_the_line_says_how_many_and_the_regret_of_the_sample():
    rows = screen(dict.fromkeys(range(10), 5.0) | {10: 1.0}, 2.0, "a")
    sampled = next(row.slot for row in rows if row.fate == "sampled")
    evaluations = [evaluation(sampled, 0.8), evaluation(10, 0.9)]
    evaluations += [evaluation(row.slot, None, "screened") for row in rows if row.fate == "skipped"]
    line = screen_line(rows, evaluations, 1.0)
    assert "9 of 11 kernels are not judged, estimated at more than 2.00x the best" in line
    assert (
        "1 such kernels are judged all the same: the fastest takes 0.80x the best kernel's time, regret 20.0%" in line
    )
    assert screen_line(screen({0: 1.0}, 2.0, "a"), [evaluation(0, 1.0)], 1.0) == ""
