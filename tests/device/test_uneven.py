"""Launches whose programs do unequal work are estimated at the sum of their programs' work."""

import numpy as np
import pytest
from recorded import ATTENTION, LAUNCHES, h100, ptx_of

from kopt.estimate.blocks import control_flow
from kopt.estimate.instructions import parse
from kopt.estimate.launch_time import LaunchOnDevice, LaunchTime, time_launch
from kopt.estimate.parameters import scalar_values
from kopt.estimate.registers import PROGRAMS, sample
from kopt.estimate.uneven import MOST_KINDS, alike, finish
from kopt.estimate.walk import Walk, walk
from kopt.model.build import Launch
from kopt.model.problem import Dtype
from kopt.roofline import occupancy

WORK = "\n".join(f"\tfma.rn.f32 %f{at}, %f{at}, %f{at}, %f{at};" for at in range(64))
"""What a pass of a loop does: 64 instructions."""

TRIANGULAR = f"""
.visible .entry k(
\t.param .u32 k_param_0,
\t.param .u32 k_param_1,
\t.param .u64 k_param_2,
\t.param .u64 k_param_3
)
{{
\tld.param.b32 %r1, [k_param_0];
\tld.param.b32 %r2, [k_param_1];
\tmov.u32 %r3, %ctaid.x;
\tmad.lo.s32 %r4, %r3, %r1, %r2;
\tsetp.lt.s32 %p1, %r4, 1;
\t@%p1 bra $L__BB0_3;
\tmov.b32 %r5, 0;
$L__BB0_2:
{WORK}
\tadd.s32 %r5, %r5, 1;
\tsetp.lt.s32 %p2, %r5, %r4;
\t@%p2 bra $L__BB0_2;
$L__BB0_3:
\tret;
}}
"""
"""Program p makes max(p * SLOPE + BASE, 0) passes."""

ONE_IN_SOME = TRIANGULAR.replace(
    "\tmad.lo.s32 %r4, %r3, %r1, %r2;",
    "\tand.b32 %r6, %r3, %r1;\n\tsetp.eq.s32 %p3, %r6, 0;\n\tselp.b32 %r4, %r2, 0, %p3;",
)
"""Programs whose number has none of the bits SLOPE make BASE passes, others none."""

TILES = """
.visible .entry k(
\t.param .u32 k_param_0,
\t.param .u32 k_param_1,
\t.param .u32 k_param_2,
\t.param .u64 k_param_3,
\t.param .u64 k_param_4
)
{
\tld.param.b32 %r1, [k_param_0];
\tld.param.b32 %r2, [k_param_1];
\tld.param.b32 %r7, [k_param_2];
\tmov.u32 %r3, %ctaid.x;
\tmov.u32 %r8, %nctaid.x;
"""
"""Beginning of a kernel that reads SLOPE, BASE and TILES, the number of its program and that of all programs."""

PERSISTENT = f"""{TILES}$L__BB0_1:
\tmad.lo.s32 %r4, %r3, %r1, %r2;
\tmov.b32 %r5, 0;
$L__BB0_2:
{WORK}
\tadd.s32 %r5, %r5, 1;
\tsetp.lt.s32 %p2, %r5, %r4;
\t@%p2 bra $L__BB0_2;
\tadd.s32 %r3, %r3, %r8;
\tsetp.lt.s32 %p1, %r3, %r7;
\t@%p1 bra $L__BB0_1;
\tret;
}}
"""
"""Tile t of TILES, which all programs share out in turn, takes t * SLOPE + BASE passes."""


