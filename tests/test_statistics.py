import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopt.model.timing import Measured, WorkloadTiming
from kopt.statistics import measured_ratio, median_interval, noise, ratio_interval, stages, survivors

TIMES = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=40)


def timed(rng, ms, count, drift):
    """Draw times as a GPU gives them: a common slow drift, a little jitter, now and then a late sample."""
    jitter = rng.normal(0.0, 0.002, count)
    late = (rng.random(count) < 0.03) * rng.exponential(0.05, count)
    return list(ms * drift * (1.0 + jitter + late))


def drifting(rng, count):
    return 1.0 + np.cumsum(rng.normal(0.0, 0.001, count))


@given(TIMES)
def test_a_median_lies_in_its_interval(samples):
    interval = median_interval(samples)
    assert interval.low <= interval.middle <= interval.high
    assert min(samples) <= interval.low
    assert interval.high <= max(samples)


@given(TIMES, st.floats(0.5, 2.0))
def test_an_interval_scales_with_its_samples(samples, factor):
    interval, scaled = median_interval(samples), median_interval([factor * value for value in samples])
    assert scaled == pytest.approx([factor * value for value in interval])


@given(TIMES)
def test_a_kernel_against_itself_has_ratio_one_and_no_noise(samples):
    assert ratio_interval(samples, samples) == (1.0, 1.0, 1.0)
    assert noise(samples, samples) == 0.0


def test_the_same_samples_and_seed_give_the_same_interval():
    samples = list(np.random.default_rng(1).normal(1.0, 0.1, 30))
    assert median_interval(samples, seed=4) == median_interval(samples, seed=4)


def test_no_samples_have_no_median():
    with pytest.raises(ValueError, match="no samples"):
        median_interval([])


def test_the_same_kernel_ranked_twice_gives_ratios_within_the_interval_in_95_of_100():
    rng = np.random.default_rng(7)
    inside = 0
    for turn in range(400):
        drift = drifting(rng, 60)
        pair = timed(rng, 1.5, 60, drift), timed(rng, 1.5, 60, drift)
        inside += 1.0 in ratio_interval(*pair, seed=turn)
    assert 0.92 <= inside / 400 <= 0.99


def test_a_difference_between_processes_widens_the_interval():
    """Four processes, each off by about two per cent, and calls that hardly scatter."""
    rng = np.random.default_rng(9)
    inside = {1: 0, 4: 0}
    for turn in range(200):
        off = np.repeat(rng.normal(1.0, 0.02, 4), 25)
        ratios = off * (1.0 + rng.normal(0.0, 0.001, 100))
        for processes in inside:
            inside[processes] += 1.0 in median_interval(ratios, processes=processes, seed=turn)
    assert inside[1] < 0.6 * 200
    assert inside[4] > 0.8 * 200


def test_where_processes_agree_the_interval_is_about_that_of_the_calls():
    rng = np.random.default_rng(10)
    widths = {1: 0.0, 4: 0.0}
    for turn in range(50):
        samples = rng.normal(1.0, 0.01, 100)
        for processes in widths:
            interval = median_interval(samples, processes=processes, seed=turn)
            widths[processes] += interval.high - interval.low
    assert 1.0 <= widths[4] / widths[1] < 1.6


def test_samples_that_do_not_divide_among_the_processes_are_refused():
    with pytest.raises(ValueError, match="10 samples do not divide among 4 processes"):
        median_interval([1.0] * 10, processes=4)


def test_one_per_cent_is_seen_through_a_drift_of_several():
    rng = np.random.default_rng(8)
    seen = 0
    for turn in range(100):
        drift = drifting(rng, 100)
        ratio = ratio_interval(timed(rng, 1.485, 100, drift), timed(rng, 1.5, 100, drift), seed=turn)
        seen += ratio.high < 1.0
    assert seen >= 99


def test_a_race_keeps_the_fastest_and_drops_the_clearly_slower():
    rng = np.random.default_rng(9)
    drift = drifting(rng, 10)
    racing = {f"k{ms}": timed(rng, ms, 10, drift) for ms in (1.0, 1.001, 1.3, 1.5, 2.0, 3.0, 5.0, 9.0)}
    assert set(survivors(racing, keep=2)) == {"k1.0", "k1.001"}


def test_a_race_of_equals_keeps_half():
    samples = {name: [1.0] * 5 for name in "abcdefgh"}
    assert survivors(samples, keep=2) == ("a", "b", "c", "d")


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.lists(st.floats(0.1, 10), min_size=5, max_size=5)),
       st.integers(1, 5))  # fmt: skip
def test_a_race_never_loses_the_leader_nor_depends_on_order(samples, keep):
    stay = survivors(samples, keep=keep)
    assert len(stay) >= min(keep, len(samples))
    assert stay == survivors(dict(reversed(samples.items())), keep=keep)
    if samples:
        assert stay[0] == min(samples, key=lambda name: (np.median(samples[name]), name))


@given(st.integers(1, 20), st.integers(1, 500))
def test_stages_come_to_all_launches_and_never_start_with_more_than_asked(first, last):
    counts = stages(first, last)
    assert sum(counts) == last
    assert counts[0] == min(first, last)
    assert min(counts) > 0


@given(TIMES, TIMES, st.integers(1, 3))
def test_a_workload_of_weight_n_counts_as_n_workloads(times, others, weight):
    pairs = list(zip(times, others, strict=False))
    one = [timing(values, 1.0) for values in zip(*pairs, strict=True)]
    heavy = measured([timing([a for a, _ in pairs], float(weight)), one[1]])
    many = measured([*[one[0]] * weight, one[1]])
    assert heavy.objective_ms == pytest.approx(many.objective_ms)
    assert heavy.interval_ms == pytest.approx(many.interval_ms)
    base = measured([timing([1.0] * len(pairs), float(weight)), timing([2.0] * len(pairs), 1.0)])
    same = measured([*[timing([1.0] * len(pairs), 1.0)] * weight, timing([2.0] * len(pairs), 1.0)])
    assert measured_ratio(heavy, base) == pytest.approx(measured_ratio(many, same))


def timing(samples, weight):
    middle, low, high = median_interval(list(samples))
    return WorkloadTiming(
        workload="w",
        median_ms=middle,
        low_ms=low,
        high_ms=high,
        samples_ms=tuple(samples),
        floor_ms=0.05,
        weight=weight,
    )


def measured(workloads):
    return Measured(device="a GPU", workloads=tuple(workloads))
