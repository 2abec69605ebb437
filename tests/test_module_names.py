"""Modules that kopt names by a string (digests, programs to start, docstrings) exist, and a wall holds for them too."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOTTED = re.compile(r"kopt(?:\.[A-Za-z_]\w*)+")
MODULES = sorted((ROOT / "kopt").rglob("*.py"))
CONTRACTS = [
    contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named(path: Path) -> Iterator[str]:
    """Strings of a module that are nothing but a dotted name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
            yield node.value


def mentioned(path: Path) -> Iterator[str]:
    """Dotted names between backticks in docstrings, comments and messages."""
    yield from re.findall(rf"`({DOTTED.pattern})", path.read_text())


def file_of(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def bindings(file: Path) -> list[str]:
    """Texts of a module's top-level statements, and of those that only type checkers see."""
    source = file.read_text()
    seen = []
    for node in ast.parse(source).body:
        lazily = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        seen += node.body if lazily else [node]
    return [ast.get_source_segment(source, node) or "" for node in seen]


def exists(name: str) -> bool:
    """Whether it is a module, or a name that a module binds at its top level or hands on lazily (`as` itself)."""
    parent, _, attribute = name.rpartition(".")
    if file_of(name):
        return True
    file = file_of(parent)
    if file is None:  # a member of a class
        owner = file_of(parent.rpartition(".")[0])
        return exists(parent) and owner is not None and re.search(rf"\b{attribute}\b", owner.read_text()) is not None
    binding = rf"^(?:(?:def|class) {attribute}\b|{attribute}\b.*=|from \S+ import {attribute} as {attribute}$)"
    return any(re.search(binding, text, re.M) for text in bindings(file))


def layer(name: str, contract: dict) -> int | None:
    """Position of a module's layer in a contract, from above; None when the contract says nothing of it."""
    prefixes = [f"{container}." for container in contract.get("containers", [""]) if container] or [""]
    for position, names in enumerate(contract["layers"]):
        for member in re.split(r"\s*[|:]\s*", names):
            if any(f"{name}.".startswith(f"{prefix}{member.strip('() ')}.") for prefix in prefixes):
                return position
    return None


def above(target: str, module: str) -> bool:
    """Whether a contract puts `target` into a higher layer than `module`."""
    pairs = [(layer(target, contract), layer(module, contract)) for contract in CONTRACTS]
    return any(there is not None and here is not None and there < here for there, here in pairs)


LISTED = {("kopt.llm.table", "kopt.llm.providers")}
"""Modules that list the names of a higher package's modules to check a setting, and import none of them."""


def test_every_named_module_exists():
    assert [(str(path), name) for path in MODULES for name in named(path) if file_of(name) is None] == []


def test_no_named_module_is_of_a_higher_layer():
    pairs = [(module_name(path), name) for path in MODULES for name in named(path)]
    assert [(module, name) for module, name in pairs if above(name, module) and (module, name) not in LISTED] == []


def test_every_name_between_backticks_exists():
    assert [(str(path), name) for path in MODULES for name in mentioned(path) if not exists(name)] == []


def test_every_name_in_the_documentation_exists():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert [(str(path), name) for path in documents for name in mentioned(path) if not exists(name)] == []


def test_layers_are_read_from_the_contracts():
    assert above("kopt.stages.select", "kopt.search.order")
    assert above("kopt.device.cuda.judge", "kopt.device.hardware.peaks")
    assert not above("kopt.device.hardware.peaks", "kopt.device.cuda.judge")
    assert not above("kopt.llm.client", "kopt.search.order")


def test_strings_that_name_modules_are_found():
    """So that the tests above are not passed by finding nothing."""
    names = {name for path in MODULES for name in named(path)}
    assert {"kopt.device.cuda.judge", "kopt.device.ncu.target"} <= names