AROUND_THE_MIDDLE = f"""{TILES}\tsetp.ge.s32 %p4, %r3, %r7;
\t@%p4 bra $L__BB0_6;
\tbra.uni $L__BB0_2;
$L__BB0_4:
\tadd.s32 %r9, %r9, 1;
$L__BB0_5:
\tadd.s32 %r3, %r3, %r8;
\tsetp.lt.s32 %p1, %r3, %r7;
\t@%p1 bra $L__BB0_2;
\tbra.uni $L__BB0_6;
$L__BB0_2:
\tmad.lo.s32 %r4, %r3, %r1, %r2;
\tsetp.lt.s32 %p3, %r4, 1;
\t@%p3 bra $L__BB0_5;
\tmov.b32 %r5, 0;
$L__BB0_3:
{WORK}
\tadd.s32 %r5, %r5, 1;
\tsetp.lt.s32 %p2, %r5, %r4;
\t@%p2 bra $L__BB0_3;
\tbra.uni $L__BB0_4;
$L__BB0_6:
\tret;
}}
"""
"""The same, as LLVM lays it out: the end of an iteration comes first, and tiles without passes skip the inner loop."""


def launch(programs: int, **scalars: int) -> Launch:
    return LAUNCHES["matvec_plain"].model_copy(
        update={
            "grid": (programs, 1, 1),
            "constants": (),
            "signature": tuple((name, "i32") for name in scalars),
            "arguments": tuple((name, str(value)) for name, value in scalars.items()),
        }
    )


def walked(ptx: str, programs: int, **scalars: int) -> Walk:
    program = parse(ptx)
    return walk(program, sample((programs, 1, 1), 128, 264), scalar_values(program, launch(programs, **scalars)))


def passes(ptx: str, programs: int, **scalars: int) -> float:
    """Passes of the loop, the mean over the programs."""
    program, found = parse(ptx), walked(ptx, programs, **scalars)
    return max((n for at, n in found.counts.items() if program.instructions[at].opcode == "fma.rn.f32"), default=0.0)


def time_of(case: Launch, ptx: str) -> LaunchTime:
    device, facts = h100(), ATTENTION.workloads[0]
    return time_launch(
        LaunchOnDevice(case, facts, device, Dtype.FLOAT16, parse(ptx), occupancy(case, device), contents={})
    )


def seconds(ptx: str, programs: int, **scalars: int) -> float:
    return time_of(launch(programs, **scalars), ptx).seconds


@pytest.mark.parametrize(("slope", "base"), [(1, 1), (-1, 1000), (1, -500), (-2, 900), (0, 7), (0, 0), (0, 1)])
@pytest.mark.parametrize("programs", [1000, 7 * PROGRAMS])
def test_passes_of_a_triangular_loop_are_those_of_all_programs(slope, base, programs):
    mean = np.maximum(np.arange(programs) * slope + base, 0).mean()
    assert passes(TRIANGULAR, programs, SLOPE=slope, BASE=base) == pytest.approx(mean, rel=0.003)


def test_a_loop_that_most_programs_make_once_is_not_one_pass_for_all():
    """64 programs in 1000 make 2 to 65 passes."""
    assert passes(TRIANGULAR, 1000, SLOPE=1, BASE=-935) == pytest.approx(sum(range(65)) / 1000)


def test_a_triangular_loop_takes_the_time_of_its_programs():
    """The long programs come first, so that the short ones fill up the end."""
    programs = 264 * 40
    whole = seconds(TRIANGULAR, programs, SLOPE=-1, BASE=programs)
    parts = [seconds(TRIANGULAR, programs, SLOPE=0, BASE=base) for base in range(48, programs, 96)]
    assert whole == pytest.approx(np.mean(parts), rel=0.03)


@pytest.mark.parametrize("programs", [1024, 5000])
def test_a_branch_that_one_program_in_four_takes_costs_a_quarter(programs):
    assert passes(ONE_IN_SOME, programs, SLOPE=3, BASE=500) == pytest.approx(125, rel=0.01)


