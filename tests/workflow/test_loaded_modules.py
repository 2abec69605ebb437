"""Every kopt module that a rule's script has loaded when it ends is in the rule's digest, in every mode.

Snakemake cannot see an edit of an imported module by itself: a module that is loaded and not in the digest is an edit
that changes nothing.
"""

import os
from pathlib import Path

import pytest
from local_models import KEYS, SMALL, kernel_server, write_models

from kopt.provenance import rule_modules

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("language")]

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
RECORDING = Path(__file__).resolve().parent / "recording"
ALONE = "models=[kopt-rewrite]"
TOGETHER = (
    "models=[claude-local,gpt-local,kopt-rewrite]",
    "technique_clustering={enabled: true, classifier: both, classifier_model: gpt-local}",
    "diagnosis=llm", "reflection=llm",
)  # fmt: skip
STRATEGIES = {False: "beam", True: "clustered"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = kernel_server(tmp_path_factory.mktemp("server") / "log.jsonl")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("backend", "asks"),
    [
        pytest.param("interpret", True, id="interpret-models"),
        pytest.param("dry_gpu", False, id="dry_gpu-alone"),
        pytest.param("cuda", False, id="cuda-alone", marks=pytest.mark.gpu),
        pytest.param("cuda", True, id="cuda-models", marks=pytest.mark.gpu),
    ],
)
def test_what_a_script_loads_is_in_its_rules_digest(project, server, monkeypatch, backend, asks):
    records = project.folder / "records"
    records.mkdir()
    for variable, key in KEYS.items():
        monkeypatch.setenv(variable, key)
    monkeypatch.setenv("KOPT_RECORDED", str(records))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(RECORDING), os.environ.get("PYTHONPATH", "")]))
    write_models(project.folder, server.port)
    project.succeeds(*SMALL, f"judge={backend}", *(TOGETHER if asks else (ALONE,)))
    recorded = {path.name: set(path.read_text().split()) for path in records.iterdir()}
    assert {"problem", "compile", "evaluate", "rank", "select", "generate", "finish"} <= recorded.keys()
    forgotten = {}
    for script, modules in recorded.items():
        loads = [f"kopt.search.strategies.{STRATEGIES[asks]}"] if script in ("select", "expand") else []
        covered = rule_modules(SCRIPTS / f"{script}.py", backend, asks_models=asks, loads=loads)
        real = {name for name in modules if _is_module(name)}
        if missing := real - covered:
            forgotten[script] = sorted(missing)
    assert forgotten == {}


def _is_module(name: str) -> bool:
    """Audit events name what an import asks for, which can be a name inside a module."""
    base = SCRIPTS.parents[1].joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()
