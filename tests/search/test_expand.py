from hypothesis import given
from hypothesis import strategies as st

from kopt.model.trial import SelectionRow
from kopt.search.expand import expand, unused


def parent(rank: int) -> SelectionRow:
    return SelectionRow(
        rank=rank, kernel=f"k{rank}", fingerprint=f"f{rank}", origin=f"r0a0s{rank}", model="m", time_ms=1.0,
        estimated=True, roofline_share=0.5, techniques=(), cluster="none",
    )  # fmt: skip


factors = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))


@given(factors)
def test_slots_number_pool_x_bottlenecks_x_models_x_samples(drawn):
    pool, bottlenecks, models, samples, parents = drawn
    slots = expand(
        [parent(r) for r in range(min(parents, pool))],
        pool=pool, bottlenecks=bottlenecks, models=[f"m{i}" for i in range(models)], samples=samples,
    )  # fmt: skip
    assert len(slots) == pool * bottlenecks * models * samples
    assert [s.slot for s in slots] == list(range(len(slots)))


@given(factors)
def test_no_two_slots_make_the_same_request(drawn):
    pool, bottlenecks, models, samples, parents = drawn
    slots = expand(
        [parent(r) for r in range(min(parents, pool))],
        pool=pool, bottlenecks=bottlenecks, models=[f"m{i}" for i in range(models)], samples=samples,
    )  # fmt: skip
    requests = {(s.parent, s.bottleneck, s.model, s.sample) for s in slots}
    assert len(requests) == len(slots)


def test_every_parent_of_a_full_pool_is_expanded_in_every_direction():
    slots = expand([parent(0), parent(1)], pool=2, bottlenecks=2, models=["m"], samples=1)
    assert [(s.parent, s.bottleneck) for s in slots] == [("k0", 1), ("k0", 2), ("k1", 1), ("k1", 2)]


def test_a_stopped_round_says_in_every_slot_why_nothing_is_asked():
    assert [s.skipped for s in unused(3, "stopped: roofline")] == ["stopped: roofline"] * 3
