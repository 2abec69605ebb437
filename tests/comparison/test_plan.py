"""The plan of a comparison: what it lists, and what is refused before anything runs."""

from pathlib import Path

import pytest
import yaml

from kopt.comparison.label import NEUTRAL, derived_labels
from kopt.comparison.plan import labels_of, load_plan, searches
from kopt.config import Config, TechniqueClustering
from kopt.errors import KoptError

ROOT = Path(__file__).resolve().parents[2]
PLAN = {
    "name": "c", "problems": ["softmax", "rmsnorm"], "seeds": [0, 1], "rounds": 2, "slots": 4,
    "settings": {"models": ["kopt-echo"], "candidate_pool_size": 2, "num_bottlenecks": 2, "judge": "dry"},
    "strategies": {"top-k": {"strategy": "beam"}, "clusters": {"technique_clustering": {"enabled": True}}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def planned(**changed):
    Path("compare.yaml").write_text(yaml.safe_dump(PLAN | changed, sort_keys=False))
    return load_plan(Path("compare.yaml"))


def test_every_strategy_searches_every_problem_with_every_seed():
    plan = planned()
    found = searches(plan, ROOT)
    assert len(found) == len({one.run for one in found}) == 8
    assert [one.run for one in found[:3]] == ["softmax-top-k-0", "softmax-clusters-0", "rmsnorm-top-k-0"]
    assert {one.checked.settings.folder for one in found} == {f"results/c/{one.run}" for one in found}
    assert {one.checked.settings.strategy for one in found if one.label == "clusters"} == {"clustered"}
    assert labels_of(plan, found).labels["rmsnorm-clusters-1"] == "clusters"


def test_searches_share_a_store_unless_each_is_to_have_its_own():
    assert {one.settings["store"] for one in searches(planned(), ROOT)} == {"results/store"}
    assert len({one.settings["store"] for one in searches(planned(own_stores=True), ROOT)}) == 8


@pytest.mark.parametrize(
    ("judge", "visible", "held"),
    [("interpret", "0,1,2,3", 0), ("dry", "0", 0), ("cuda", "0,1,2,3", 2), ("auto", "0,1,2,3", 2), ("auto", "", 0)],
)
def test_a_search_holds_gpus_where_its_judge_uses_some(judge, visible, held, monkeypatch):
    monkeypatch.setattr("kopt.preflight.validate.visible_gpus", lambda environ: visible.split(",") if visible else [])
    plan = planned(gpus=2, settings=PLAN["settings"] | {"judge": judge})
    assert {one.gpus for one in searches(plan, ROOT)} == {held}


def test_words_are_what_snakemake_reads_back():
    words = searches(planned(), ROOT)[1].words
    assert "problem=softmax" in words.split()
    assert """'technique_clustering={"enabled": true}'""" in words
    assert """'models=["kopt-echo"]'""" in words


def test_a_search_depends_on_its_strategy_and_not_on_others():
    found = {one.run: one.depends_on() for one in searches(planned(), ROOT)}
    assert found["softmax-top-k-0"] == found["softmax-top-k-1"]
    assert found["softmax-top-k-0"] != found["softmax-clusters-0"]
    assert found["softmax-top-k-0"] != found["rmsnorm-top-k-0"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"problms": []}, "compare.yaml: unknown key 'problms'; did you mean 'problems'"),
        ({"seeds": [0, 0]}, "compare.yaml: seeds: a seed stands twice"),
        ({"problems": ["softmacks"]}, "unknown problem 'softmacks'.*softmax"),
        ({"slots": 5}, "comparison c, strategy top-k: .*slots: 5 declared, but .* = 4"),
        ({"strategies": {"x": {"strategy": "beem"}}}, "strategy x: .*did you mean 'beam'"),
        ({"strategies": {"x": {"seed": 3}}}, "x: seed follows from the comparison itself: leave it out"),
        ({"strategies": {"x": {"strateggy": "beam"}}}, "strategy x: .*unknown key 'strateggy'"),
        ({"strategies": {"x y": {}}}, "compare.yaml: strategies.x y"),
        ({"strategies": {}}, "compare.yaml: strategies"),
        ({"name": "store"}, "compare.yaml: name: 'store' cannot be the name of a comparison"),
        ({"name": "../c"}, "compare.yaml: name"),
        ({"profile": "a; b"}, "compare.yaml: profile"),
    ],
)
def test_a_wrong_plan_is_refused_in_one_line(changed, said):
    with pytest.raises(KoptError, match=said) as refused:
        searches(planned(**changed), ROOT)
    assert "\n" not in str(refused.value)


def test_the_folder_of_a_run_is_no_folder_of_a_comparison():
    Path("results/c").mkdir(parents=True)
    Path("results/c/started.json").touch()
    with pytest.raises(
        KoptError, match="comparison c: results/c is the folder of a run: name the comparison otherwise"
    ):
        searches(planned(), ROOT)


def test_the_shipped_plan_is_one_that_runs():
    plan = load_plan(ROOT / "benchmarks" / "clustering.yaml")
    assert len(searches(plan, ROOT)) == 3 * 5 * 4


def test_the_plan_of_the_documentation_is_one_that_runs():
    text = (ROOT / "docs" / "comparison.md").read_text().split("```yaml\n")[1].split("```")[0]
    Path("compare.yaml").write_text(text)
    assert len(searches(load_plan(Path("compare.yaml")), ROOT)) == 30


def test_a_plan_that_is_no_file_is_named():
    with pytest.raises(KoptError, match=r"nowhere\.yaml cannot be read"):
        load_plan(Path("nowhere.yaml"))


def test_settings_that_make_no_other_strategy_are_settings():
    assert set(Config.model_fields) >= NEUTRAL


def test_a_strategy_without_a_name_is_named_by_the_settings_in_which_it_differs():
    beam = Config(strategy="beam")
    assert derived_labels([beam, Config(strategy="clustered"), Config(seed=3)]) == ["beam", "clustered", "beam"]
    assert derived_labels([beam, Config(candidate_pool_size=4)]) == [
        "beam candidate_pool_size=2", "beam candidate_pool_size=4",
    ]  # fmt: skip
    clustered = [Config(strategy="clustered"), Config(technique_clustering=TechniqueClustering(enabled=True))]
    assert derived_labels(clustered) == ["clustered", "clustered"]
