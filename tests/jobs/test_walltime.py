from hypothesis import given
from hypothesis import strategies as st

from kopt.jobs.walltime import START_MINUTES, walltime

COUNTS = st.integers(1, 1000)


def test_a_chunk_of_64_kernels_of_at_most_90_s_has_34_minutes():
    assert walltime(64, 90.0, 1, 1) == START_MINUTES + 24


@given(COUNTS, st.floats(1, 3600), st.integers(1, 64), st.integers(1, 5))
def test_more_kernels_slower_kernels_and_further_attempts_have_more_time(items, seconds, workers, attempt):
    least = walltime(items, seconds, workers, attempt)
    assert least > START_MINUTES
    assert walltime(items + workers, seconds, workers, attempt) >= least
    assert walltime(items, seconds * 2, workers, attempt) >= least
    assert walltime(items, seconds, workers + 1, attempt) <= least
    assert walltime(items, seconds, workers, attempt + 1) > least
