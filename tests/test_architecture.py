"""The packages are what docs/architecture.md says, small, and free of circles."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from kopt.provenance import module_imports

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in (ROOT / "kopt").rglob("__init__.py"))
MOST_MODULES = 20
TABLES_OF_CONTENTS = {"commands"}
"""Packages with a module for each thing that users name: `kopt --help` lists these in groups."""


def modules():
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "kopt").rglob("*.py")]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def test_the_picture_of_the_packages_is_that_of_the_imports():
    command = [sys.executable, ROOT / "docs" / "draw_architecture.py", "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "run make generated"


@pytest.mark.parametrize(
    "package", [path for path in PACKAGES if path.name not in TABLES_OF_CONTENTS], ids=lambda path: path.name
)
def test_no_package_has_more_modules_than_a_newcomer_can_look_through(package):
    assert len([path for path in package.glob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_package_hands_on_names_of_its_modules(package):
    tree = ast.parse((package / "__init__.py").read_text())
    assert [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_what_it_is_for(package):
    assert (ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or "").strip()


def test_no_module_imports_itself_through_others():
    """Imports inside functions count; a package is imported with each of its modules and imports none of them."""
    packages = {".".join(path.relative_to(ROOT).parts) for path in PACKAGES}
    graph = {name: set(module_imports(name)) - packages - {name} for name in modules() if name not in packages}
    list(TopologicalSorter(graph).static_order())
