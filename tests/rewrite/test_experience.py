"""What paid is drawn more often; what failed or did nothing, less."""

import math

from kopt.rewrite.catalogue import names
from kopt.rewrite.experience import (
    LARGEST_FACTOR,
    LEFT_TO_TUNER,
    NUMERIC,
    PERSISTENT,
    SMALLEST_FACTOR,
    Experience,
    Factor,
    Tried,
)
from kopt.rewrite.gaussian import condition


def tried(kernel, moves, outcome="passed", gain=0.0, parent="seed"):
    time = math.exp(-gain) if outcome in ("passed", "same") else None
    return Tried(
        kernel=kernel, parent=parent, moves=moves, outcome=outcome, time_ms=time, gain=gain if time else None
    )  # fmt: skip


SEED = Tried(kernel="seed", parent="", outcome="passed", time_ms=1.0)


def mean_factor(experience, name, parent="seed"):
    return sum(experience.factors(parent, seed)[name].value for seed in range(60)) / 60


def test_nothing_is_learned_from_nothing():
    assert Experience().factors("seed", 0) == {}
    assert Experience((SEED,)).factors("seed", 0) == {}


def test_what_paid_is_likelier_than_what_cost_time():
    many = [tried(f"a{n}", ("split_k",), gain=0.2) for n in range(3)] + [
        tried(f"b{n}", ("unroll_loop",), gain=-0.2) for n in range(3)
    ]
    experience = Experience((SEED, *many))
    assert mean_factor(experience, "split_k") > 3
    assert mean_factor(experience, "unroll_loop") < 0.5


def test_stacked_transformations_share_the_credit():
    """One of a pair was tried alone and brought nothing: the gain belongs to the other."""
    pair = [tried(f"p{n}", ("split_k", "load_hint"), gain=0.3) for n in range(3)]
    alone = [tried(f"q{n}", ("load_hint",), gain=0.0) for n in range(3)]
    effects = Experience((SEED, *pair, *alone)).effects
    assert effects["split_k"].mean > 3 * effects["load_hint"].mean > 0


def test_a_single_gain_is_believed_less_than_three():
    one = Experience((SEED, tried("a", ("warps",), gain=0.2))).effects["warps"]
    three = Experience((SEED, *(tried(f"a{n}", ("warps",), gain=0.2) for n in range(3)))).effects["warps"]
    assert 0 < one.mean < three.mean < 0.2
    assert three.deviation < one.deviation


def test_failures_and_silent_no_ops_are_counted_as_waste():
    for outcome in ("failed", "same"):
        experience = Experience((SEED, *(tried(f"a{n}", ("flat_tiles",), outcome) for n in range(4))))
        assert experience.effects["flat_tiles"].wasted > 0.5
        assert mean_factor(experience, "flat_tiles") < 0.6


def test_a_screened_kernel_counts_as_slow():
    experience = Experience((SEED, tried("a", ("unroll_loop",), "screened")))
    assert experience.effects["unroll_loop"].mean < -0.05


def test_what_the_lineage_has_already_is_another_arm():
    child = tried("child", ("whole_row",), gain=0.5)
    again = [tried(f"c{n}", ("whole_row",), gain=-0.1, parent="child") for n in range(3)]
    experience = Experience((SEED, child, *again))
    assert experience.lineage("c0") == {"whole_row"}
    assert experience.effects["whole_row"].mean > 0 > experience.effects["whole_row+"].mean
    assert mean_factor(experience, "whole_row", "seed") > 1 > mean_factor(experience, "whole_row", "child")


def test_a_kernel_that_is_its_own_ancestor_ends_the_lineage():
    loop = (tried("a", ("warps",), parent="b"), tried("b", ("stages",), parent="a"))
    assert Experience(loop).lineage("a") == {"warps", "stages"}


def test_factors_are_bounded_and_a_function_of_parent_and_seed():
    rows = [
        *(tried(f"a{n}", ("warps",), gain=5.0) for n in range(9)), tried("b", ("stages",), gain=-5.0),
        tried("c", ("split_k",), gain=0.05),
    ]  # fmt: skip
    experience = Experience((SEED, *rows))
    for seed in range(20):
        drawn = experience.factors("seed", seed)
        assert drawn == Experience((SEED, *rows)).factors("seed", seed)
        assert all(SMALLEST_FACTOR <= factor.value <= LARGEST_FACTOR for factor in drawn.values())
    assert experience.factors("seed", 0) != experience.factors("seed", 1)


def test_persistent_loops_that_were_not_tried_count_as_those_that_were():
    many = [tried(f"a{n}", ("pipelined_rows",), gain=-0.3) for n in range(5)]
    assert mean_factor(Experience((SEED, *many)), "persistent_grid") < 0.1


def test_numbers_of_a_fast_kernel_are_left_to_the_tuner():
    rows = tried("fast", ("whole_row",), gain=0.5), tried("slow", ("warps",), gain=0.2)
    experience = Experience((SEED, *rows))
    factors = {parent: experience.factors(parent, 0) for parent in ("seed", "fast", "slow")}
    assert {factors["fast"][name].value for name in NUMERIC} == {LEFT_TO_TUNER}
    assert not {"tile_size", "stages"} & (factors["seed"].keys() | factors["slow"].keys())
    assert set(names()) >= NUMERIC | PERSISTENT


def test_the_more_is_known_the_less_the_weight_counts_that_was_guessed():
    some, much = (
        Experience((SEED, *(tried(f"a{n}", ("load_hint",), gain=0.0) for n in range(count)))).factors("seed", 0)
        for count in (1, 20)
    )
    assert 0 < some["load_hint"].known < 0.8 < much["load_hint"].known < 1
    assert Factor(2.0, 0.0).on(0.3) == 0.6
    assert math.isclose(Factor(2.0, 1.0).on(0.3), 2.0)


def test_a_gaussian_is_conditioned_as_by_hand():
    """Two correlated observations with noise: the inverse of [[2, .5], [.5, 2]] is [[2, -.5], [-.5, 2]] / 3.75."""
    posterior = condition([[2.0], [0.5, 2.0]], [1.0, 0.0])
    mean, deviation = posterior.at([1.0, 0.0], 1.0)
    assert math.isclose(mean, 2 / 3.75)
    assert math.isclose(deviation, math.sqrt(1 - 2 / 3.75))
