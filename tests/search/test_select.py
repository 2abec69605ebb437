from hypothesis import given
from hypothesis import strategies as st

from kopt.model.trial import RankRow, TechniqueRow
from kopt.search.order import age, by_time, dedup
from kopt.search.select import diversify, select


def row(slot: int, time_ms: float, fingerprint: str = "", round: int = 1) -> RankRow:
    origin = f"r{round}a0s{slot}"
    return RankRow(
        position=0, kernel=f"k{origin}", fingerprint=fingerprint or f"f{origin}", origin=origin, model="m",
        time_ms=time_ms, estimated=True, roofline_share=0.5,
    )  # fmt: skip


def technique(row: RankRow, cluster: str) -> TechniqueRow:
    return TechniqueRow(
        kernel=row.kernel, fingerprint=row.fingerprint, techniques=(), classified=True, cluster=cluster, new=True
    )


pools = st.lists(
    st.tuples(st.floats(0.1, 10), st.sampled_from("abcde")), min_size=1, max_size=25
).map(lambda drawn: [row(slot, time, fingerprint) for slot, (time, fingerprint) in enumerate(drawn)])  # fmt: skip


@given(pools)
def test_dedup_is_idempotent(pool):
    assert dedup(dedup(pool)) == dedup(pool)


@given(pools)
def test_dedup_keeps_one_kernel_per_fingerprint(pool):
    kept = [r.fingerprint for r in dedup(pool)]
    assert sorted(kept) == sorted({r.fingerprint for r in pool})


@given(pools, st.randoms(), st.booleans(), st.integers(1, 6))
def test_selection_does_not_depend_on_the_order_of_the_pool(pool, random, clustering, width):
    techniques = [technique(r, f"c{i % 3}") for i, r in enumerate(pool)]
    shuffled = random.sample(pool, len(pool))
    assert select(pool, techniques, width=width, clustering=clustering) == select(
        shuffled, techniques, width=width, clustering=clustering
    )


@given(pools)
def test_without_clustering_selection_is_the_fastest(pool):
    chosen = select(pool, [], width=3, clustering=False)
    assert [r.kernel for r in chosen] == [r.kernel for r in dedup(pool)[:3]]


@given(pools)
def test_diversify_loses_and_invents_nothing(pool):
    unique = dedup(pool)
    spread = diversify(unique, {r.kernel: (r.fingerprint in "ab" and "x") or "y" for r in unique})
    assert by_time(spread) == unique


def test_pass_zero_takes_the_fastest_of_every_cluster_in_order_of_time():
    a1, a2, b1, b2, c1 = row(0, 1.0), row(1, 1.1), row(2, 2.0), row(3, 2.5), row(4, 9.0)
    clusters = {a1.kernel: "a", a2.kernel: "a", b1.kernel: "b", b2.kernel: "b", c1.kernel: "c"}
    assert diversify([a1, a2, b1, b2, c1], clusters) == [a1, b1, c1, a2, b2]


def test_an_unclassified_kernel_is_its_own_cluster():
    a1, a2, lone = row(0, 1.0), row(1, 1.1), row(2, 3.0)
    assert diversify([a1, a2, lone], {a1.kernel: "a", a2.kernel: "a"}) == [a1, lone, a2]


def test_kernels_without_a_fingerprint_never_merge():
    one, two = (row(s, 1.0).model_copy(update={"fingerprint": ""}) for s in (0, 1))
    assert dedup([one, two]) == [one, two]


def test_equal_times_keep_the_order_in_which_kernels_came():
    late, early = row(0, 1.0, "x", round=10), row(7, 1.0, "y", round=2)
    assert dedup([late, early]) == [early, late]


def test_age_orders_candidates_by_round_attempt_and_slot():
    assert sorted(["r10a0s1", "r2a1s0", "r2a0s30", "r2a0s4"], key=age) == ["r2a0s4", "r2a0s30", "r2a1s0", "r10a0s1"]
