"""What a rule's digest covers in each mode, and which edits reach which rules."""

import ast
import shutil
from pathlib import Path

import pytest

from kopt import provenance
from kopt.backends.backend import load_backend
from kopt.module_facts import tree_text
from kopt.provenance import rule_digest, rule_modules
from kopt.run_settings import MEASURING

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
MODES = [(backend, asks) for backend in ("interpret", "cuda") for asks in (False, True)]
STRATEGY = {"select", "expand"}
"""Rules that load the strategy by its name."""


def loads(rule):
    return ("kopt.search.strategies.beam",) if rule in STRATEGY else ()


def rules_with(module, backend, asks):
    """Rules whose digest covers a module of kopt in a mode."""
    covered = {s.stem: rule_modules(s, backend, asks_models=asks, loads=loads(s.stem)) for s in SCRIPTS}
    return {rule for rule, modules in covered.items() if f"kopt.{module}" in modules}


ON_GPU = {"evaluate", "rank", "baseline", "outcome", "profile"}
"""Rules that load the judge of a GPU, which compiles code that follows from addresses again."""
ALWAYS_ASKING = {"brief", "models"}
"""Rules that only a run with language models has."""
ASKING = ALWAYS_ASKING | {"generate", "diagnose", "classify"}

COVERED = {
    "search.strategies.beam": dict.fromkeys(MODES, STRATEGY),
    "search.strategies.clustered": {mode: set() for mode in MODES},
    "device.cuda.timer.timer": {(b, a): ON_GPU if b == "cuda" else set() for b, a in MODES},
    "device.interpret.races": {(b, a): {"evaluate"} if b == "interpret" else set() for b, a in MODES},
    "device.build.trace": {(b, a): {"compile"} | (ON_GPU if b == "cuda" else set()) for b, a in MODES},
    "device.ncu.target": {(b, a): {"profile"} if b == "cuda" else set() for b, a in MODES},
    "device.ncu.count": {(b, a): {"profile"} if b == "cuda" else set() for b, a in MODES},
    "device.ncu.profile": {(b, a): {"profile"} if b == "cuda" else set() for b, a in MODES},
    "prompts.repair": {(b, a): {"generate", "finish"} if a else set() for b, a in MODES},
    "llm.retry": {(b, a): ASKING | {"finish"} if a else ALWAYS_ASKING for b, a in MODES},
    "search.bottlenecks": {mode: {"diagnose", "profile", "finish"} for mode in MODES},
    "techniques.static": {mode: {"classify", "finish"} for mode in MODES},
    "rewrite.propose": {(b, a): {"generate", "finish"} if a else {"generate"} for b, a in MODES},
    "report.render": {mode: {"finish"} for mode in MODES},
    "view.asked": {(b, a): {"finish"} if a else set() for b, a in MODES},
}
"""Module to the rules that depend on it, by mode.  Rules that do not load it must not run again for an edit of it."""


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode[0]}-{'models' if mode[1] else 'alone'}")
@pytest.mark.parametrize("module", COVERED)
def test_a_module_counts_for_the_rules_that_load_it_and_for_no_other(module, mode):
    assert rules_with(module, *mode) == COVERED[module][mode]


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Digests of rules select and evaluate on CUDA, after a module of a copy of kopt was edited."""
    package = tmp_path / "kopt"
    shutil.copytree(ROOT / "kopt", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", package)

    def forget():
        provenance.code_digest.cache_clear()
        provenance._read.cache_clear()
        provenance._parsed.cache_clear()

    def after(module="", addition=""):
        if module:
            path = package.joinpath(*module.split(".")).with_suffix(".py")
            path.write_text(path.read_text() + addition)
        forget()
        scripts = (ROOT / "workflow/scripts" / f"{rule}.py" for rule in ("select", "evaluate"))
        return [rule_digest(s, "cuda", asks_models=False, loads=loads(s.stem)) for s in scripts]

    yield after
    forget()


def test_an_edit_of_a_covered_module_changes_the_digest_and_a_comment_does_not(digests):
    select, evaluate = digests()
    assert digests("device.cuda.timer.timer", '# a comment\n"""A text."""\n') == [select, evaluate]
    same, edited = digests("device.cuda.timer.timer", "ADDED = 1\n")
    assert (same, edited != evaluate) == (select, True)


@pytest.mark.parametrize("name", ["interpret", "cuda", "dry", "dry_gpu", "recorded"])
def test_a_backend_measures_if_and_only_if_the_settings_say_so(name):
    assert load_backend(name).measures == (name in MEASURING)


@pytest.mark.parametrize("name", ["interpret", "cuda", "dry", "dry_gpu", "recorded"])
def test_a_backend_has_everything_that_scripts_use_of_it(name):
    backend = load_backend(name)
    used = {attribute for script in SCRIPTS for attribute in provenance.backend_functions(script)}
    assert [attribute for attribute in used if not hasattr(backend, attribute)] == []


@pytest.mark.parametrize("name", ["interpret", "cuda", "recorded"])
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
    assert "type_params" not in tree_text(tree)
    assert "ctx" in tree_text(tree)


def test_of_a_yaml_file_values_count_and_comments_do_not(tmp_path):
    file = tmp_path / "techniques.yaml"
    file.write_text("a: 1\nb: [2, 3]\n")
    before = provenance.files_digest([file])
    file.write_text("# a comment\na: 1\nb: [2, 3] # another\n")
    assert provenance.files_digest([file]) == before
    file.write_text("a: 1\nb: [2, 4]\n")
    assert provenance.files_digest([file]) != before


def test_files_of_one_name_in_two_folders_both_count(tmp_path):
    files = [tmp_path / folder / "problem.py" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text("1")
    before = provenance.files_digest(files)
    files[0].write_text("2")
    assert provenance.files_digest(files) != before
