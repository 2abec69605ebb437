import numpy as np
import pytest
from recorded import LAUNCHES, ptx_of

from kopt.estimate.instructions import parse
from kopt.estimate.parameters import scalar_values
from kopt.estimate.registers import sample
from kopt.estimate.trip_counts import trip_count
from kopt.estimate.walk import Guess, walk


def walked(name, guess=None, scalars=None):
    launch, program = LAUNCHES[name], parse(ptx_of(name))
    values = scalar_values(program, launch) if scalars is None else scalars
    return walk(program, sample(launch.grid, launch.num_warps * 32, 264), values, guess)


@pytest.mark.parametrize(
    ("name", "trips"),
    [
        ("matvec_narrow", [1048576 / 128]),
        ("matvec_plain", [1048576 / 1024]),
        ("matvec_wide", [1048576 / 4096]),
        ("matvec_pipelined", [524288 / 1024]),
        ("matmul_large", [4096 / 64]),
        ("matmul_small", [4096 / 32]),
        ("softmax_three_reads", [8, 8, 8]),
        ("matvec_reduce", []),
    ],
)
def test_trip_counts_follow_from_bounds_and_steps(name, trips):
    assert [loop.trips for loop in walked(name).loops.values()] == trips


def test_each_program_has_its_own_trip_count():
    """Persistent programs 0 to 3 step by 4 over 6 tiles: two of them do two, two do one."""
    program, tiles = np.arange(4), np.full(4, 6)
    history = [("setp.lt.s32", program + 4 * turn, tiles, True) for turn in (1, 2)]
    assert trip_count(history).tolist() == [2.0, 2.0, 1.0, 1.0]


def test_a_load_in_a_loop_runs_as_often_as_the_loop():
    found = walked("matvec_plain")
    loads = [at for at, site in found.sites.items() if site.kind.startswith("load_global")]
    assert [found.counts[at] for at in loads] == [1024.0, 1024.0]


def test_loads_know_their_argument():
    loads = [site for site in walked("matvec_plain").sites.values() if site.kind.startswith("load")]
    assert [site.parameter for site in loads] == [0, 1]


def test_a_row_per_program_gives_every_program_its_own_addresses():
    matrix, vector = [s for s in walked("matvec_plain").sites.values() if s.kind.startswith("load")]
    programs = sample((2048, 1, 1), 128, 264).programs
    assert len(set(matrix.addresses[programs].tolist())) == 264
    assert len(set(vector.addresses[programs].tolist())) == 1


def test_a_loop_of_unknown_length_takes_the_guess():
    found = walked("matvec_plain", Guess(trips=77.0), scalars={})
    assert found.unknown_loops == 1
    assert max(found.counts.values()) == pytest.approx(77.0)


def test_a_walk_is_repeatable():
    assert walked("matmul_large").counts == walked("matmul_large").counts


def test_an_endless_loop_ends():
    program = parse("$L__BB0_1:\n add.s32 %r1, %r1, 1;\n bra.uni $L__BB0_1;")
    found = walk(program, sample((1, 1, 1), 32, 132), {})
    assert found.complete
    assert found.unknown_loops == 1
