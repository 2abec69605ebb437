"""A share of the rewriter's slots tunes numbers, those of fast parents."""

import pytest

from kopt.model.proposers import REWRITER
from kopt.model.trial import SelectionRow
from kopt.search.expand import FanOut, expand, unused
from kopt.search.tuned_slots import tuned_slots


def parents(*times):
    return [
        SelectionRow(
            rank=rank, kernel=f"k{rank}", fingerprint="", origin="", model="", time_ms=time, estimated=True,
            roofline_share=0.5, techniques=(), cluster="",
        )
        for rank, time in enumerate(times)
    ]  # fmt: skip


def chosen(times, share=1 / 3, models=(REWRITER,), width=4, round=2):
    rows = parents(*times)
    slots = expand(rows, FanOut(width=width, bottlenecks=3, models=models, samples=2))
    places = tuned_slots(slots, rows, round, share)
    return [slots[place] for place in sorted(places)]


def test_a_share_of_the_slots_is_tuned():
    assert len(chosen((1.0, 1.01, 1.02, 1.03))) == 8
    assert chosen((1.0, 1.0), share=0.0) == []


def test_slow_parents_are_not_tuned():
    assert {slot.parent for slot in chosen((1.0, 1.5, 1.05, 3.0))} == {"k0", "k2"}


def test_a_parent_keeps_half_of_its_slots_for_other_changes():
    assert len(chosen((1.0, 2.0, 2.0, 2.0), share=1.0)) == 3


def test_the_least_promising_directions_are_given_up_first():
    assert {slot.bottleneck for slot in chosen((1.0, 1.0, 1.0, 1.0))} == {3}


def test_other_proposers_slots_are_left_alone():
    assert {slot.model for slot in chosen((1.0, 1.0), models=("gpt-5", REWRITER))} == {REWRITER}


@pytest.mark.parametrize("round", [0, 1])
def test_nothing_is_tuned_before_sketches_have_times(round):
    assert chosen((1.0,), round=round) == []


def test_no_slot_of_a_stopped_search_is_tuned():
    assert tuned_slots(unused(4, "stopped"), parents(1.0), 3, 1.0) == frozenset()