def test_a_branch_that_one_program_in_four_takes_takes_the_time_of_its_programs():
    programs = 264 * 160
    whole = seconds(ONE_IN_SOME, programs, SLOPE=3, BASE=500)
    every = seconds(ONE_IN_SOME, programs, SLOPE=0, BASE=500)
    none = seconds(ONE_IN_SOME, programs, SLOPE=0, BASE=0)
    assert whole == pytest.approx(every / 4 + none * 3 / 4, rel=0.03)


def test_a_long_program_of_few_ends_the_launch():
    """One program in 128 has all the work: the launch takes as long as that one."""
    one = seconds(ONE_IN_SOME, 128, SLOPE=127, BASE=5000)
    assert one == pytest.approx(seconds(ONE_IN_SOME, 128, SLOPE=0, BASE=5000), rel=0.03)


@pytest.mark.parametrize(
    ("slope", "base"), [(1, 5), (0, 40), (1, -700), (1, -2000), (-1, 2000), (-1, 300), (0, 0), (-1, -1)]
)
@pytest.mark.parametrize("layout", [PERSISTENT, AROUND_THE_MIDDLE], ids=["in_order", "around_the_middle"])
def test_a_persistent_loop_with_uneven_tiles_makes_the_passes_of_all_tiles(layout, slope, base):
    tiles, least = np.arange(132 * 41 + 50), 1 if layout is PERSISTENT else 0
    mean = np.maximum(tiles * slope + base, least).sum() / 132
    assert passes(layout, 132, SLOPE=slope, BASE=base, TILES=len(tiles)) == pytest.approx(mean, rel=0.02)


def test_a_loop_that_is_laid_out_around_its_middle_has_all_its_instructions_in_every_iteration():
    program = parse(AROUND_THE_MIDDLE)
    found = walked(AROUND_THE_MIDDLE, 132, SLOPE=0, BASE=4, TILES=132 * 21)
    counts = {label: found.counts[program.labels[f"$L__BB0_{label}"]] for label in range(2, 7)}
    assert counts == {2: 21, 3: 84, 4: 21, 5: 21, 6: 1}
    assert [loop.trips for loop in found.loops.values()] == [4, 21]
    flow = control_flow(program)
    outer, inner = program.labels["$L__BB0_2"], program.labels["$L__BB0_3"]
    assert flow.around[program.labels["$L__BB0_4"]] == (outer,)
    assert flow.around[inner] == (outer, inner)


def test_a_persistent_loop_with_uneven_tiles_takes_the_time_of_equal_ones():
    tiles = 132 * 24
    uneven = seconds(PERSISTENT, 132, SLOPE=2, BASE=1, TILES=tiles)
    assert uneven == pytest.approx(seconds(PERSISTENT, 132, SLOPE=0, BASE=tiles, TILES=tiles), rel=0.05)


def test_programs_that_return_early_run_nothing_more():
    ptx = TRIANGULAR.replace("\t@%p1 bra $L__BB0_3;", "\t@%p1 ret;")
    assert passes(ptx, 1000, SLOPE=1, BASE=-500) == pytest.approx(sum(range(500)) / 1000)


def test_causal_attention_computes_the_tiles_up_to_the_diagonal():
    case, program = LAUNCHES["attention_causal"], parse(ptx_of("attention_causal"))
    found = walk(program, sample(case.grid, 128, 264), scalar_values(program, case))
    (loop,) = found.loops.values()
    assert loop.trips == pytest.approx(sum(range(1, 65)) / 64, rel=0.002)
    tiles = 4 * 16 * sum(range(1, 65))
    flops = time_of(case, ptx_of("attention_causal")).flops
    assert flops == pytest.approx(tiles * 2 * 2 * 64 * 64 * 64, rel=0.002)  # two products of 64 x 64 x 64 a tile


def test_causal_attention_takes_the_time_of_its_rows():
    """With all programs at one block of rows the launch is even; the mean over the blocks is the whole."""
    case, ptx = LAUNCHES["attention_causal"], ptx_of("attention_causal")
    parts = [time_of(case, ptx.replace("%ctaid.x", str(block))).seconds for block in range(2, 64, 4)]
    assert time_of(case, ptx).seconds == pytest.approx(np.mean(parts), rel=0.03)


