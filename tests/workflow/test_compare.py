"""A comparison as a DAG of searches, dry; its tests share the two searches."""

import json
import re

import pytest
import yaml

from kopt import cli
from kopt.comparison.standings import Comparison

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("compare")]
PLAN = {
    "name": "c", "problems": ["softmax"], "seeds": [0], "rounds": 1, "slots": 1,
    "settings": {"models": ["kopt-echo"], "candidate_pool_size": 1, "num_bottlenecks": 1, "max_repairs": 0,
                 "judge": "dry", "warm": True},
    "strategies": {"top-k": {"strategy": "beam"}, "elites": {"strategy": "map_elites"}},
}  # fmt: skip
RUNS = ("softmax-top-k-0", "softmax-elites-0")


def command(project, *options):
    words = project.command("plan=compare.yaml", options=("--snakefile", "workflow/compare.smk", *options), full=False)
    return project.run_command(words)


@pytest.fixture(scope="module")
def compared(new_project, tmp_path_factory, seed_store):
    project = new_project(tmp_path_factory.mktemp("compared"))
    project.knows(seed_store)
    (project.folder / "compare.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    done = command(project)
    assert done.returncode == 0, done.stdout
    project.output = done.stdout
    return project


def answer(project):
    return Comparison.model_validate_json((project.folder / "results" / "c" / "compare.json").read_text())


def test_the_searches_run_and_are_compared_under_the_names_of_the_plan(compared):
    assert [one.run for one in answer(compared).entrants] == ["softmax-elites-0", "softmax-top-k-0"]
    assert answer(compared).labels == ("elites", "top-k")
    assert "elites against top-k, 1 pair on 1 problem" in compared.output
    assert "all times are made up (judge dry)" in compared.output
    page = (compared.folder / "results" / "c" / "compare.html").read_text()
    assert "all times are made up" in page


def test_searches_whose_judge_uses_no_gpu_wait_for_none(new_project, tmp_path):
    project = new_project(tmp_path)
    settings = PLAN["settings"] | {"judge": "interpret"}
    strategies = PLAN["strategies"] | {"measured": {"strategy": "beam", "judge": "cuda"}}
    plan = PLAN | {"gpus": 2, "settings": settings, "strategies": strategies}
    (project.folder / "compare.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    planned = command(project, "--dry-run", "--logger-kopt-full").stdout
    asked = re.findall(r"wildcards: run=(\S+)\n(?:    .*\n)*?    resources:.*\bgpu=(\d)", planned)
    assert dict(asked) == {RUNS[0]: "0", RUNS[1]: "0", "softmax-measured-0": "2"}


def test_after_an_edit_of_a_strategy_only_its_own_searches_run_again(compared):
    compared.edit("kopt/search/strategies/map_elites.py", "MOST = 3", "MOST = 2")
    try:
        assert "by rule: search 1, compare 1" in command(compared, "--dry-run").stdout
    finally:
        compared.edit("kopt/search/strategies/map_elites.py", "MOST = 2", "MOST = 3")


def test_the_command_compares_the_same_folder_or_its_runs(compared, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(compared.folder)
    assert cli.main(["compare", "results/c", "--json"]) == 0
    by_folder = json.loads(capsys.readouterr().out)
    assert cli.main(["compare", *(f"results/c/{run}" for run in RUNS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["standings"] == by_folder["standings"]
    assert by_folder["standings"] == json.loads((compared.folder / "results/c/compare.json").read_text())["standings"]
    assert cli.main(["compare", "results/c", "-o", str(tmp_path / "page.html")]) == 0
    assert "at equal slots" in capsys.readouterr().out
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_runs_that_have_not_ended_are_left_out_and_named(compared, monkeypatch, capsys):
    monkeypatch.chdir(compared.folder)
    manifest = compared.folder / "results" / "c" / RUNS[0] / "manifest.json"
    text = manifest.read_bytes()
    manifest.unlink()
    try:
        assert cli.main(["compare", "results/c"]) == 0
        said = capsys.readouterr().out
        assert "note: results/c/softmax-top-k-0 left out: not ended" in said
        assert "note: all runs are of one strategy (elites): nothing is compared" in said
        assert cli.main(["compare", f"results/c/{RUNS[0]}"]) == 2
        assert "name the folder of a run that has ended" in capsys.readouterr().err
    finally:
        manifest.write_bytes(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare.yaml", "--force"], "are for finished runs"),
        (["compare.yaml", "results/c"], "a comparison has one plan"),
        (["results/c", "--cores", "2"], "are for a plan"),
        (["results"], "results holds no run that has ended"),
        (["nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_words_that_do_not_go_together_are_refused(compared, monkeypatch, capsys, words, said):
    monkeypatch.chdir(compared.folder)
    assert cli.main(["compare", *words]) == 2
    assert said in capsys.readouterr().err
