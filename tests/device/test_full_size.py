import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import LAUNCHES, MATVEC, built, facts_for, h100, ptx_of

from kopt.estimate.kernel_time import estimate
from kopt.estimate.work_done import LEAST, undone_work
from kopt.model.build import HostOp, Phase
from kopt.model.timing import Estimated, WorkloadEstimate


def done(*shares: float) -> Estimated:
    return Estimated(
        device="d",
        workloads=tuple(
            WorkloadEstimate(
                workload=f"w{at}", ms=1.0, memory_ms=1.0, compute_ms=0.0, launch_ms=0.0, floor_ms=1.0, bound="memory",
                done=share,
            )
            for at, share in enumerate(shares)
        ),
    )  # fmt: skip


def share_of(name: str, **changes) -> float:
    launch = LAUNCHES[name].model_copy(update=changes)
    return estimate(built(launch), facts_for(name), h100(), ptx_of).workloads[0].done


@pytest.mark.parametrize("name", sorted({*LAUNCHES} - {"matvec_reduce"}))
def test_recorded_honest_launches_do_all_of_their_work(name):
    assert share_of(name) >= 0.99


@pytest.mark.parametrize("share", [0.25, 0.5, 0.85])
def test_a_launch_over_part_of_the_rows_does_that_share_of_the_work(share):
    rows = LAUNCHES["matvec_plain"].grid[0]
    assert share_of("matvec_plain", grid=(int(rows * share), 1, 1)) == pytest.approx(share, rel=0.03)


def test_a_kernel_that_leaves_work_out_fails_in_phase_roofline_and_hears_where():
    failed = undone_work(done(1.0, 0.6), None, "interpret")
    assert failed is not None
    assert (failed.phase, failed.judge) == (Phase.ROOFLINE, "interpret")
    assert "w1" in failed.reason
    assert "60%" in failed.reason


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_the_least_share_decides(shares):
    assert (undone_work(done(*shares), None, "j") is None) == (min(shares) >= LEAST)


@given(st.floats(0, 1))
def test_who_does_as_much_as_the_seed_kernel_passes(share):
    assert undone_work(done(share), done(share), "j") is None


def test_nobody_gains_by_more_work_than_there_is():
    assert share_of("matvec_plain", grid=(4 * LAUNCHES["matvec_plain"].grid[0], 1, 1)) == 1.0


def test_inputs_that_torch_copies_count_as_read():
    whole = MATVEC.workloads[0].inputs[0]
    copy = HostOp(
        name="aten._to_copy.default", shapes=(whole.shape,), dtypes=("bfloat16",), kind="copy", pointers=(), scalars=(),
        before=0,
    )  # fmt: skip
    some = LAUNCHES["matvec_plain"].model_copy(update={"grid": (1, 1, 1)})
    assert estimate(built(some, host_ops=[copy]), MATVEC, h100(), ptx_of).workloads[0].done >= 0.99