def test_causal_attention_of_few_heads_takes_the_time_of_its_last_rows():
    case = LAUNCHES["attention_causal"].model_copy(update={"grid": (64, 2, 1)})
    ptx = ptx_of("attention_causal")
    last = time_of(case, ptx.replace("%ctaid.x", "63")).seconds
    assert time_of(case, ptx).seconds == pytest.approx(last, rel=0.05)


def test_an_even_launch_fills_whole_waves():
    assert finish(np.full(7, 2.0), 265, 132, 132) == 3 * 2.0


def test_uneven_programs_go_where_there_is_room():
    """Two places: a program of 4 s on one, three of 1 s on the other; then the longest comes last."""
    assert finish(np.array([4.0, 1.0, 1.0, 1.0]), 4, 2, 2) == 4.0
    assert finish(np.array([1.0, 1.0, 1.0, 4.0]), 4, 2, 2) == 5.0


def test_programs_that_all_begin_at_once_are_dealt_in_turn():
    """Four programs on two multiprocessors that hold two each: 3 + 3 s on one, 1 + 1 s on the other."""
    assert finish(np.array([3.0, 1.0, 3.0, 1.0]), 4, 2, 4) == 6.0


def test_a_launch_of_many_programs_ends_about_when_its_places_are_full():
    each = np.arange(1024) / 1024
    many, fewer = finish(each, 20_000, 132, 132), finish(each, 16_000, 132, 132)
    assert many / 20_000 == pytest.approx(fewer / 16_000, rel=0.01)


def test_kinds_of_programs_hold_every_program_once_and_all_its_work():
    counts = np.arange(1000.0) ** 2
    kinds = list(alike({0: 1.0, 5: counts}, 1000))
    assert len(kinds) == MOST_KINDS
    assert sorted(np.concatenate([kind.programs for kind in kinds]).tolist()) == list(range(1000))
    work = sum(kind.counts.get(5, 0.0) * len(kind.programs) for kind in kinds)
    assert work == pytest.approx(counts.sum())


def test_the_sample_of_a_large_grid_holds_its_ends_and_every_residue_alike():
    found = sample((1 << 20, 1, 1), 128, 264)
    programs = found.ctaid[0][found.grid_programs]
    assert len(programs) == PROGRAMS
    assert (programs[0], programs[-1]) == (0, (1 << 20) - 1)
    assert np.all(np.diff(programs) > 0)
    for period in (3, 4, 64, 100):
        assert np.mean(programs % period) == pytest.approx((period - 1) / 2, rel=0.05)


def test_memory_that_some_programs_leave_alone_is_not_read():
    """Half of the programs skip their loads."""
    ptx = """
.visible .entry k(
\t.param .u32 k_param_0,
\t.param .u64 k_param_1,
\t.param .u64 k_param_2
)
{
\tld.param.b32 %r1, [k_param_0];
\tld.param.b64 %rd1, [k_param_1];
\tmov.u32 %r3, %ctaid.x;
\tmov.u32 %r4, %tid.x;
\tand.b32 %r5, %r3, %r1;
\tsetp.ne.s32 %p1, %r5, 0;
\t@%p1 bra $L__BB0_3;
\tmad.lo.s32 %r6, %r3, 128, %r4;
\tmul.wide.s32 %rd2, %r6, 16;
\tadd.s64 %rd3, %rd1, %rd2;
\tld.global.v4.b32 {%r10, %r11, %r12, %r13}, [%rd3];
$L__BB0_3:
\tret;
}
"""

    def read(mask: int) -> float:
        return time_of(launch(4000, MASK=mask), ptx).read_bytes

    assert read(0) == 4000 * 128 * 16
    assert read(1) == pytest.approx(read(0) / 2, rel=0.01)
