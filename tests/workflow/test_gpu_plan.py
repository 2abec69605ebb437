"""What a run on GPUs would do, planned without one."""

import re

import pytest

RUN = ("problem=softmax", "run=t", "rounds=2", "models=[kopt-rewrite]", "judge=cuda")
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("plan")]

ON_GPU = {"device", "evaluate", "evaluate_repair", "rank", "profile", "outcome"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory, new_project, seed_store):
    project = new_project(tmp_path_factory.mktemp("plan"))
    project.knows(seed_store)
    return project.succeeds(*RUN, options=("--dry-run",))


def jobs(plan: str) -> list[tuple[str, str]]:
    """Rule and description of every planned job."""
    return re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", plan, re.M)


def test_what_needs_a_gpu_asks_for_one_and_nothing_else_does(plan):
    asking = {rule for rule, text in jobs(plan) if "gpu=1" in text}
    assert asking == ON_GPU


def test_one_job_profiles_the_few_parents_of_a_round(plan):
    profiles = [text for rule, text in jobs(plan) if rule == "profile"]
    assert len(profiles) == 2  # two rounds that have successors
    assert all("profile/0.json" in text and "profile/1.csv" in text for text in profiles)


def test_baselines_are_timed_beside_the_building_of_round_1(project, seed_store):
    """They wait for the first verdict, no job of the rounds waits for their end, and building leaves them a core."""
    project.knows(seed_store)
    plan = jobs(project.succeeds(*RUN, options=("--dry-run", "--cores", "8")))
    (baseline,) = [text for rule, text in plan if rule == "baseline"]
    assert "round_0/attempt_0/evaluation_0.parquet" in baseline
    assert "round_0/profile" not in baseline
    assert "gpu=" not in baseline
    builds = [text for rule, text in plan if rule in ("compile", "compile_repair")]
    assert builds
    assert all("threads: 7\n" in text for text in builds)


def test_each_of_many_parents_has_a_profile_job_of_its_own(project, seed_store):
    project.knows(seed_store)
    plan = project.succeeds(*RUN, "rounds=1", "candidate_pool_size=5", options=("--dry-run",))
    assert len([rule for rule, _ in jobs(plan) if rule == "profile"]) == 5


def test_the_screen_is_a_rule_of_a_run_that_wants_it(plan, project, seed_store):
    assert "screen" not in {rule for rule, _ in jobs(plan)}
    project.knows(seed_store)
    with_screen = jobs(project.succeeds(*RUN, "screen=true", options=("--dry-run",)))
    (first, second) = [text for rule, text in with_screen if rule == "screen"]
    assert "gpu=1" not in first + second
    assert "round_0/attempt_0/evaluation_0.parquet" in first
    judges = [text for rule, text in with_screen if rule == "evaluate"]
    assert ["screen.parquet" in text for text in judges] == [False, True, True]


def test_a_run_without_a_gpu_asks_for_none(project, seed_store):
    project.knows(seed_store)
    plan = project.succeeds(*RUN[:-1], "judge=interpret", options=("--dry-run",))
    assert {rule for rule, text in jobs(plan) if "gpu=1" in text} == set()
    assert not {rule for rule, _ in jobs(plan)} & {"device", "baseline", "outcome"}


def test_proposals_rest_on_earlier_rounds_and_on_earlier_runs_as_far_as_settings_say(plan, project, seed_store):
    def inputs(planned):
        return {re.search(r"round_\d+", text).group(): text for rule, text in planned if rule == "generate"}

    learning = inputs(jobs(plan))
    assert "round_1/attempt_3/builds.parquet" in learning["round_2"]
    assert "round_1/attempt_0/evaluation_0.parquet" in learning["round_2"]
    assert "experience.json" not in learning["round_2"]
    project.knows(seed_store)
    forgetful = inputs(jobs(project.succeeds(*RUN, "learning=false", options=("--dry-run",))))
    assert "builds.parquet" not in forgetful["round_2"]
    along = jobs(project.succeeds(*RUN, "experience=store", options=("--dry-run",)))
    assert [text for rule, text in along if rule == "experience"]
    assert all("results/t/experience.json" in text for text in inputs(along).values())
