"""The DAG itself, on a dry run: nothing is built or judged, every file is there."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from kopt.artifact import read_table
from kopt.model.trial import SelectionRow, Trial
from kopt.run.load import load_run
from kopt.run.so_far import read_so_far
from kopt.run.status import status_of
from kopt.stages.finish import exports, write_exports
from kopt.store import Store
from kopt.view.page import write_report
from kopt.winner.source import module_text

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("dag")]

OUTPUTS = ("best_kernel.py", "final.json", "trials.parquet", "report.html", "manifest.json")


def selections(project):
    return [project.file(f"round_{r}/selection.parquet").read_bytes() for r in range(3)]


def test_a_run_ends_with_everything_it_promises(finished):
    assert [name for name in OUTPUTS if not finished.file(name).exists()] == []


def test_a_start_is_recorded_once_the_first_job_begins_and_a_look_is_none(finished):
    run = read_so_far(finished.file(""))
    assert run.started.words[-len(finished.DRY) :] == finished.DRY
    assert run.started.words[0] == "snakemake"
    status = status_of(run)
    assert (status.state, status.phase, status.locked) == ("finished", "", False)
    finished.planned(*finished.DRY, "run=looked_at")
    assert not (finished.folder / "results" / "looked_at").exists()


def test_every_round_says_on_the_terminal_what_it_came_to(finished):
    assert [f"R{r}:" in finished.output for r in range(3)] == [True] * 3


def test_a_finished_run_is_loaded_from_its_folder_alone_and_exports_the_same_files(finished, tmp_path):
    run = load_run(finished.file(""))
    paths = {name: tmp_path / name for name in exports()}
    store = Store(finished.folder / "results" / "store")
    write_exports(run, store, paths)
    write_report(run, store, finished.file(""), tmp_path / "report.html")
    written = sorted(path.read_bytes() for path in (*paths.values(), tmp_path / "report.html"))
    assert written == sorted(finished.file(name).read_bytes() for name in OUTPUTS)


def test_a_second_identical_call_finds_nothing_to_do(finished):
    assert "Nothing to be done" in finished.succeeds(*finished.DRY)


def test_every_slot_has_its_trial(finished):
    trials = read_table(finished.file("trials.parquet"), Trial)
    slots = [(0, 0), *((r, s) for r in (1, 2) for s in range(4))]
    assert [(t.round, t.slot) for t in trials if t.attempt == 0] == slots


def test_the_selection_is_as_wide_as_the_pool(finished):
    assert len(read_table(finished.file("round_2/selection.parquet"), SelectionRow)) == 2


def test_a_dry_run_says_in_its_outcome_that_it_is_estimated(finished):
    assert json.loads(finished.file("final.json").read_text())["estimated"] is True


def test_a_comment_in_the_library_reruns_nothing(finished):
    finished.edit("kopt/search/strategies/beam.py", "class Beam", "# a comment\nclass Beam")
    assert finished.planned(*finished.DRY) == set()
    finished.edit("kopt/search/strategies/beam.py", "# a comment\n", "")


def test_an_edit_of_selection_reruns_select_and_what_follows(finished):
    """Not the ranking and the classes that a selection is made from; those of later rounds follow from it."""
    finished.edit("kopt/search/strategies/beam.py", "dedup(pool)[:width]", "[*dedup(pool)][:width]")
    round_0 = finished.planned(*finished.DRY, targets=("results/t/round_0/selection.parquet",))
    planned = finished.planned(*finished.DRY)
    finished.edit("kopt/search/strategies/beam.py", "[*dedup(pool)][:width]", "dedup(pool)[:width]")
    assert round_0 == {"select"}
    assert {"select", "expand", "finish"} <= planned
    assert not planned & {"problem", "seed", "compile_seed"}


def test_an_appended_technique_reruns_classify_and_at_most_what_follows(finished):
    path = finished.folder / "config" / "techniques.yaml"
    before, stamp = path.read_text(), path.stat()
    path.write_text(f"{before}\n- name: new_technique\n  description: New.\n  llm_hint: Look for it.\n")
    planned = finished.planned(*finished.DRY)
    path.write_text(before)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "classify" in planned
    assert not planned & {"problem", "seed", "compile_seed"}


def test_another_pool_size_keeps_the_seeds_build_and_verdict(finished):
    verdict = "results/t/round_0/attempt_0/evaluation_0.parquet"
    assert finished.file("round_0/attempt_0/evaluation_0.parquet").exists()
    assert finished.planned(*finished.DRY, "candidate_pool_size=3", targets=(verdict,)) == set()
    assert {"select", "expand"} <= finished.planned(*finished.DRY, "candidate_pool_size=3")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, new_project):
    """A run of the strategy noop that stops after one of its two rounds."""
    project = new_project(tmp_path_factory.mktemp("stopped"))
    project.succeeds(
        "problem=softmax", "run=t", "rounds=2", "strategy=noop", "models=[]", "judge=dry", "max_no_improvement=1",
        "max_repairs=0",
    )  # fmt: skip
    return project


def test_an_early_stop_leaves_the_later_rounds_empty(stopped):
    trials = read_table(stopped.file("trials.parquet"), Trial)
    assert [t.status for t in trials if t.round == 1 and t.attempt == 0] == ["none"] * 4
    assert [t.status for t in trials if t.round == 2 and t.attempt == 0] == ["skipped"] * 4


def test_noop_proposes_nothing_and_returns_the_seed(stopped):
    seed = (stopped.folder / "config/problems/softmax/kernel.py").read_text()
    assert module_text(seed).body in stopped.file("best_kernel.py").read_text()


def kill_everything(process):
    """SIGKILL of snakemake and all that it started."""
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_rewriter_proposes_in_a_dry_run_where_no_build_tells_of_launches(project):
    project.succeeds(
        "problem=softmax", "run=t", "rounds=1", "candidate_pool_size=1", "models=[kopt-rewrite]", "judge=dry",
        "max_repairs=0",
    )  # fmt: skip
    proposed = [t for t in read_table(project.file("trials.parquet"), Trial) if t.round == 1]
    assert proposed
    assert all(t.model == "kopt-rewrite" and t.kernel for t in proposed)


def tables_in(folder):
    """Count tables while a run makes and removes folders: `os.walk` passes over a folder that has just gone."""
    return sum(file.endswith(".parquet") for _, _, files in os.walk(folder) for file in files)


def test_a_deleted_run_comes_back_byte_for_byte_also_if_it_is_killed_on_its_way(finished):
    """Killed twice at random moments (told by the number of files made), then unlocked and run to the end."""
    project, drawn = finished, random.Random(7)
    before, best = selections(project), project.file("best_kernel.py").read_bytes()
    shutil.rmtree(project.file(""))
    shutil.rmtree(project.folder / "results" / "store")
    for _ in range(2):
        enough = tables_in(project.folder) + drawn.randint(1, 8)
        process = subprocess.Popen(
            project.command(*project.DRY, "warm=false"), cwd=project.folder, env=project.environment(),
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        while process.poll() is None and tables_in(project.folder) < enough:
            time.sleep(0.02)
        kill_everything(process)
        project.succeeds(*project.DRY, options=("--unlock",))
    project.succeeds(*project.DRY)
    assert (selections(project), project.file("best_kernel.py").read_bytes()) == (before, best)


def test_a_dry_run_leaves_no_build_that_a_real_run_would_find(finished):
    """A dry backend's builds are empty: under a real key they would be taken for what a kernel compiles to."""
    assert list((finished.folder / "results" / "store").glob("build/**/*.json")) == []
