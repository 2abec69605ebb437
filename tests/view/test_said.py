"""Where a proposer's words name a number that the build contradicts, the build's number is told; else nothing is."""

import pytest

from kopt.view.said import contradictions
from tests.view.test_changes import launch

OWN = [launch(warps=4, constants={"BLOCK": "512", "BLOCK_M": "64", "EVEN": "True"})]
PARENT = [launch(warps=2, constants={"BLOCK": "1024", "BLOCK_M": "32"})]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("Wider rows with 8 warps.", ("4 warps, not 8",)),
        ("raise num_warps from 2 to 16", ("4 warps, not 16",)),
        ("num_warps=8, so that more loads are in flight", ("4 warps, not 8",)),
        ("an 8-warp program", ("4 warps, not 8",)),
        ("8 warps per program", ("4 warps, not 8",)),
        ("2 warps -> 8", ("4 warps, not 8",)),
        ("BLOCK 1024 → 2048", ("BLOCK = 512, not 2048",)),
        ("BLOCK_M = 128 and 8 warps", ("4 warps, not 8", "BLOCK_M = 64, not 128")),
        ("num_stages=4", ("3 stages, not 4",)),
        ("a 4-stage pipeline", ("3 stages, not 4",)),
        ("4 pipeline stages", ("3 stages, not 4",)),
    ],
)
def test_a_number_that_the_build_contradicts_is_told_with_what_was_built(words, told):
    assert contradictions(words, "", OWN, PARENT) == told


@pytest.mark.parametrize(
    "words",
    [
        "Wider rows with 4 warps.", "4 instead of 8 warps", "4 warps rather than 8 warps", "down from 8 warps",
        "the parent's 2 warps leave the SM idle", "tries 4 and 8 warps", "64 warps per SM", "16 resident warps hide it",
        "32 warps resident", "two groups of 8 warps", "a 4-warp group", "8 warpgroups", "more warps", "eight", "",
        "BLOCK 1024 was too large", "BLOCK_N = 128", "BLOCK_M=128x64 tiles", "a 2-stage reduction", "in 2 stages",
        "num_warps=16 was slower", "num_warps=16 spilled, so 4", "doubling from 4 warps to 16 would spill",
        "at most 16 warps fit", "16 warps on each SM", "num_stages=4 did not fit shared memory",
        "BLOCK_M * BLOCK = 32768", "BLOCK_M: 32 KB", "BLOCK_M=16 rows would waste lanes", "reduce 2 warps idle time",
        "uses only 1 warp's worth of lanes", "three kernels use num_warps=1",
        "num_warps 2 -> 4", "EVEN = 3", "from 2 to 4 warps", "num_stages is 3", "8.5 warps",
    ],
)  # fmt: skip
def test_words_that_name_no_other_number_of_the_build_are_left_alone(words):
    assert contradictions(words, "", OWN, PARENT) == ()


def test_stages_of_a_loop_and_of_a_constant_are_known_from_source_and_build():
    words = "num_stages=4 in the loop"
    assert contradictions(words, "for k in tl.range(0, K, num_stages=4):", OWN, PARENT) == ()
    assert contradictions(words, "", [launch(constants={"STAGES": "4"})], PARENT) == ()


def test_without_a_build_and_where_warps_are_specialised_nothing_is_said():
    assert contradictions("8 warps", "", [], PARENT) == ()
    assert contradictions("8 warps", "tl.range(n, warp_specialize=True)", OWN, PARENT) == ()
    assert contradictions("16 warps", "", [*OWN, launch("reduce", warps=8)], []) == ("4 or 8 warps, not 16",)
