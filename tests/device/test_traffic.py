"""Bytes from DRAM: what neighbours, and next passes of a loop, read again while L2 holds it counts once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.estimate.instructions import Instruction
from kopt.estimate.registers import Sample
from kopt.estimate.traffic import Access, distinct_share
from kopt.estimate.walk import Site

PROGRAMS, LINE = 64, 512
"""Programs of the sample, and bytes of the line that a warp reads, 16 bytes a thread."""


def read(*, line_of_program, lines_of_warps=(0,), step=0, runs=1.0, offset=0):
    """An access to lines of 512 bytes: each program's first warp reads line `line_of_program` times its number."""
    lanes = np.arange(32) * 16
    warps = np.array(lines_of_warps) * LINE
    programs = np.arange(PROGRAMS) * line_of_program * LINE
    addresses = np.concatenate([lanes, warps, programs]).astype(np.int64) + offset * LINE
    code = Instruction("ld.global.v4.b32", ("%r1", "[%rd1]"))
    site = Site(code, "load_global_wide", 0, addresses, 1.0, 16, loop=5, step=step * LINE)
    return Access(site, runs, 1.0, 1.0)


def sampled(warps=1):
    count = 32 + warps + PROGRAMS
    nothing = np.zeros(count, dtype=np.int64)
    programs = slice(32 + warps, count)
    parts = (slice(0, 32), slice(32, 32 + warps), programs, programs, programs)
    return Sample(nothing, (nothing, nothing, nothing), (PROGRAMS, 1, 1), 32 * warps, *parts, own=32 + warps)


def test_what_nobody_shares_counts_whole():
    assert distinct_share([read(line_of_program=1)], sampled(), passes=8) == 1.0


def test_neighbours_that_read_one_address_count_once():
    assert distinct_share([read(line_of_program=0)], sampled(), passes=1) == pytest.approx(1 / PROGRAMS)


def test_rows_of_tiles_that_neighbours_share_count_once():
    """Each program reads two lines, the second of which is its neighbour's first: a window with a halo."""
    two_warps = read(line_of_program=1, lines_of_warps=(0, 1))
    assert distinct_share([two_warps], sampled(2), passes=1) == pytest.approx(0.5, abs=0.01)
    two_loads = [read(line_of_program=1), read(line_of_program=1, offset=1)]
    assert distinct_share(two_loads, sampled(), passes=1) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("passes", "share"), [(1.0, 1.0), (8.0, 9 / 16)])
def test_what_the_next_passes_read_again_counts_once_while_l2_holds_it(passes, share):
    """A loop over two lines that goes on by one line reads each line twice."""
    march = read(line_of_program=100, lines_of_warps=(0, 1), step=1, runs=8.0)
    assert distinct_share([march], sampled(2), passes) == pytest.approx(share)


ACCESSES = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 3, 100)), st.sampled_from(((0, 0), (0, 1), (0, 4))), st.sampled_from((0, 1, 7)),
        st.sampled_from((1.0, 5.0)), st.integers(-9, 9),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
"""Accesses: lines from program to program, of the two warps and from pass to pass; passes; and the first line."""


@given(accesses=ACCESSES)
def test_bytes_are_counted_as_a_set_of_sectors_counts_them(accesses):
    group = [
        read(line_of_program=each, lines_of_warps=lines, step=step, runs=runs, offset=offset)
        for each, lines, step, runs, offset in accesses
    ]
    touched = [
        (program * each + offset + turn * step + line, sector)
        for each, lines, step, runs, offset in accesses
        for program in range(PROGRAMS)
        for turn in range(int(runs) if step else 1)
        for line in set(lines)
        for sector in range(LINE // 32)
    ]
    assert distinct_share(group, sampled(2), passes=64) == len(set(touched)) / len(touched)
