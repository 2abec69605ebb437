"""Keys planted in the environment of a whole search, and candidates that report all they see of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from local_models import KEYS, SMALL, holding, kernel_server, spellings, write_models
from prying_server import PRY

from kopt.artifact import read_table
from kopt.model.kernel import Candidate, ProposalStatus
from kopt.model.trial import BuildRow, EvaluationRow
from kopt.sandbox.cage import KEPT_VARIABLES

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("planted")]

PLANTED = KEYS | {
    name: f"planted{n}secret0123456789"
    for n, name in enumerate(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "MY_PASSWORD"))
}
SEARCH = (*SMALL, "models=[claude-local,gpt-local]", "judge=interpret", "diagnosis=rules", "reflection=none",
          "warm=false")  # fmt: skip


@pytest.fixture(scope="module")
def pried(tmp_path_factory, new_project, seed_store):
    """A search that has ended, whose served kernels pried."""
    log = tmp_path_factory.mktemp("server") / "log.jsonl"
    server = kernel_server(log, program="prying_server.py")
    project = new_project(tmp_path_factory.mktemp("pried"))
    project.knows(seed_store)
    write_models(project.folder, server.port)
    with pytest.MonkeyPatch.context() as patch:
        for variable, key in PLANTED.items():
            patch.setenv(variable, key)
        try:
            project.output = project.succeeds(*SEARCH)
        finally:
            server.stop()
    project.asked = Path(f"{log}.bodies").read_text()
    return project


def reports(text):
    """What candidates reported, out of a text that holds it."""
    return [json.loads(zlib.decompress(bytes.fromhex(told))) for told in re.findall(r"<<([0-9a-f]+)>>", text)]


def reason(project, name, row):
    (failed,) = [r for r in read_table(project.file(f"round_1/attempt_0/{name}.parquet"), row) if r.reason]
    return failed.reason


@pytest.fixture(params=[("builds", BuildRow), ("evaluation_0", EvaluationRow)], ids=["build", "judge"])
def told(request, pried):
    """The report of the candidate that ran in the build's process, or in the judge's."""
    (report,) = reports(reason(pried, *request.param))
    return report


def test_a_candidate_sees_nothing_of_the_environment_but_what_is_kept_for_it(told):
    assert {"PATH", "HOME", "TMPDIR", "TRITON_CACHE_DIR"} <= set(told["own"])
    unknown = set(told["own"]) - set(KEPT_VARIABLES) - {"HOME", "TMPDIR", "TRITON_CACHE_DIR"}
    assert {name for name in unknown if not name.startswith("TRITON_")} == set()
    assert not any("planted" in value for value in told["own"].values())


def test_a_candidate_finds_no_key_in_any_process_s_initial_environment(told):
    assert told["tried"] > 0
    assert told["planted"] == []
    assert told["self"] in ("", "PermissionError")


def test_outside_the_cage_the_same_look_finds_every_key():
    """Or else the two above would hold of a candidate that cannot look."""
    command = [sys.executable, "-c", f"import json, zlib\n{PRY}\n_pry()"]
    done = subprocess.run(command, env=os.environ | PLANTED, capture_output=True, text=True, check=False)
    (told,) = reports(done.stderr)
    assert told["own"].items() >= PLANTED.items()
    assert any(name in word for word in told["planted"] for name in PLANTED)


def test_the_reports_went_to_their_models_for_repair(pried):
    assert len(reports(pried.asked)) == 2
    repaired = read_table(pried.file("round_1/attempt_1/candidates.parquet"), Candidate)
    assert [c.status for c in repaired] == [ProposalStatus.PROPOSED] * 2


def test_no_planted_key_is_in_any_file_of_the_run_its_store_and_snakemake_s_logs(pried):
    keys = [word for key in PLANTED.values() for word in spellings(key)]
    assert holding(pried.folder, keys) == []
    assert not any(key in pried.output + pried.asked for key in PLANTED.values())


def test_the_same_search_finds_the_reports_and_where_the_keys_come_from(pried):
    """Or else the one above would pass whatever was written."""
    parts = {path.relative_to(pried.folder).parts[0] for path in holding(pried.folder, [b"my environment: "])}
    assert parts == {"results"}
    found = {path.name for path in holding(pried.folder, [b"TEST_KEY_A"])}
    assert {"models.yaml", "models.json"} <= found
    assert any((pried.folder / ".snakemake" / "log").iterdir())
