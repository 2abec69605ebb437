from hypothesis import given
from hypothesis import strategies as st

from kopt.model.trial import SelectionRow
from kopt.search.expand import FanOut, expand, unused


def parent(rank: int) -> SelectionRow:
    return SelectionRow(
        rank=rank, kernel=f"k{rank}", fingerprint=f"f{rank}", origin=f"r0a0s{rank}", model="m", time_ms=1.0,
        estimated=True, roofline_share=0.5, techniques=(), cluster="none",
    )  # fmt: skip


fan_outs = st.builds(
    FanOut,
    width=st.integers(1, 4),
    bottlenecks=st.integers(1, 3),
    models=st.integers(1, 3).map(lambda count: tuple("abc"[:count])),
    samples=st.integers(1, 3),
)


@given(fan_outs, st.integers(1, 4))
def test_slots_number_parents_x_bottlenecks_x_models_x_samples(fan_out, parents):
    slots = expand([parent(r) for r in range(min(parents, fan_out.width))], fan_out)
    expected = fan_out.width * fan_out.bottlenecks * len(fan_out.models) * fan_out.samples
    assert len(slots) == fan_out.slots == expected


def test_every_parent_of_a_full_pool_is_expanded_in_every_direction():
    slots = expand([parent(0), parent(1)], FanOut(width=2, bottlenecks=2, models=("m",), samples=1))
    assert [(s.parent, s.bottleneck) for s in slots] == [("k0", 1), ("k0", 2), ("k1", 1), ("k1", 2)]


def test_a_parent_that_stands_in_for_missing_ones_is_asked_with_other_sample_indices():
    slots = expand([parent(0)], FanOut(width=2, bottlenecks=1, models=("m",), samples=2))
    assert [(s.parent, s.sample) for s in slots] == [("k0", 0), ("k0", 1), ("k0", 2), ("k0", 3)]


def test_a_stopped_round_says_in_every_slot_why_nothing_is_asked():
    assert [s.skipped for s in unused(3, "stopped: roofline")] == ["stopped: roofline"] * 3
