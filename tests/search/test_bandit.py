"""Strategy `bandit`: slots go to the models that gain most for their dollars."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.errors import ConfigError
from kopt.model.trial import SelectionRow
from kopt.search.expand import FanOut
from kopt.search.strategies.bandit import STRATEGY, Record, Records, dealt
from kopt.search.strategy import Asked
from tests.search.pools import member

records = st.dictionaries(
    st.sampled_from("abc"),
    st.builds(Record, asked=st.integers(1, 90), usd=st.floats(0, 9), gain=st.floats(0, 3)),
)


def test_before_anything_is_known_slots_are_dealt_out_evenly():
    assert dealt(("a", "b", "c"), {}, 24) == {"a": 8, "b": 8, "c": 8}


def test_the_model_that_gains_the_same_for_less_gets_more_slots_and_the_other_still_some():
    known = {"dear": Record(asked=12, usd=2.4, gain=0.5), "cheap": Record(asked=12, usd=0.1, gain=0.5)}
    shares = dealt(("dear", "cheap"), known, 24)
    assert shares["cheap"] > 2 * shares["dear"] > 0


@given(known=records, slots=st.integers(1, 60))
def test_every_slot_is_dealt_out(known, slots):
    assert sum(dealt(("a", "b", "c"), known, slots).values()) == slots


def test_gain_cost_and_failures_are_taken_from_the_rounds_requests():
    parent, faster, slower = member(0, 2.0), member(1, 1.0, round=2), member(2, 4.0, round=2)
    asked = [
        Asked(origin="r0a0s0", parent="", model="", cost_usd=0.0),
        Asked(origin=faster.origin, parent=parent.kernel, model="a", cost_usd=0.5),
        Asked(origin=slower.origin, parent=parent.kernel, model="a", cost_usd=0.25),
        Asked(origin="r2a0s3", parent=parent.kernel, model="b", cost_usd=0.125),  # failed
    ]
    before = Records(models={"b": Record(asked=1, usd=1.0, gain=0.0)})
    learned = STRATEGY.learn(asked, [parent, faster, slower], before).models
    assert learned == {
        "a": Record(asked=2, usd=0.75, gain=math.log(2.0)),
        "b": Record(asked=2, usd=1.125, gain=0.0),
    }


def test_the_slots_of_a_model_are_spread_over_parents_and_directions():
    parents = [SelectionRow(rank=rank, **member(rank, 1.0 + rank).model_dump()) for rank in range(2)]
    fan_out = FanOut(width=2, bottlenecks=2, models=("a", "b"), samples=3)
    slots = STRATEGY.slots(parents, Records(), fan_out)
    asked = {name: [(slot.parent_rank, slot.bottleneck) for slot in slots if slot.model == name] for name in "ab"}
    for places in asked.values():
        assert [places.count((rank, bottleneck)) for rank in (0, 1) for bottleneck in (1, 2)] == [3, 3, 3, 3]


def test_a_single_model_is_refused():
    with pytest.raises(ConfigError, match="name at least two in models, or take strategy beam"):
        STRATEGY.check(FanOut(width=2, bottlenecks=1, models=("a",), samples=1))
