"""What a comparison says of made-up runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_entrants import entrant, field, spent

from kopt.comparison.budget import best_at, budget, curve_places, speedup_at, unavailable
from kopt.comparison.lines import comparison_lines
from kopt.comparison.standings import compare, overall
from kopt.errors import ConfigError
from kopt.model.trial import StopReason
from kopt.statistics import mean_interval

times = st.lists(st.floats(0.1, 2.0), min_size=1, max_size=6)


def test_best_time_at_a_budget_is_that_of_what_had_been_asked_for_by_then():
    run = entrant(best=(1.5, 1.0))
    assert [best_at(run, "slots", most) for most in (0, 3, 4, 7, 8)] == [2.0, 2.0, 1.5, 1.5, 1.0]
    assert speedup_at(run, "slots", 8) == 2.0


def test_runs_of_unequal_budgets_are_compared_at_the_smaller_one_and_it_is_said():
    short, long = entrant("beam", best=(1.5,)), entrant("clustered", best=(1.6, 0.5))
    comparison = compare([short, long], "c")
    assert {one.budget for one in comparison.standings} == {4}
    assert comparison.duels[0].wins == 1  # clustered's 0.5 ms came later
    assert "budgets differ: runs were given 4 to 8 slots" in comparison.warnings[0]


def test_a_run_that_ended_early_keeps_its_best_time():
    whole = entrant("beam", best=(1.5, 1.2))
    early = entrant("clustered", best=(1.0,)).model_copy(
        update={"slots_planned": 8, "stopped": StopReason.NO_IMPROVEMENT}
    )
    comparison = compare([whole, early], "c")
    assert budget([whole, early], "slots") == 8
    assert comparison.duels[0].losses == 1
    assert "1 of 2 runs ended before their last round (no_improvement)" in comparison.warnings[-1]


@given(beam=times, clustered=times)
def test_the_counts_of_a_pair_are_those_of_the_seeds_that_both_ran(beam, clustered):
    runs = field({"beam": beam, "clustered": clustered})
    (duel,) = compare(runs, "c").duels
    pairs = list(zip(beam, clustered, strict=False))
    assert duel.pairs == duel.wins + duel.ties + duel.losses == len(pairs)
    assert duel.wins == sum(one < two for one, two in pairs)
    if duel.pairs == 1:
        assert (duel.win_rate.low, duel.ratio.high) == (None, None)
    else:
        assert duel.win_rate.low <= duel.win_rate.middle <= duel.win_rate.high
    assert duel.win_rate.middle == pytest.approx((duel.wins + duel.ties / 2) / duel.pairs)


@given(beam=times, clustered=times, random=st.randoms(use_true_random=False))
def test_a_comparison_does_not_depend_on_the_order_of_the_runs(beam, clustered, random):
    runs = field({"beam": beam, "clustered": clustered})
    first = compare(runs, "c")
    other = compare(random.sample(runs, len(runs)), "c")
    assert (other.standings, other.duels, other.curves) == (first.standings, first.duels, first.curves)


@pytest.mark.parametrize(
    ("other", "answer"),
    [
        ([0.5] * 6, "slower"),
        ([1.5] * 6, "faster"),
        ([1.0] * 6, "no difference seen"),
        ([0.98] * 6, "slower, within the error of estimates"),
        ([1.02] * 6, "faster, within the error of estimates"),
        ([1.12] * 6, "faster"),
        ([0.5] * 5, "too few pairs to say"),
    ],
)
def test_an_answer_needs_six_pairs_and_an_interval_without_one(other, answer):
    (duel,) = compare(field({"beam": [1.0] * len(other), "clustered": other}), "c").duels
    assert duel.answer == answer


@pytest.mark.parametrize(("other", "answer"), [(1.002, "no difference seen"), (1.02, "faster"), (0.98, "slower")])
def test_an_answer_on_measured_times_needs_a_difference_above_their_noise(other, answer):
    runs = field({"beam": [1.0] * 6, "clustered": [other] * 6})
    (duel,) = compare([one.model_copy(update={"kind": "measured"}) for one in runs], "c").duels
    assert duel.answer == answer


def test_a_difference_below_the_noise_of_measurements_is_a_tie_and_any_of_an_estimate_is_none():
    runs = [entrant("beam", best=(1.0,)), entrant("clustered", best=(1.002,))]
    measured = [one.model_copy(update={"kind": "measured"}) for one in runs]
    assert [compare(both, "c").duels[0].ties for both in (runs, measured)] == [0, 1]


def test_dollars_are_compared_at_what_every_run_had_spent():
    cheap, dear = spent(entrant("beam", best=(1.0,)), 0.01), spent(entrant("clustered", best=(0.5,)), 1.0)
    at_dollars = [one for one in compare([cheap, dear], "c").standings if one.over == "dollars"]
    assert {one.budget for one in at_dollars} == {0.04}
    assert {one.label: one.speedup.middle for one in at_dollars} == {"beam": 2.0, "clustered": 1.0}


def test_what_cannot_be_compared_is_said():
    runs = [entrant("beam"), entrant("clustered")]
    assert "no language model was asked" in unavailable(runs, "dollars")
    assert "no GPU was used" in unavailable(runs, "gpu_s")
    assert "beam spent nothing" in unavailable([runs[0], spent(runs[1], 0.1)], "dollars")
    measured = [spent(one.model_copy(update={"kind": "measured"}), gpu_s=2.0) for one in runs]
    assert "runs share a store" in unavailable(measured, "gpu_s")
    assert unavailable([measured[0], measured[1].model_copy(update={"store": "/other"})], "gpu_s") == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"judge": "cuda"}, "cannot be compared: judge interpret against cuda"),
        ({"device": "A100"}, "cannot be compared: device NVIDIA H100 against A100"),
        ({"workloads": "others"}, "problem softmax has other workloads"),
        ({"label": "beam"}, "are both of strategy beam, problem softmax and seed 0: leave one of them out"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_by_name(changed, said):
    with pytest.raises(ConfigError, match=said) as refused:
        compare([entrant("beam"), entrant("clustered").model_copy(update=changed)], "c")
    assert "results/c/softmax-beam-0 and " in str(refused.value)


def test_other_settings_versions_and_lacking_runs_are_said():
    runs = [
        entrant("beam", settings={"candidate_pool_size": 2}), entrant("beam", seed=1),
        entrant("clustered", settings={"candidate_pool_size": 4}, versions={"torch": "2.12"}),
    ]  # fmt: skip
    said = "\n".join(compare(runs, "c").warnings)
    assert "settings differ beside the strategy: candidate_pool_size" in said
    assert "versions of torch differ: 2.11, 2.12" in said
    assert "no run of clustered on softmax with seed 1: strategies are paired where both ran" in said


def test_the_kind_of_the_numbers_is_said():
    runs = [entrant("beam"), entrant("clustered")]
    assert "the answer holds for the estimate alone; no language model was asked" in compare(runs, "c").statement
    made_up = [one.model_copy(update={"kind": "made up", "judge": "dry"}) for one in runs]
    assert "all times are made up (judge dry)" in compare(made_up, "c").statement
    paid = [one.model_copy(update={"kind": "measured", "replies": "replayed"}) for one in runs]
    assert "measured on NVIDIA H100, in the races of their rounds; replies of language models are replayed" in (
        compare(paid, "c").statement
    )


def test_curves_begin_at_one_and_end_at_the_medians():
    comparison = compare(field({"beam": [1.0, 0.5, 0.8], "clustered": [1.0, 1.0, 1.0]}), "c")
    curve = [one for one in comparison.curves if one.label == "beam"]
    assert (curve[0].spent, curve[0].speedup, curve[-1].spent, curve[-1].speedup) == (0.0, 1.0, 4.0, 2.5)
    assert overall(comparison, "beam", "slots") == pytest.approx(2.5)


def test_speedups_are_averaged_over_the_problems_that_all_strategies_ran_on():
    beam = [entrant("beam", problem, best=(best,)) for problem, best in (("softmax", 1.0), ("rmsnorm", 0.1))]
    comparison = compare([*beam, entrant("clustered", "softmax", best=(0.5,))], "c")
    assert [overall(comparison, label, "slots") for label in comparison.labels] == pytest.approx([2.0, 4.0])
    apart = compare([beam[1], entrant("clustered", "softmax")], "c")
    assert overall(apart, "beam", "slots") is None


@given(st.lists(st.floats(0.1, 2.0), min_size=100, max_size=200, unique=True))
def test_a_curve_has_few_points_and_keeps_its_ends(best):
    run = entrant(best=sorted(best, reverse=True), slots=1)
    places = curve_places([run], "slots", len(best))
    assert len(places) <= 61
    assert (places[0], places[-1]) == (0.0, len(best))


def test_the_lines_name_kind_budget_intervals_and_answer():
    lines = list(comparison_lines(compare(field({"beam": [1.0] * 6, "clustered": [0.5] * 6}), "c")))
    assert lines[0] == "c: 12 runs, 2 strategies (beam, clustered) on 1 problem (softmax), 6 seeds (0, 1, 2, 3, 4, 5)"
    assert "estimated for NVIDIA H100, none is measured" in lines[1]
    assert any(line.split() == ["softmax", "beam", "6", "4", "2.00x", "(2.00x", "to", "2.00x)", "1.0000", "ms",
                                "estimated"] for line in lines)  # fmt: skip
    assert any("6 pairs on 1 problem: 0 won, 0 tied, 6 lost, win rate 0 % (0 % to 0 %)" in line for line in lines)


@given(st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 3))
def test_a_mean_lies_in_its_interval_which_follows_from_the_seed(strata, seed):
    interval = mean_interval(strata, seed=seed)
    assert interval.low - 1e-9 <= interval.middle <= interval.high + 1e-9
    assert mean_interval(strata, seed=seed) == interval


def test_differences_between_strata_do_not_widen_an_interval():
    assert mean_interval([[1.0] * 5, [9.0] * 5]) == (5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="no samples"):
        mean_interval([[], []])
