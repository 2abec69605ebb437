import math
from time import monotonic

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import LAUNCHES, MATMUL, MATVEC, built, facts_for, h100, ptx_of

from kopt.estimate.full_size import launch_use as launch_use_module
from kopt.estimate.full_size.accesses import Accesses, choose_threads, parameter_of
from kopt.estimate.full_size.execute import Executor
from kopt.estimate.full_size.launch_use import launch_use
from kopt.estimate.full_size.pieces import Union, distinct_bytes, growth, one_piece
from kopt.estimate.full_size.work_shares import LEAST, undone_work
from kopt.estimate.instructions import parse
from kopt.estimate.kernel_time import estimate
from kopt.estimate.registers import integer
from kopt.model.build import HostOp, Launch, Phase
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


def returned(launch: Launch, rows: int):
    """The estimate of a softmax that returns its allocation, with as many programs as rows."""
    name = "softmax_three_reads"
    facts = facts_for(name)
    spec = facts.workloads[0].outputs[0].model_copy(update={"name": "output", "shape": (rows, 8192)})
    inputs = (facts.workloads[0].inputs[0].model_copy(update={"shape": (rows, 8192)}),)
    workload = facts.workloads[0].model_copy(update={"inputs": inputs, "outputs": (spec,)})
    build = built(launch)
    traced = build.workloads[0].model_copy(update={"output": f"allocation 0 bfloat16[{rows},8192][8192,1]"})
    build = build.model_copy(update={"workloads": (traced,)})
    return estimate(build, facts.model_copy(update={"workloads": (workload,)}), h100(), ptx_of)


@pytest.mark.parametrize(("rows", "left_out"), [(4096, 100), (20_000, 600)])
def test_an_output_must_be_written_whole_where_it_is_known_what_every_program_does(rows, left_out):
    launch = LAUNCHES["softmax_three_reads"]
    whole, cut = (returned(launch.model_copy(update={"grid": (grid, 1, 1)}), rows) for grid in (rows, rows - left_out))
    assert undone_work(whole, None, "j") is None
    failed = undone_work(cut, None, "j")
    assert failed is not None
    assert "of output written" in failed.reason
    assert undone_work(cut, cut, "j") is None


def test_nobody_gains_by_more_work_than_there_is():
    assert share_of("matvec_plain", grid=(4 * LAUNCHES["matvec_plain"].grid[0], 1, 1)) == 1.0


def copy_of(strides: str) -> HostOp:
    """A copy of the matrix, seen with these strides, into a new allocation."""
    return HostOp(
        name="aten._to_copy.default", shapes=((2048, 1048576),), dtypes=("bfloat16",), kind="copy",
        pointers=(f"input 0 bfloat16[2048,1048576]{strides}", "allocation 7 bfloat16[2048,1048576][1048576,1]"),
    )  # fmt: skip


def on_copy(launch: Launch, place: str) -> Launch:
    return launch.model_copy(update={"pointers": ((launch.arguments[0][0], place), *launch.pointers[1:])})


@pytest.mark.parametrize(
    ("strides", "place", "share"),
    [("[1048576,1]", "allocation 7", 1.0), ("[0,1]", "allocation 7", 1 / 2048), ("[1048576,1]", "input 1", 0.0)],
)
def test_a_copy_reads_what_is_read_of_its_result_and_each_byte_once(strides, place, share):
    launch = on_copy(LAUNCHES["matvec_plain"], place)
    facts = MATVEC
    found = estimate(built(launch, host_ops=[copy_of(strides)]), facts, h100(), ptx_of).workloads[0]
    assert found.done == pytest.approx(share, abs=0.002)


def test_bytes_that_are_read_again_count_once():
    launch = LAUNCHES["matvec_plain"].model_copy(update={"grid": (512, 1, 1)})
    assert estimate(built(*[launch] * 4), MATVEC, h100(), ptx_of).workloads[0].done == pytest.approx(0.25, rel=0.03)


def test_launches_over_parts_of_a_matrix_add_up():
    launch = LAUNCHES["matvec_plain"].model_copy(update={"grid": (512, 1, 1)})
    (_, a), *others = launch.pointers
    parts = [
        launch.model_copy(update={"pointers": ((launch.pointers[0][0], f"{a} + {512 * 2 * 1048576 * at}"), *others)})
        for at in range(4)
    ]
    assert estimate(built(*parts), MATVEC, h100(), ptx_of).workloads[0].done >= 0.99


