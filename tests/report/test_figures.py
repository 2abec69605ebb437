"""Figures tell no more and no other than what was so when their marks were made."""

import pytest

from kopt.report.details import JobSpan
from kopt.report.figures.progress import best_so_far
from kopt.report.figures.roofline import roofline
from kopt.report.render import charts
from kopt.report.rows import EAGER, WAITING, cluster_rows, job_rows, progress_rows, waits
from kopt.report.tables import correct_trials


def rows_of(record):
    return progress_rows(record.trials, record.rounds, record.costs, record.jobs)


def drawn(record, over="x", others=None):
    rows = rows_of(record)
    return best_so_far(
        rows, over, seed_ms=7.0, floor_ms=1.4, models=record.models, estimated=True, others=others or {}
    ).to_dict()


@pytest.mark.parametrize("over", ["x", "calls"])
def test_the_line_of_the_best_time_falls_where_a_mark_lies_and_nowhere_else(record, over):
    chart = drawn(record, over)
    tables = list(chart["datasets"].values())
    marks = {(row[over], row["ms"]) for rows in tables for row in rows if "name" in row}
    (steps,) = [rows for rows in tables if "best_ms" in rows[0]]
    assert len(steps) > 3
    assert {(row[over], row["best_ms"]) for row in steps[:-1]} <= marks
    assert [row["best_ms"] for row in steps] == sorted((row["best_ms"] for row in steps), reverse=True)


def test_the_best_time_has_its_interval_as_a_band_where_it_was_measured_and_none_where_it_is_estimated(record):
    assert not [layer for layer in drawn(record)["layer"] if layer["mark"]["type"] == "area"]
    trials = [
        t.model_copy(update={"estimated": False, "low_ms": 0.9 * t.time_ms, "high_ms": 1.2 * t.time_ms})
        if t.time_ms else t
        for t in record.trials
    ]  # fmt: skip
    chart = drawn(record.model_copy(update={"trials": tuple(trials)}))
    (band,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "area"]
    assert (band["encoding"]["y"]["field"], band["encoding"]["y2"]["field"]) == ("best_low_ms", "best_high_ms")
    (steps, *_) = [rows for rows in chart["datasets"].values() if "best_low_ms" in rows[0]]
    assert len(steps) > 3
    low, high = band["encoding"]["y"]["scale"]["domain"]
    assert all(low < row["best_low_ms"] and row["best_high_ms"] < high for row in steps)
    for row in steps:
        assert (row["best_low_ms"], row["best_high_ms"]) == pytest.approx((0.9 * row["best_ms"], 1.2 * row["best_ms"]))


def test_every_proposer_of_a_mark_has_a_colour_the_seed_among_them(record):
    chart = drawn(record)
    (dots,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "point"]
    colours = dots["encoding"]["color"]["scale"]["domain"]
    marks = {row["model"] for rows in chart["datasets"].values() for row in rows if "model" in row}
    assert marks <= set(colours)
    assert "seed" in marks


def test_lines_are_named_in_the_legend_with_their_times_and_one_beyond_the_frame_says_so(record):
    chart = drawn(record, others={"PyTorch eager": 3.0, "torch.compile": 70.0})
    (rule,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "rule"]
    assert rule["encoding"]["strokeDash"]["scale"]["domain"] == [
        "seed 7.0000 ms", "PyTorch eager 3.0000 ms", "torch.compile 70.0000 ms, beyond the frame",
        "roofline floor 1.4000 ms",
    ]  # fmt: skip
    assert not [layer for layer in chart["layer"] if layer["mark"]["type"] == "text"]


def test_the_frame_of_the_roofline_holds_every_kernel_and_little_else(record):
    chart = charts(record)["roofline"].to_dict()
    points = [row for rows in chart["datasets"].values() for row in rows if "name" in row]
    assert EAGER in {row["name"] for row in points}
    for field, channel in (("intensity", "x"), ("tflop_s", "y")):
        low, high = chart["layer"][0]["encoding"][channel]["scale"]["domain"]
        values = [row[field] for row in points]
        assert low < min(values) <= max(values) < high
        assert (high / max(values), min(values) / low) < (4, 4)
    assert roofline([], [], models=[], estimated=True).to_dict()


def test_a_cluster_has_in_each_round_the_fastest_kernel_that_the_round_brought_it(record):
    rows = cluster_rows(record.trials)
    assert rows
    for row in rows:
        members = [
            trial for trial in correct_trials(record.trials)
            if trial.round == row["round"] and list(trial.techniques or ("none",)) == row["techniques"]
        ]  # fmt: skip
        assert (row["name"], row["ms"], row["kernels"]) == (members[0].name, members[0].time_ms, len(members))


def test_times_without_a_job_are_listed():
    spans = [(0, 10), (2, 4), (40, 50), (50.5, 100)]
    jobs = [JobSpan(rule="r", round=0, attempt=0, began=b + 7, ended=e + 7, gpu=False) for b, e in spans]
    (gap,) = waits(job_rows(jobs))
    assert (gap["rule"], gap["began_s"], gap["ended_s"], gap["seconds"]) == (WAITING, 10, 40, 30)
    assert waits([]) == []
