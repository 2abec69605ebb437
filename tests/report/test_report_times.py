"""The page says of every time how it came about."""

import pytest

from kopt.report.figures.timeline import timeline
from kopt.report.record import Comparison
from kopt.report.render import charts, render
from kopt.report.rows import job_rows
from kopt.report.sentences import on_floors
from kopt.report.tables import correct_trials, faster_in, floors, models
from tests.report.pages import SCRIPTS, beside, measured, on_a_gpu


def test_estimated_times_are_called_so_once_for_the_whole_page(page):
    text = SCRIPTS.sub("", page)
    assert text.count("all times are estimated") == 1
    assert text.count("Times are estimated, not measured.") == 1
    assert 'class="est"' not in text


def test_an_estimate_among_measured_times_says_so_itself(small):
    trials = list(measured(small).trials)
    place = next(place for place, trial in enumerate(trials) if trial.time_ms)
    trials[place] = trials[place].model_copy(update={"estimated": True})
    page = render(measured(small).model_copy(update={"trials": tuple(trials)}))
    assert '<span class="est">estimated</span>' in page


def test_axes_of_time_say_that_times_are_estimated(record):
    assert charts(record)["best-x"].to_dict()["layer"][2]["encoding"]["y"]["title"] == "estimated time, ms"
    assert charts(measured(record))["best-x"].to_dict()["layer"][2]["encoding"]["y"]["title"] == "time, ms"


def test_measured_times_are_not_called_estimated(small):
    page = SCRIPTS.sub("", render(measured(small)))
    assert "times are estimated" not in page
    assert "Times are measured" in page
    assert "95 % interval 1.3000 ms to 1.4000 ms" in page


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1.75, 1.85, "Faster than"), (0.5, 0.6, "Slower than"), (0.99, 1.01, "As fast as")]
)
def test_a_loss_against_pytorch_is_said_as_plainly_as_a_win(small, low, high, said):
    row = Comparison(name="eager", ms=2.5, speedup=(low + high) / 2, low=low, high=high)
    final = measured(small).final.model_copy(update={"against": (row,)})
    page = render(measured(small).model_copy(update={"final": final}))
    assert f"<strong>{said} PyTorch eager" in page
    assert f"95 % interval {low:.3f} to {high:.3f}" in page


def test_a_dry_run_says_that_its_times_are_made_up(small):
    assert "times are made up" in render(small.model_copy(update={"judge": "dry"}))


def test_measured_baselines_stand_in_a_table(small):
    page = render(beside(small))
    assert "1.750 to 1.850" in page
    assert ">workload<" in page


def test_a_measured_run_tells_driver_and_gpus_and_what_gpu_seconds_count(small):
    page = render(on_a_gpu(small))
    assert "<dd>driver 580.1, torch 2.11, triton 3.6</dd>" in page
    assert "<dt>GPUs at a time</dt><dd>2</dd>" in page
    assert "at most 2 at a time: 200 GPU seconds in all, in which each GPU that was held counts" in page
    one = on_a_gpu(small).model_copy(update={"jobs": on_a_gpu(small).jobs[:-1]})
    assert "never more than one at a time: 140 GPU seconds in all" in render(one)


def test_rooflines_of_two_devices_are_said(small):
    passed = correct_trials(small.trials)
    (floor,) = floors(passed)
    noisy = [t.model_copy(update={"roofline_share": t.roofline_share * (1 + 1e-4 * (t.slot % 2))}) for t in passed]
    assert on_floors(floors(passed)) == on_floors(floors(noisy)) == ""
    other = [t.model_copy(update={"roofline_share": t.roofline_share / 2}) if t.round else t for t in passed]
    assert list(floors(other).values()) == [(1,), (0,)]
    assert list(floors(other)) == pytest.approx([floor / 2, floor], rel=1e-3)
    said = on_floors(floors(other))
    assert "in round 0" in said
    assert said in render(small.model_copy(update={"trials": tuple(other), "kernels": ()}))


def test_a_mark_slower_than_twice_the_seed_is_drawn_inside_the_frame(record):
    chart = charts(record)["best-x"].to_dict()
    top = chart["layer"][2]["encoding"]["y"]["scale"]["domain"][1]
    rows = [row for rows in chart["datasets"].values() for row in rows if "shown_ms" in row]
    slow = [row for row in rows if row["ms"] > 2 * record.final.seed_ms]
    assert slow
    assert {row["shown_ms"] for row in slow} == {2 * record.final.seed_ms}
    assert max(row["shown_ms"] for row in rows) < top


@pytest.mark.parametrize("gpu", [False, True])
def test_a_job_of_no_round_is_told_as_one_of_the_whole_run(record, gpu):
    jobs = [record.jobs[0].model_copy(update={"round": None, "attempt": None}), record.jobs[1]]
    chart = timeline(job_rows([job.model_copy(update={"gpu": gpu}) for job in jobs]), gpu).to_dict()
    (rows,) = chart["datasets"].values() if "datasets" in chart else [chart["data"]["values"]]
    assert [row["when"] for row in rows] == ["the whole run", "round 0, attempt 0"]
    assert all(row[one["field"]] is not None for row in rows for one in chart["encoding"]["tooltip"])


def nearer(record, factor):
    """The record with times of all kernels but the seed's so near to the seed's, ms."""
    seed = record.trials[0].time_ms
    trials = [t.model_copy(update={"time_ms": seed / factor}) if t.round and t.time_ms else t for t in record.trials]
    rounds = [r.model_copy(update={"best_ms": seed / factor}) if r.round else r for r in record.rounds]
    final = record.final.model_copy(update={"best_ms": seed / factor, "speedup": factor})
    return record.model_copy(update={"trials": tuple(trials), "rounds": tuple(rounds), "final": final})


@pytest.mark.parametrize(("factor", "told"), [(1.03, False), (1.3, True)])
def test_gains_within_the_error_of_estimates_are_no_wins_and_no_faster_kernels(small, factor, told):
    record = nearer(small, factor)
    page = SCRIPTS.sub("", render(record))
    assert ("No kernel was found that is surely faster than the seed" in page) is not told
    assert (f"{factor}x</span> its parent, within the error of estimates" in page) is not told
    assert (sum(row.wins for row in models(record.trials)) > 0) is told
    assert (faster_in(record.trials, record.rounds, record.selections)[1] > 0) is told