def test_an_access_behind_a_tensors_end_is_refused():
    short = MATVEC.workloads[0].inputs[0].model_copy(update={"shape": (2047, 1048576)})
    inputs = (short, MATVEC.workloads[0].inputs[1])
    facts = MATVEC.model_copy(update={"workloads": (MATVEC.workloads[0].model_copy(update={"inputs": inputs}),)})
    found = estimate(built(LAUNCHES["matvec_plain"]), facts, h100(), ptx_of)
    assert "2097152 bytes behind the end" in found.workloads[0].outside
    failed = undone_work(found, None, "j")
    assert failed is not None
    assert failed.phase is Phase.LAUNCH


def test_thousands_of_equal_launches_are_followed_once():
    launch = LAUNCHES["matmul_large"]
    begin = monotonic()
    estimate(built(*[launch] * 2000), MATMUL, h100(), ptx_of)
    assert monotonic() - begin < 20


@pytest.mark.parametrize("sampled", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("owners", [1, 3, 50])
def test_growth_follows_from_how_often_sampled_programs_meet(sampled, owners):
    """10000 places, each of `owners` programs, of which a random sample was followed."""
    programs = np.repeat(np.arange(10000), owners)
    chosen = np.random.default_rng(0).permutation(programs)[: int(len(programs) * sampled)]
    distinct = len(np.unique(chosen))
    assert distinct * growth(distinct, len(chosen), sampled) == pytest.approx(10000, rel=0.1)


def loop(bound: str) -> str:
    return f"""
.visible .entry k(
	.param .u64 .ptr .global .align 1 k_param_0,
	.param .u64 .ptr .global .align 1 k_param_1,
	.param .u64 .ptr .global .align 1 k_param_2,
	.param .u64 .ptr .global .align 1 k_param_3
)
{{
	ld.param.b64 	%rd1, [k_param_0];
	ld.param.b64 	%rd2, [k_param_1];
	ld.global.b32 	{{ %r9 }}, [ %rd2 + 0 ];
	mov.u32 	%r1, %tid.x;
	mul.wide.s32 	%rd3, %r1, 4;
	add.s64 	%rd4, %rd1, %rd3;
	mov.b32 	%r2, 0;
$L1:
	ld.global.b32 	{{ %r4 }}, [ %rd4 + 0 ];
	add.s64 	%rd4, %rd4, 128;
	add.s32 	%r2, %r2, 1;
	setp.lt.s32 	%p1, %r2, {bound};
	@%p1 bra 	$L1;
	ret;
}}
"""


@pytest.mark.parametrize(("bound", "contents", "read"), [("1000", {}, 128000), ("%r9", {1: 70}, 8960)])
def test_a_loop_reads_what_its_bound_says_even_one_that_the_host_filled_in(bound, contents, read):
    threads = choose_threads((1, 1, 1), 32)
    found = Executor(parse(loop(bound)), threads, {}, contents, {}).run()
    starts = [v for v in found.visits if v.kind == "load_global" and parameter_of(v.address)[0] == 0]
    iterations = sum(int(v.count[0]) if v.count is not None else 1 for v in starts)
    assert iterations * 128 == read
    assert not found.undecided


def test_a_loop_whose_bound_is_data_is_not_known():
    found = Executor(parse(loop("%r9")), choose_threads((1, 1, 1), 32), {}, {}, {}).run()
    assert found.undecided
    assert math.isinf(found.unknown[0])


def test_constants_beyond_int64_wrap():
    assert integer("0xffffffff80000000") == -(2**31)


def of_one_warp(programs: int) -> Launch:
    """Return a launch of programs of one warp, whose code is written by hand."""
    return LAUNCHES[min(LAUNCHES)].model_copy(
        update={"grid": (programs, 1, 1), "num_warps": 1, "num_ctas": 1, "arguments": (), "pointers": ()}
    )


FEW_PROGRAMS = """
.visible .entry k(
	.param .u64 .ptr .global .align 1 k_param_0
)
{
	ld.param.b64 	%rd1, [k_param_0];
	mov.u32 	%r1, %tid.x;
	mov.u32 	%r2, %ctaid.x;
	setp.lt.s32 	%p1, %r2, 4;
	mad.lo.s32 	%r3, %r2, 32, %r1;
	mul.wide.s32 	%rd2, %r3, 4;
	add.s64 	%rd3, %rd1, %rd2;
	@%p1 st.global.b32 	[ %rd3 + 0 ], { %r1 };
	ret;
}
"""


@pytest.mark.parametrize("programs", [3, 5, 100, 4096])
def test_what_only_few_programs_write_is_as_wide_as_their_blocks(programs):
    launch = of_one_warp(programs)
    found = launch_use(parse(FEW_PROGRAMS), launch, {}).written[0]
    assert (found.pieces.ends - found.pieces.starts).sum() == min(programs, 4) * 128


TILES = """
.visible .entry k(
	.param .u64 .ptr .global .align 1 k_param_0
)
{
	ld.param.b64 	%rd1, [k_param_0];
	mov.u32 	%r1, %tid.x;
	mov.u32 	%r2, %ctaid.x;
	mov.u32 	%r3, %nctaid.x;
$L1:
	div.s32 	%r4, %r2, 50;
	rem.s32 	%r5, %r2, 50;
	mul.lo.s32 	%r6, %r4, 100;
	add.s32 	%r7, %r6, %r5;
	mad.lo.s32 	%r8, %r7, 32, %r1;
	mul.wide.s32 	%rd2, %r8, 4;
	add.s64 	%rd3, %rd1, %rd2;
	setp.lt.s32 	%p2, %r4, 30;
	@%p2 st.global.b32 	[ %rd3 + 0 ], { %r1 };
	add.s32 	%r2, %r2, %r3;
	setp.lt.s32 	%p1, %r2, 4000;
	@%p1 bra 	$L1;
	ret;
}
"""
"""Programs take turns at 80 x 50 tiles, and write those of the first 30 rows in every second half of a wider matrix."""


@pytest.mark.parametrize("programs", [1, 7, 25, 50, 53, 132])
def test_a_loop_over_tiles_that_is_no_progression_is_followed_to_its_end(programs):
    launch = of_one_warp(programs)
    use = launch_use(parse(TILES), launch, {})
    assert use.certain
    assert distinct_bytes([use.written[0]], None) == 30 * 50 * 128
    assert use.bounds[0] == (0, (29 * 100 + 49) * 128 + 128)


SHORT_ROWS = TILES.replace(", 50;", ", 7;").replace("setp.lt.s32 	%p2, %r4, 30", "setp.lt.s32 	%p2, %r4, 3000")
"""The same with rows so short that no part of the loop is a progression; all tiles are written."""


def walk_of(text: str, programs: int, limit: int) -> Accesses:
    return Executor(parse(text), choose_threads((programs, 1, 1), 32), {}, {}, {}, limit).run()


@pytest.mark.parametrize("programs", [1, 3, 25])
@pytest.mark.parametrize("limit", [1200, 1900])
def test_a_walk_that_was_ended_tells_how_long_it_would_have_been(programs, limit):
    whole, ended = walk_of(SHORT_ROWS, programs, 100_000), walk_of(SHORT_ROWS, programs, limit)
    assert whole.complete
    assert not ended.complete
    assert ended.steps_to_end == pytest.approx(whole.steps, rel=0.3)


def test_visits_that_differ_by_a_distance_are_kept_once():
    visits = walk_of(SHORT_ROWS, 1, 100_000).visits
    assert len(visits) == 4000
    assert len({id(visit.base) for visit in visits}) <= 2
    assert len({int(visit.address[0]) for visit in visits}) == len(visits)


STRIDED = """
.visible .entry k(
	.param .u64 .ptr .global .align 1 k_param_0
)
{
	ld.param.b64 	%rd1, [k_param_0];
	mov.u32 	%r1, %tid.x;
	mov.u32 	%r2, %ctaid.x;
	mul.lo.s32 	%r3, %r1, 3;
	mad.lo.s32 	%r4, %r2, 96, %r3;
	mul.wide.s32 	%rd2, %r4, 4;
	add.s64 	%rd3, %rd1, %rd2;
	st.global.b32 	[ %rd3 + 0 ], { %r1 };
	ret;
}
"""


@pytest.mark.parametrize(("listed", "known"), [(99, False), (3200, True)])
def test_what_lies_in_too_many_pieces_is_not_known(listed, known, monkeypatch):
    monkeypatch.setattr(launch_use_module, "MOST_SPREAD", listed)
    launch = of_one_warp(100)
    use = launch_use(parse(STRIDED), launch, {})
    assert (0 in use.unknown, 0 in use.written) == (not known, known)
    if known:
        assert distinct_bytes([use.written[0]], None) == 100 * 32 * 4


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 9)), min_size=1), st.integers(1, 7))
def test_a_union_is_what_all_its_pieces_cover(pieces, listed):
    union = Union(listed)
    for start, length in pieces:
        union.add(one_piece(start, length))
    merged = union.merged()
    covered = {at for start, length in pieces for at in range(start, start + length)}
    assert {at for start, end in zip(*merged, strict=True) for at in range(start, end)} == covered
    assert (merged.starts[1:] > merged.ends[:-1]).all()
