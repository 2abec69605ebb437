"""Strategy `islands`: groups of parents that develop apart, with migration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.errors import ConfigError
from kopt.search.expand import FanOut
from kopt.search.strategies.islands import STRATEGY, Homes
from kopt.search.strategy import Asked
from tests.search.pools import member, pools

SEED = member(0, 9.0, round=0)


def names(parents):
    return [one.origin for one in parents]


def test_the_children_of_the_seed_are_dealt_out_by_their_slots():
    parents, archive = STRATEGY.choose([SEED], Homes(), 4)
    assert (names(parents), archive) == (["r0a0s0"], Homes())
    children = [member(slot, 1.0 + slot) for slot in (0, 2, 4, 6, 1, 3)]
    parents, archive = STRATEGY.choose([*parents, *children], archive, 4)
    assert names(parents) == ["r1a0s0", "r1a0s1", "r1a0s2", "r1a0s3"]  # two of either island, slower ones of one too
    assert archive.islands == {"kr1a0s0": 0, "kr1a0s2": 0, "kr1a0s1": 1, "kr1a0s3": 1}


def test_a_child_belongs_to_the_island_of_its_parent():
    archive = Homes(islands={"kr1a0s0": 0, "kr1a0s1": 1}, rounds=2)
    parents, child = [member(0, 1.0), member(1, 9.0)], member(4, 0.5, round=2)
    asked = [Asked(origin=child.origin, parent="kr1a0s1", model="m", cost_usd=0.0)]
    assert STRATEGY.learn(asked, [*parents, child], archive).islands[child.kernel] == 1


def test_every_second_round_the_second_fastest_of_an_island_moves_to_the_next():
    islands = {f"kr1a0s{slot}": slot % 2 for slot in range(6)}
    pool = [member(slot, 1.0 + slot) for slot in (0, 2, 4)] + [member(slot, 10.0 + slot) for slot in (1, 3, 5)]
    stayed = STRATEGY.choose(pool, Homes(islands=islands, rounds=2), 4)[1].islands
    assert stayed == {"kr1a0s0": 0, "kr1a0s2": 0, "kr1a0s1": 1, "kr1a0s3": 1}
    moved = STRATEGY.choose(pool, Homes(islands=islands, rounds=1), 4)[1].islands
    assert moved == {"kr1a0s0": 0, "kr1a0s4": 0, "kr1a0s2": 1, "kr1a0s1": 1}


@given(pool=pools(), width=st.integers(2, 6), rounds=st.integers(0, 3))
def test_islands_have_equally_many_parents_and_no_place_stays_empty(pool, width, rounds):
    distinct = [one.model_copy(update={"fingerprint": one.kernel}) for one in pool]
    parents, archive = STRATEGY.choose(distinct, Homes(rounds=rounds), width)
    assert len(parents) == min(width, len(distinct))
    if len(parents) == width > 1:
        sizes = [list(archive.islands.values()).count(island) for island in range(2)]
        assert max(sizes) - min(sizes) <= 1


def test_a_single_parent_is_refused():
    with pytest.raises(ConfigError, match="candidate_pool_size must be at least 2"):
        STRATEGY.check(FanOut(width=1, bottlenecks=1, models=("m",), samples=1))
