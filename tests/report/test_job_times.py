import base64
import json

import pytest

from kopt.artifact import write_value
from kopt.report.details import JobSpan
from kopt.report.rows import busy_seconds, job_rows, judging, most_at_once, progress_rows
from kopt.run.job_times import job_spans
from kopt.run.started import Started


def write_record(start, path, rule, began, ended, log=()):
    """Write a record as Snakemake does."""
    name = base64.b64encode(path.encode(), b"+-").decode()
    parts = [f"@{name[at : at + 200]}" for at in range(0, len(name) - 200, 200)]
    file = start.joinpath(".snakemake/metadata", *parts, name[200 * len(parts) :])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"rule": rule, "log": log, "starttime": began, "endtime": ended}))


def run_folder(tmp_path):
    folder = tmp_path / "results" / "demo"
    folder.mkdir(parents=True)
    write_record(tmp_path, "results/demo/round_1/attempt_2/evaluation_0.parquet", "evaluate_repair", 20.0, 30.0)
    write_record(tmp_path, "results/demo/facts.json", "problem", 1.0, 2.0)
    write_record(tmp_path, "results/demo/problem.json", "problem", 1.0, 2.1)
    write_record(tmp_path, "results/demo/report.html", "finish", 40.0, 50.0)
    write_record(tmp_path, "results/demo2/facts.json", "problem", 0.0, 9.0)
    write_record(tmp_path, f"results/demo/{'long/' * 60}x.json", "select", 31.0, 32.0)
    (tmp_path / ".snakemake/metadata/bm90IGpzb24=").write_text("{")
    return folder


def test_jobs_are_read_once_each_in_order_and_the_last_rule_is_left_out(tmp_path):
    spans = job_spans(run_folder(tmp_path), rounds=2, holds_gpus=True)
    assert [(one.rule, one.round, one.attempt, one.gpu) for one in spans] == [
        ("problem", None, None, False), ("evaluate_repair", 1, 2, True), ("select", None, None, False),
    ]  # fmt: skip


def test_jobs_of_rounds_that_the_run_does_not_have_are_of_an_earlier_search(tmp_path):
    spans = job_spans(run_folder(tmp_path), rounds=0, holds_gpus=True)
    assert [one.rule for one in spans] == ["problem", "select"]


def test_a_run_whose_results_lie_elsewhere_is_found_from_where_it_was_started(tmp_path):
    folder, start = tmp_path / "far" / "demo", tmp_path / "start"
    folder.mkdir(parents=True)
    write_record(start, str(folder / "facts.json"), "problem", 1.0, 2.0)
    record = Started(words=(), folder=str(start), host="", moment=0, first=0, configuration={}, locked=False)
    write_value(folder / "started.json", record)
    assert [one.rule for one in job_spans(folder, rounds=2, holds_gpus=False)] == ["problem"]


def test_a_run_without_a_gpu_holds_none(tmp_path):
    assert not any(one.gpu for one in job_spans(run_folder(tmp_path), rounds=2, holds_gpus=False))


def test_a_folder_without_records_has_no_jobs(tmp_path):
    assert job_spans(tmp_path / "nowhere", rounds=2, holds_gpus=True) == ()


def span(began, ended, rule="evaluate", gpu=True, round=1):
    return JobSpan(rule=rule, round=round, attempt=0, began=began, ended=ended, gpu=gpu)


def test_time_in_which_jobs_overlap_counts_once():
    assert busy_seconds([span(5, 8), span(0, 4), span(1, 2), span(3, 6)]) == 8


def test_a_job_counts_once_though_each_of_its_files_has_a_begin_of_its_own(tmp_path):
    folder = tmp_path / "results" / "demo"
    folder.mkdir(parents=True)
    for place, file in enumerate(["evaluation_0.parquet", "failed_0.txt", "../costs/evaluate.parquet"]):
        path = str((folder / "round_1/attempt_0" / file).resolve().relative_to(tmp_path.resolve()))
        write_record(tmp_path, path, "evaluate", 20.0 + place / 8, 30.0, ["logs/round_1/evaluate_0_0.log"])
    write_record(tmp_path, "results/demo/round_1/attempt_0/evaluation_1.parquet", "evaluate", 20.5, 40.0, ["other.log"])
    write_record(tmp_path, "results/demo/round_1/attempt_0/old.txt", "evaluate", 2.0, 4.0, ["other.log"])
    spans = job_spans(folder, rounds=2, holds_gpus=True)
    assert [(one.began, one.ended, one.round, one.attempt) for one in spans] == [(20.0, 30.0, 1, 0), (20.5, 40.0, 1, 0)]
    assert most_at_once(spans) == 2


@pytest.mark.parametrize(("spans", "most"), [([], 0), ([(0, 1)], 1), ([(0, 1), (1, 2)], 1), ([(0, 3), (1, 2)], 2)])
def test_jobs_that_meet_are_not_at_the_same_time(spans, most):
    assert most_at_once([span(*one) for one in spans]) == most


def test_only_jobs_that_held_a_gpu_judge_where_one_did():
    jobs = [span(0, 1), span(1, 2, gpu=False), span(2, 3, rule="compile")]
    assert judging(jobs) == [jobs[0], jobs[2]]
    assert judging(jobs[1:2]) == [jobs[1]]
    assert [row["began_s"] for row in job_rows(jobs)] == [0, 1, 2]


def test_what_was_spent_never_falls_and_the_best_never_rises(record):
    rows = progress_rows(record.trials, record.rounds, record.costs, record.jobs)
    for name in ("calls", "dollars", "judge_s"):
        values = [row[name] for row in rows if row[name] is not None]
        assert values == sorted(values)
    best = [row["best_ms"] for row in rows]
    assert best == sorted(best, reverse=True)
    assert rows[-1]["calls"] == sum(trial.round > 0 for trial in record.trials)
    assert max(row["judge_s"] or 0 for row in rows) == 70 * len(record.rounds)
