"""A finished run, looked at from Python; its tests share the dry run of `test_dag`."""

import contextlib
import io
import json
from pathlib import Path

import altair
import pandas as pd
import pytest

import kopt
from kopt import cli
from kopt.analysis import RunKernel
from kopt.errors import ConfigError, KoptError
from kopt.model.kernel import Kernel

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("dag")]
NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "analysis.ipynb"


@pytest.fixture
def run(finished):
    return kopt.load_run(finished.file(""))


def test_tables_are_data_frames_of_the_runs_own_rows(run, finished):
    trials = run.trials()
    assert isinstance(trials, pd.DataFrame)
    assert trials.name.tolist() == [trial.name for trial in run.value.trials]
    written = pd.read_parquet(finished.file("trials.parquet"))
    assert trials.time_ms.tolist() == written.time_ms.tolist()
    assert run.selections().groupby("round").size().tolist() == [len(one.selection) for one in run.value.rounds]
    assert run.rounds().best_ms.tolist() == [one.best_ms for one in run.value.summaries]
    assert list(run.costs().columns[:2]) == ["calls", "stored"]
    assert run.costs().empty
    assert {"evaluate", "select"} <= set(run.jobs().rule)
    assert run.progress().best_ms.is_monotonic_decreasing


def test_figures_are_valid_charts(run):
    for chart in (run.best_so_far(), run.best_so_far("judge_s"), run.lineage(), run.clusters(), run.timeline()):
        assert isinstance(chart, altair.TopLevelMixin)
        assert chart.to_dict(validate=True)
    with pytest.raises(ConfigError, match="no axis 'euros': choose one of x, calls, dollars, judge_s"):
        run.best_so_far("euros")


def test_a_page_can_be_made_again_from_the_run_alone(run, finished):
    assert run.report() == finished.file("report.html").read_text(encoding="utf-8")


def test_a_kernel_has_its_source_its_row_and_what_is_known_of_it(run):
    best, seed = run.kernel(), run.kernel("seed")
    assert (best.name, best.trial.kernel) == (run.value.best.name, run.value.best.kernel)
    assert "def kernel_function" in best.source
    assert seed.source == run.value.problem.seed.source
    assert best.view.verdict == "passed"


def test_a_kernel_that_passed_can_be_called_and_another_cannot(run):
    best = run.kernel()
    called = RunKernel(
        best.name, Kernel(source="def kernel_function(x, y=1):\n    return x + y\n"), best.trial, best.view
    )
    assert called(2, y=3) == 5
    wrong = RunKernel("r9a0s9", called.kernel, best.trial.model_copy(update={"verdict": "incorrect"}), best.view)
    with pytest.raises(KoptError, match=r"r9a0s9 did not pass \(incorrect\): only verified kernels can be called"):
        wrong(1)
    broken = RunKernel(best.name, Kernel(source="import nowhere\n"), best.trial, best.view)
    with pytest.raises(KoptError, match="cannot be imported"):
        broken(1)


def test_a_folder_without_a_run_and_a_run_without_a_store_are_told(tmp_path, finished):
    with pytest.raises(ConfigError, match="name the folder of a run that has ended"):
        kopt.load_run(tmp_path)
    with pytest.raises(ConfigError, match="name it with store="):
        kopt.load_run(finished.file(""), store=tmp_path / "gone")


def test_the_notebook_runs(finished):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    source = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for text in source:
            exec(text.replace('"results/first"', repr(str(finished.file("")))), names)
    assert names["best"].name in printed.getvalue()
    assert len(names["parents"]) > 0


def test_a_run_s_own_strategy_reselects_what_it_selected(run, finished, capsys):
    assert cli.main(["reselect", str(finished.file("")), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    own = next(score for score in answer["scores"] if score["strategy"] == answer["strategy"])
    selected = run.selections().groupby("round").origin.apply(list).tolist()
    assert [step["parents"] for step in own["steps"]] == selected
    assert own["support"] == 1
    assert cli.main(["reselect", str(finished.file("")), "--strategy", "bean"]) == 2
    assert "did you mean 'beam'?" in capsys.readouterr().err
