"""Features of the search that show in whole runs alone: one lineage, reflection and repair."""

import pytest
from local_models import KEYS, kernel_server, write_models

from kopt.artifact import read_table, read_value
from kopt.jobs.briefing import Briefing
from kopt.model.kernel import Candidate, ProposalStatus
from kopt.model.trial import RoundSummary, SelectionRow, StopReason, Trial

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("features")]


@pytest.fixture(scope="module")
def lineage(tmp_path_factory, new_project):
    """A dry run of the preset greedy that ends after one round without improvement."""
    project = new_project(tmp_path_factory.mktemp("greedy"))
    project.output = project.succeeds(
        "preset=greedy", "problem=softmax", "run=t", "rounds=2", "models=[kopt-echo]", "judge=dry", "max_repairs=0",
        "max_no_improvement=1",
    )  # fmt: skip
    return project


def summaries(project):
    return [read_value(project.file(f"round_{r}/round.json"), RoundSummary) for r in range(3)]


def test_greedy_asks_for_one_child_of_the_fastest_kernel_each_round(lineage):
    trials = read_table(lineage.file("trials.parquet"), Trial)
    asked = [trial for trial in trials if trial.round and trial.status == "proposed"]
    assert asked
    for trial in asked:
        (parent,) = read_table(lineage.file(f"round_{trial.round - 1}/selection.parquet"), SelectionRow)
        assert (trial.parent, trial.slot) == (parent.kernel, 0)


def test_greedy_stops_after_as_many_rounds_without_improvement_as_it_may_have(lineage):
    rounds = summaries(lineage)
    improved = [summary.improved for summary in rounds[1:]]
    last = 1 + improved.index(False)
    assert [summary.stopped for summary in rounds[:last]] == [None] * last
    assert {summary.stopped for summary in rounds[last:]} == {StopReason.NO_IMPROVEMENT}
    assert [summary.slots for summary in rounds[last + 1 :]] == [0] * (2 - last)


@pytest.fixture(scope="module")
def repaired(tmp_path_factory, new_project):
    """A search of two rounds whose model is wrong at first, repairs what it is shown, and draws lessons."""
    folder = tmp_path_factory.mktemp("repaired")
    server = kernel_server(folder / "server.jsonl", program="clumsy_server.py")
    (folder / "project").mkdir()
    project = new_project(folder / "project")
    write_models(project.folder, server.port)
    with pytest.MonkeyPatch.context() as patch:
        for variable, key in KEYS.items():
            patch.setenv(variable, key)
        project.output = project.succeeds(
            "problem=softmax", "run=t", "rounds=2", "judge=dry", "models=[gpt-local]", "candidate_pool_size=1",
            "num_bottlenecks=1", "max_repairs=1", "diagnosis=rules", "reflection=llm",
        )  # fmt: skip
    server.stop()
    project.server = server
    return project


def candidates(project, round, attempt):
    return read_table(project.file(f"round_{round}/attempt_{attempt}/candidates.parquet"), Candidate)


def test_a_candidate_that_fails_goes_back_to_its_model_with_the_error(repaired):
    (first,), (second,) = (candidates(repaired, 1, attempt) for attempt in (0, 1))
    assert (first.status, second.status) == (ProposalStatus.NONE, ProposalStatus.PROPOSED)
    assert first.reason.startswith("syntax: line ")
    assert (first.model, second.model) == ("gpt-local", "gpt-local")
    assert {event["error"] for event in repaired.server.events("repaired")} == {True}


def test_the_terminal_says_why_replies_hold_no_kernel(repaired):
    assert repaired.output.count("kopt: note: gpt-local: 1 of 1 replies hold no kernel (1 x syntax: line ") == 2


def test_the_lessons_of_a_round_are_in_the_prompts_of_the_next(repaired):
    reflections = read_value(repaired.file("round_1/briefing.json"), Briefing).memory.reflections
    assert [(lesson.round, lesson.advice) for lesson in reflections] == [(1, ("try eight warps",))]
    assert len(repaired.server.events("told")) == 1
