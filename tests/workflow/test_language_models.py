"""Searches with language models, end to end: real Snakemake, the embedded judge, models served by a local process."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from local_models import KEYS, SMALL, TOGETHER, holding, spellings, write_models
from markupsafe import escape

from kopt import cli
from kopt.artifact import read_table, read_tables, read_value
from kopt.commands.parts.run_cost import run_cost
from kopt.errors import KoptError
from kopt.jobs.briefing import Briefing
from kopt.llm.ledger import Ledger
from kopt.model.cost import LabelledCost
from kopt.model.diagnosis import Diagnosis
from kopt.model.kernel import Candidate, ProposalStatus
from kopt.preflight.validate import validate
from kopt.run.so_far import read_so_far
from kopt.run.status import status_of
from kopt.store import Store
from kopt.techniques.agreement import Agreement
from kopt.view.asked import asked_for

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("language")]

DRY = (*SMALL, "judge=dry", "models=[gpt-local]")


@pytest.fixture(autouse=True, scope="module")
def keys():
    with pytest.MonkeyPatch.context() as patch:
        for variable, key in KEYS.items():
            patch.setenv(variable, key)
        yield


@pytest.fixture
def served(project, server):
    write_models(project.folder, server.port)
    return project


def asked(row):
    """What was asked under one label, and what its replies cost, whoever paid them."""
    return (row.label, row.model, row.calls + row.stored, row.input, row.output, row.paid_usd + row.stored_usd)


def candidates(project, round, attempt=0):
    return read_table(project.file(f"round_{round}/attempt_{attempt}/candidates.parquet"), Candidate)


def test_each_model_writes_the_candidates_of_its_slots(searched):
    found = candidates(searched, 1)
    assert [c.model for c in found] == ["claude-local", "gpt-local", "kopt-rewrite"]
    assert {c.status for c in found} == {ProposalStatus.PROPOSED}
    assert [bool(c.request) for c in found] == [True, True, False]
    assert all(c.cost_usd > 0 for c in found if c.request)


def test_a_language_model_diagnoses(searched):
    found = read_value(searched.file("round_0/diagnosis/0.json"), Diagnosis)
    assert (found.source, found.directions[0].bottleneck) == ("claude-local", "told_0")


def test_facts_and_model_classify_and_their_agreement_is_counted(searched):
    found = read_value(searched.file("round_1/agreement.json"), Agreement)
    assert found.model == "gpt-local"
    assert "tensor_cores" not in found.techniques
    assert {sum(c.model_dump().values()) for c in found.techniques.values()} <= {1, 2, 3}


def test_every_call_is_in_the_ledger_and_none_is_made_twice(searched):
    ledger = Ledger(searched.file("ledger.jsonl"))
    ledger.refresh()
    cost = ledger.cost()
    assert cost.calls == len({line.request for line in ledger.lines()}) == searched.served
    assert (cost.lost, cost.turned_away) == (0, 0)
    assert {line.label for line in ledger.lines()} >= {"r0c0", "r0d0", "r1a0s0", "r1a0s1"}


def test_the_prompt_and_the_reply_that_a_kernel_came_from_are_shown_again(searched):
    run, store = read_so_far(searched.file("")), Store(searched.folder / "results/store")
    models = [one.name for one in run.trials if one.model in ("claude-local", "gpt-local") and one.status == "proposed"]
    replied = [one for name in models if (one := asked_for(name, run, store)) is not None]
    assert len(replied) == len(models) > 0
    assert all(one.note == "" and one.reply and "kernel_function" in one.prompt for one in replied)
    assert {one.template.partition("/")[0] for one in replied} >= {"propose"}
    assert status_of(run).cost.calls == searched.served


def test_the_report_s_costs_are_the_ledger_s_and_come_from_declared_files(searched):
    """A later `finish` shows the same costs, whatever became of the ledger."""
    tables = sorted(searched.file("").glob("round_*/costs/*.parquet"))
    costs = sorted(read_tables(tables, LabelledCost), key=lambda row: (row.label, row.model))
    assert costs == list(run_cost(searched.file("")).labels)
    before = searched.file("report.html").read_bytes()
    ledger = searched.file("ledger.jsonl").rename(searched.file("ledger.away"))
    searched.succeeds(*TOGETHER, options=("--forcerun", "finish"))
    ledger.rename(searched.file("ledger.jsonl"))
    assert searched.file("report.html").read_bytes() == before
    assert "calls brought a reply, for" in before.decode()


def test_the_report_has_the_prompt_and_the_reply_behind_a_kernel(searched):
    run, page = read_so_far(searched.file("")), searched.file("report.html").read_text(encoding="utf-8")
    asked = asked_for(next(one.name for one in run.trials if one.model == "gpt-local" and one.kernel), run,
                      Store(searched.folder / "results/store"))  # fmt: skip
    assert str(escape(asked.prompt.splitlines()[-1])) in page
    assert str(escape(asked.reply.splitlines()[0])) in page
    assert "<summary>Reply of gpt-local</summary>" in page


def test_no_key_is_in_any_file_that_the_run_wrote(searched):
    assert len(holding(searched.folder, [b""])) > 100
    assert holding(searched.folder, [word for key in KEYS.values() for word in spellings(key)]) == []
    assert not any(key in searched.output for key in KEYS.values())


def test_a_packed_run_is_replayed_without_servers_to_the_same_bytes(searched, project, monkeypatch, tmp_path):
    """One command in a checkout that knows neither the models nor the problem, with no store, keys or servers."""
    archive = tmp_path / "run.replies.tar"
    pack = ["pack", str(searched.file("")), "--store", f"{searched.folder}/results/store", "-o", str(archive)]
    assert cli.main(pack) == 0
    shutil.rmtree(project.folder / "config/problems/softmax")
    for variable in KEYS:
        monkeypatch.delenv(variable)
    done = subprocess.run(
        [sys.executable, "-m", "kopt.cli", "replay", str(archive), "--cores", "2"], cwd=project.folder,
        env=project.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for name in ("round_1/selection.parquet", "round_1/attempt_0/candidates.parquet", "best_kernel.py"):
        assert project.file(name).read_bytes() == searched.file(name).read_bytes()
    paid, replayed = (run_cost(one.file("")) for one in (searched, project))
    assert (replayed.replayed, replayed.total.paid_usd, replayed.total.stored) == (True, 0.0, paid.total.calls)
    assert [asked(row) for row in replayed.labels] == [asked(row) for row in paid.labels]


def test_an_exchange_ends_with_a_message_and_goes_on_when_replies_lie_there(served, monkeypatch):
    monkeypatch.delenv("TEST_KEY_B")
    done = served.run(*DRY, "replies=exchange")
    assert done.returncode != 0
    assert "kopt: error: 1 requests wait for replies in results/t/exchange" in done.stdout
    assert "Traceback" not in done.stdout
    (request,) = served.file("exchange").glob("requests-gpt-local.jsonl")
    digest = json.loads(request.read_text())["custom_id"]
    source = (served.folder / "config/problems/softmax/kernel.py").read_text().replace("BLOCK=1024", "BLOCK=512")
    (served.file("exchange") / f"{digest}.reply.md").write_text(f"Smaller blocks.\n\n```python\n{source}```\n")
    served.succeeds(*DRY, "replies=exchange")
    assert [(c.status, c.request) for c in candidates(served, 1)] == [(ProposalStatus.PROPOSED, digest)]


def test_a_spent_budget_ends_the_search_and_keeps_what_was_found(served):
    settings = ("rounds=2", "max_repairs=0", "diagnosis=llm", "reflection=llm", "budget_calls=3")
    said = served.succeeds(*DRY, *settings)
    assert "\nstopped        in round 2: the budget for language models is spent\n" in said
    reflection = read_value(served.file("round_1/briefing.json"), Briefing).memory.reflections
    assert [(r.round, r.worked) for r in reflection] == [(1, ("larger blocks",))]
    assert [c.status for c in candidates(served, 2)] == [ProposalStatus.SKIPPED]
    ledger = Ledger(served.file("ledger.jsonl"))
    ledger.refresh()
    assert [line.label for line in ledger.lines()] == ["r0d0", "r1a0s0", "r1reflect"]


def test_a_key_that_is_not_set_is_refused_by_its_variable(served, monkeypatch):
    monkeypatch.delenv("TEST_KEY_B")
    done = served.run(*DRY)
    assert done.returncode != 0
    assert not (served.folder / "results" / "t").exists()
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("kopt: error: ")]
    assert "gpt-local needs a key in the environment variable TEST_KEY_B" in line


def fault(project, model="gpt-local"):
    """What is wrong with a search by a model, as it is said before Snakemake reads any rule."""
    with pytest.raises(KoptError) as raised:
        validate({"problem": "softmax", "run": "t", "judge": "dry", "models": [model]}, project.folder)
    return str(raised.value)


def test_an_unknown_model_is_a_fault_with_the_nearest(served):
    assert "no provider for 'gpt-locl'; did you mean 'gpt-local'?" in fault(served, "gpt-locl")


def test_a_wrong_price_is_a_fault_of_its_entry(served):
    served.edit("config/models.yaml", "output: 10.0", "output: -10.0")
    assert "models.claude-local.price.output" in fault(served)


def test_a_preset_of_language_models_runs_by_the_rewriter_without_a_key(project, seed_store):
    project.knows(seed_store)
    preset = ("--configfile", "config/presets/beam_search_diverse_clustered.yaml", "--dry-run", "--quiet", "rules")
    planned = project.succeeds("problem=softmax", "run=t", "models=[kopt-rewrite]", options=preset)
    assert not re.search(r"^(models|brief)\b", planned, re.M)
