"""Many files as few words of a command line."""

from __future__ import annotations

import subprocess

from hypothesis import given
from hypothesis import strategies as st

from kopt.jobs.command import Job, brace_compressed

NUMBERS = st.lists(st.integers(0, 12), max_size=8)


def unfolded(words):
    """What bash makes of words."""
    return subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {words}"], capture_output=True, text=True, check=True
    ).stdout.split()


@given(st.tuples(NUMBERS, NUMBERS).map(lambda pair: [f"t1/round_{r}/a_{a}.json" for r in pair[0] for a in pair[1]]))
def test_bash_unfolds_the_same_files_in_the_same_order(paths):
    assert Job(unfolded(brace_compressed("files", paths))).paths("files") == Job([f"files={p}" for p in paths]).paths(
        "files"
    )


def test_files_of_many_rounds_are_one_word_and_other_numbers_stay():
    paths = [f"results/run_007/round_{r}/attempt_{a}/builds.parquet" for r in range(1, 51) for a in range(3)]
    assert brace_compressed("builds", paths) == "builds=results/run_007/round_{1..50}/attempt_{0..2}/builds.parquet"
    assert brace_compressed("builds", ["a8", "a9", "a011", "b"]) == "builds=a{8..9} builds=a011 builds=b"


def test_no_file_is_no_word():
    assert brace_compressed("files", []) == ""
