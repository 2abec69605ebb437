"""A search that starts again under the same name loses nothing that the one before it has found."""

import shutil

import pytest

from kopt.run.earlier import KEPT
from kopt.run.load import load_run

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("dag")]


def but_the_report(texts):
    """Leave out the report, which says when jobs worked."""
    return {name: text for name, text in texts.items() if name != "report.html"}


@pytest.fixture(scope="module")
def ended(finished, new_project, tmp_path_factory):
    """A copy of a project with a search that has ended."""
    project = new_project(tmp_path_factory.mktemp("ended"))
    for part in ("results", ".snakemake"):
        shutil.copytree(finished.folder / part, project.folder / part)
    return project


def texts(folder):
    return {name: (folder / name).read_bytes() for name in KEPT}


def test_results_are_kept_before_a_start_with_other_settings_replaces_them_and_a_line_says_so(ended):
    before = texts(ended.file(""))
    fewer = (*ended.DRY[:2], "rounds=1", *ended.DRY[3:])
    looked = ended.succeeds(*fewer, options=("--dry-run",))
    assert "results/t holds a finished search (" in looked
    assert "differs in rounds (2 -> 1): its results are kept in results/t/earlier_1 before" in looked
    assert "kopt run --name NAME" in looked
    assert not ended.file("earlier_1").exists()
    assert "differs in rounds (2 -> 1)" in ended.succeeds(*fewer)
    assert texts(ended.file("earlier_1")) == before
    assert texts(ended.file(""))["manifest.json"] != before["manifest.json"]
    assert not ended.file("round_2").exists()
    assert load_run(ended.file("earlier_1")).summaries[2].round == 2

    again = ended.succeeds(*ended.DRY)
    assert "differs in rounds (1 -> 2): its results are kept in results/t/earlier_2" in again
    assert but_the_report(texts(ended.file(""))) == but_the_report(before)
    assert "holds a finished search" not in ended.succeeds(*ended.DRY)


def test_results_that_are_made_again_are_kept_once(ended):
    folders = sorted(path.name for path in ended.file("").glob("earlier_*"))
    ended.file("round_2/selection.parquet").unlink()
    ended.succeeds(*ended.DRY)
    assert sorted(path.name for path in ended.file("").glob("earlier_*")) == folders


def test_a_start_that_got_no_further_than_an_edited_problem_goes_on_and_says_where_the_results_are(ended):
    before = texts(ended.file(""))
    for folder in ended.file("").glob("earlier_*"):
        shutil.rmtree(folder)
    ended.edit("config/problems/softmax/problem.py", "def get_inputs(", "# edited\ndef get_inputs(")
    begun = ended.succeeds(*ended.DRY, options=("--until", "problem"))
    assert "differs in the problem, which was edited: its results are kept in results/t/earlier_1 before" in begun
    assert texts(ended.file("earlier_1")) == before
    assert texts(ended.file(""))["problem.json"] != before["problem.json"]

    again = ended.succeeds(*ended.DRY)
    assert "differs in the problem, which was edited: its results are in results/t/earlier_1 already" in again
    assert [path.name for path in ended.file("").glob("*earlier*")] == ["earlier_1"]
    assert texts(ended.file("earlier_1")) == before
