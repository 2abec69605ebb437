from hypothesis import given

from kopt.search.order import age, dedup
from tests.search.pools import member, pools


@given(pools())
def test_dedup_is_idempotent(pool):
    assert dedup(dedup(pool)) == dedup(pool)


@given(pools())
def test_dedup_keeps_one_kernel_per_fingerprint(pool):
    kept = [row.fingerprint for row in dedup(pool)]
    assert sorted(kept) == sorted({row.fingerprint for row in pool})


def test_kernels_without_a_fingerprint_never_merge():
    first, second = (member(slot, 1.0).model_copy(update={"fingerprint": ""}) for slot in (0, 1))
    assert dedup([first, second]) == [first, second]


def test_equal_times_keep_the_order_in_which_kernels_came():
    late, early = member(0, 1.0, "x", round=10), member(7, 1.0, "y", round=2)
    assert dedup([late, early]) == [early, late]


def test_age_orders_candidates_by_round_attempt_and_slot():
    assert sorted(["r10a0s1", "r2a1s0", "r2a0s30", "r2a0s4"], key=age) == ["r2a0s4", "r2a0s30", "r2a1s0", "r10a0s1"]
