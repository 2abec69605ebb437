"""Where arguments lie in memory: aligned, apart, in order, and alike wherever the sizes are."""

from hypothesis import given
from hypothesis import strategies as st

from kopt.device.reference.placement import ALIGNMENT, GAP, LARGE, LARGE_ALIGNMENT, offsets


@given(st.lists(st.integers(0, 1 << 33), min_size=1, max_size=20))
def test_arguments_lie_aligned_and_apart_in_one_block(sizes):
    places, end = offsets(sizes)
    assert all(place % ALIGNMENT == 0 for place in places)
    assert end % (LARGE_ALIGNMENT if end >= LARGE else ALIGNMENT) == 0
    assert all(place % LARGE_ALIGNMENT == 0 for place, size in zip(places, sizes, strict=True) if size >= LARGE)
    ends = [place + size for place, size in zip(places, sizes, strict=True)]
    assert all(begin - last >= GAP for last, begin in zip(ends, [*places[1:], end], strict=True))


@given(st.lists(st.integers(0, 1 << 33), min_size=1, max_size=20))
def test_further_arguments_do_not_move_the_first_ones(sizes):
    assert offsets(sizes)[0][:-1] == offsets(sizes[:-1])[0]
