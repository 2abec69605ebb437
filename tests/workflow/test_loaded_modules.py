"""Every kopt module that a rule's script has loaded when it ends is in the rule's digest, in every mode.

Snakemake cannot see an edit of an imported module by itself: a module that is loaded and not in the digest is an edit
that changes nothing.
"""

from pathlib import Path

import pytest
from loaded_modules import recorded
from local_models import KEYS, SMALL, TOGETHER, write_models

from kopt.provenance import rule_modules

pytestmark = pytest.mark.workflow

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
STRATEGIES = {False: "beam", True: "clustered"}


def forgotten(records: Path, backend: str, *, asks: bool) -> dict[str, list[str]]:
    """Modules that a script has loaded and that its rule's digest does not cover, by script."""
    loaded = {path.name: set(path.read_text().split()) for path in records.iterdir()}
    assert {"problem", "compile", "evaluate", "rank", "select", "generate", "finish"} <= loaded.keys()
    missing = {}
    for script, modules in loaded.items():
        loads = [f"kopt.search.strategies.{STRATEGIES[asks]}"] if script in ("select", "expand") else []
        covered = rule_modules(SCRIPTS / f"{script}.py", backend, asks_models=asks, loads=loads)
        if more := {name for name in modules if _is_module(name)} - covered:
            missing[script] = sorted(more)
    return missing


@pytest.mark.xdist_group("language")
def test_what_a_script_loads_in_a_search_by_language_models_is_in_its_rules_digest(searched):
    assert forgotten(searched.records, "interpret", asks=True) == {}


@pytest.mark.xdist_group("plan")
def test_what_a_script_loads_on_made_up_gpus_is_in_its_rules_digest(made_up):
    assert forgotten(made_up.records, "dry_gpu", asks=False) == {}


@pytest.mark.gpu
@pytest.mark.xdist_group("language")
@pytest.mark.parametrize("asks", [False, True], ids=["alone", "models"])
def test_what_a_script_loads_on_a_gpu_is_in_its_rules_digest(project, server, monkeypatch, tmp_path_factory, asks):
    for variable, key in KEYS.items():
        monkeypatch.setenv(variable, key)
    write_models(project.folder, server.port)
    records = tmp_path_factory.mktemp("records")
    with recorded(records):
        project.succeeds(*(TOGETHER if asks else (*SMALL, "models=[kopt-rewrite]")), "judge=cuda", "warm=false")
    assert forgotten(records, "cuda", asks=asks) == {}


def _is_module(name: str) -> bool:
    """Audit events name what an import asks for, which can be a name inside a module."""
    base = SCRIPTS.parents[1].joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()
