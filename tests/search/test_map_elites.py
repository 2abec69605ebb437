"""Strategy `map_elites`: an elite for every niche, the rested ones expanded first."""

from hypothesis import given
from hypothesis import strategies as st

from kopt.search.strategies.map_elites import STRATEGY, Elites, niche
from tests.search.pools import member, pools

MEMORY = ("vectorized_load", "masked_access", "swizzled_load", "async_copy_tma")
NAMES = (*MEMORY, "tensor_cores", "persistent_kernel", "mine")


def test_a_niche_counts_techniques_of_memory_arithmetic_and_grid_up_to_three():
    assert niche(member(0, 1.0)) == (0, 0, 0)
    assert niche(member(0, 1.0, techniques=NAMES)) == (3, 1, 2)  # an unknown technique is of the grid


def test_an_elite_that_fell_behind_is_expanded_again():
    slow = member(9, 5.0, techniques=("tensor_cores",))
    parents, archive = STRATEGY.choose([member(0, 1.0), slow], Elites(), 1)
    assert [one.origin for one in parents] == ["r1a0s0"]
    parents, _ = STRATEGY.choose([*parents, member(0, 2.0, round=2)], archive, 2)
    assert [one.origin for one in parents] == ["r1a0s0", "r1a0s9"]  # not in the pool, and faster than nobody


def test_elites_that_were_expanded_least_come_first():
    pool = [member(0, 1.0), member(1, 2.0, techniques=NAMES[:1]), member(2, 3.0, techniques=NAMES[:2])]
    first, archive = STRATEGY.choose(pool, Elites(), 2)
    second, _ = STRATEGY.choose(first, archive, 2)
    assert [[one.origin[-1] for one in parents] for parents in (first, second)] == [["0", "1"], ["0", "2"]]


@given(pool=pools(), techniques=st.lists(st.lists(st.sampled_from(NAMES), unique=True), min_size=25, max_size=25))
def test_an_elite_is_the_fastest_of_its_niche_and_no_niche_is_lost(pool, techniques):
    pool = [
        one.model_copy(update={"techniques": tuple(names), "fingerprint": one.kernel})
        for one, names in zip(pool, techniques, strict=False)
    ]
    elites = STRATEGY.choose(pool, Elites(), 2)[1].elites
    fastest = {niche(one): min(other.time_ms for other in pool if niche(other) == niche(one)) for one in pool}
    assert {niche(one.kernel): one.kernel.time_ms for one in elites} == fastest
