"""What a rule's digest covers in each mode, and which edits reach which rules."""

import ast
import shutil
from pathlib import Path

import pytest

from kopt import provenance
from kopt.backends.backend import load_backend
from kopt.provenance import rule_digest, rule_modules
from kopt.run_settings import MEASURING

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
MODES = [(backend, asks) for backend in ("interpret", "cuda") for asks in (False, True)]
STRATEGY = {"select", "expand"}
"""Rules that load the strategy by its name."""


def digests(backend, asks):
    loads = dict.fromkeys(STRATEGY, ("kopt.search.strategies.beam",))
    return {
        script.stem: rule_digest(script, backend, asks_models=asks, loads=loads.get(script.stem, ()))
        for script in SCRIPTS
    }


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Rules of a mode whose digest changes when a module of a copy of kopt is edited."""
    package = tmp_path / "kopt"
    shutil.copytree(ROOT / "kopt", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", package)

    def forget():
        provenance.code_digest.cache_clear()
        provenance._read.cache_clear()

    def rules(module, backend, asks, addition="ADDED_BY_THE_TEST = 1\n"):
        forget()
        before = digests(backend, asks)
        path = package.joinpath(*module.split(".")).with_suffix(".py")
        text = path.read_text()
        path.write_text(text + addition)
        forget()
        after = digests(backend, asks)
        path.write_text(text)
        return {rule for rule in before if before[rule] != after[rule]}

    yield rules
    forget()


JUDGING_ON_GPU = {"evaluate", "rank", "baseline", "outcome", "profile"}
BY_ESTIMATE = {"evaluate", "profile"}
ASKING = {"generate", "brief", "diagnose", "classify", "finish"}

EDITS = {
    "search.strategies.beam": dict.fromkeys(MODES, STRATEGY),
    "search.strategies.clustered": {mode: set() for mode in MODES},
    "device.cuda.timer": {(b, a): JUDGING_ON_GPU if b == "cuda" else set() for b, a in MODES},
    "device.interpret.races": {(b, a): {"evaluate"} if b == "interpret" else set() for b, a in MODES},
    "device.build.trace": {(b, a): {"compile"} | (JUDGING_ON_GPU if b == "cuda" else {"evaluate"}) for b, a in MODES},
    "prompts.propose": {(b, a): {"generate"} if a else set() for b, a in MODES},
    "llm.retry": {(b, a): ASKING if a else set() for b, a in MODES},
    "techniques.static": {mode: {"classify"} for mode in MODES},
    "rewrite.propose": {mode: {"generate"} for mode in MODES},
    "report.render": {mode: {"finish"} for mode in MODES},
}
"""Module to the rules that depend on it, by mode.  Rules that do not load it must not run again for an edit of it."""


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode[0]}-{'models' if mode[1] else 'alone'}")
@pytest.mark.parametrize("module", EDITS)
def test_an_edit_reaches_the_rules_that_load_the_module_and_no_other(edited, module, mode):
    assert edited(module, *mode) == EDITS[module][mode]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode[0]}-{'models' if mode[1] else 'alone'}")
def test_a_comment_and_a_docstring_reach_no_rule(edited, mode):
    assert edited("device.cuda.timer", *mode, addition='# a comment\n"""A text."""\n') == set()


@pytest.mark.parametrize("name", ["interpret", "cuda", "dry", "dry_gpu"])
def test_a_backend_measures_if_and_only_if_the_settings_say_so(name):
    assert load_backend(name).measures == (name in MEASURING)


@pytest.mark.parametrize("name", ["interpret", "cuda", "dry", "dry_gpu"])
def test_a_backend_has_everything_that_scripts_use_of_it(name):
    backend = load_backend(name)
    used = {attribute for script in SCRIPTS for attribute in provenance.backend_functions(script)}
    assert [attribute for attribute in used if not hasattr(backend, attribute)] == []


@pytest.mark.parametrize("name", ["interpret", "cuda"])
def test_functions_of_a_backend_have_the_names_of_its_fields(name):
    """The digest of a rule finds what `backend.judge` imports in the function `judge` of the backend's module."""
    backend = load_backend(name)
    functions = {field: getattr(backend, field) for field in vars(backend)}
    wrong = [
        field for field, function in functions.items()
        if callable(function) and function.__module__ == f"kopt.backends.{name}" and function.__name__ != field
    ]  # fmt: skip
    assert wrong == []


def test_selection_depends_on_no_device_rewriter_model_or_store():
    modules = rule_modules(ROOT / "workflow/scripts/select.py", "cuda", asks_models=True, loads=())
    packages = {".".join(name.split(".")[:2]) for name in modules}
    assert not packages & {"kopt.device", "kopt.rewrite", "kopt.llm", "kopt.prompts", "kopt.backends", "kopt.estimate"}


def test_the_text_of_a_tree_does_not_hold_what_differs_between_versions_of_python():
    tree = ast.parse("def f(a, *, b: int = 1):\n    return [a, b]\n")
    assert "type_params" not in provenance._text(tree)
    assert "ctx" in provenance._text(tree)
