"""Compute what a result depends on beside its inputs: digests of code, and versions of packages.

Snakemake and the store cannot see an edit of an imported module, so rules and store keys carry digests of code.  A
digest is computed from syntax trees, and imports no module: comments, docstrings, formatting, the folder of the
checkout and the version of Python do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import platform
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from kopt import safe_yaml
from kopt.discovery import module_names
from kopt.module_facts import import_statements, imported_names, module_facts, tree_digest
from kopt.version import VERSION

PACKAGE = Path(__file__).resolve().parent

PACKAGES = ("kopt", "snakemake", "torch", "triton", "pydantic", "pyarrow", "pandas", "libcst", "openai", "anthropic")
"""Packages whose versions a run records."""

DECIDING = ("kopt", "torch", "triton")
"""Packages of these on which kernels, times and prompts depend: their words, the guidance, and what is compiled."""

BACKEND = "backend"
"""Name of the variable that holds the backend in a rule's script: `backend.judge(...)` uses the backend's `judge`."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES`, `absent` for a package that is not installed."""
    installed = {name: _version(name) for name in PACKAGES}
    return {"python": platform.python_version()} | installed | {"kopt": VERSION}  # a checkout need not be installed


@cache  # a package's metadata is a whole document to parse
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@cache
def code_digest(module: str) -> str:
    """Digest the import closure of a module of kopt: all code on which the module's results can depend.

    Imports inside functions count, since they may be executed; imports under `TYPE_CHECKING` do not.

    Args:
        module: dotted name, e.g. `kopt.estimate.kernel_time`.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    return _joined({name: _read(name).digest for name in closure([module])})


def rule_digest(script: Path, backend: str, *, asks_models: bool, loads: Collection[str] = ()) -> str:
    """Digest the code behind a rule in one mode: its script, and everything that the script loads in that mode.

    A script's imports at the top count in every mode.  Its imports inside functions count only where the rule asks
    language models.  Of the backend's module only the functions that the script calls (`backend.judge`) count, with
    their imports.

    Args:
        script: the rule's Python script.
        backend: name of the run's backend, a module of `kopt.backends`.
        asks_models: whether the rule asks language models in this run.
        loads: names of modules that the script imports by name at run time.
    """
    module = f"kopt.backends.{backend}"
    tree = ast.parse(script.read_bytes())
    used = backend_functions(script)
    parts = {"script": tree_digest(tree)}
    if used:
        parts["backend"] = tree_digest(_only(_parsed(module), used))
    names = rule_modules(script, backend, asks_models=asks_models, loads=loads) - {module}
    return _joined(parts | {name: _read(name).digest for name in names})


def rule_modules(script: Path, backend: str, *, asks_models: bool, loads: Collection[str] = ()) -> set[str]:
    """Return the names of the kopt modules that a rule's digest covers; see `rule_digest`."""
    tree = ast.parse(script.read_bytes())
    roots = _imports(tree, inside_functions=asks_models) | set(loads)
    used = backend_functions(script)
    if used:
        module = f"kopt.backends.{backend}"
        # Importing the backend's module imports its package too.
        roots |= {module.rpartition(".")[0]}
        roots |= _imports(_only(_parsed(module), used), inside_functions=True)
        return closure(roots) | {module}
    return closure(roots)


@cache
def backend_functions(script: Path) -> frozenset[str]:
    """Return the names of the backend's attributes that a script uses: `judge` for `backend.judge(...)`."""
    nodes = ast.walk(ast.parse(script.read_bytes()))
    return frozenset(
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == BACKEND
    )


def closure(modules: Iterable[str]) -> set[str]:
    """Return the names of `modules` and of every kopt module that they import or name in a string, directly or not.

    A module is named in a string where it is started as a program (`python -m kopt.device.ncu.target`), or where its
    code is part of a store key.

    Raises:
        ModuleNotFoundError: a module does not exist.
    """
    pending, seen = list(modules), set[str]()
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += _read(name).imported | _read(name).named
    return seen


@cache
def package_digest(package: str) -> str:
    """Digest the code of the modules directly in a package of kopt, without what they import.

    Args:
        package: dotted name, e.g. `kopt.device.screen`.
    """
    names = [package, *(f"{package}.{name}" for name in module_names(package, PACKAGE))]
    return _joined({name: _read(name).digest for name in names})


def module_imports(module: str) -> frozenset[str]:
    """Return the names of the kopt modules that a module imports, with their packages, in functions too."""
    return _read(module).imported


def files_digest(paths: Iterable[Path]) -> str:
    """Digest the names and contents of files outside the run's folder on which a rule depends; folders do not count.

    Of YAML files the values count, and not their comments and layout.
    """
    present = [path for path in paths if path.exists()]
    return _joined({f"{position} {path.name}": _content_digest(path) for position, path in enumerate(present)})


def _content_digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".yaml":
        with suppress(safe_yaml.NotYaml, UnicodeDecodeError):  # what is no YAML counts byte by byte
            content = repr(safe_yaml.load(content.decode())).encode()
    return hashlib.sha256(content).hexdigest()


def _joined(parts: dict[str, str]) -> str:
    text = "\n".join(f"{name}:{parts[name]}" for name in sorted(parts))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Module(NamedTuple):
    digest: str
    """Digest of the module's code."""
    imported: frozenset[str]
    """Names of the kopt modules that it imports, with their packages, its own package included."""
    named: frozenset[str]
    """Names of the kopt modules that it names in a string."""


@cache
def _read(name: str) -> _Module:
    facts = module_facts(_file(name))
    discovered = {f"{package}.{module}" for package in facts.discovered for module in module_names(package, PACKAGE)}
    parents = {name.rpartition(".")[0]} - {""}
    imported = frozenset(_existing(facts.imported)) | discovered | parents
    return _Module(facts.digest, imported, frozenset(filter(_exists, facts.named)))


@cache  # several rules use one backend
def _parsed(name: str) -> ast.Module:
    return ast.parse(_file(name).read_bytes())


def _imports(tree: ast.AST, *, inside_functions: bool) -> set[str]:
    """Return the kopt modules that a tree's import statements may load, with their packages."""
    return set(_existing(imported_names(import_statements(tree, inside_functions=inside_functions))))


def _existing(names: Iterable[str]) -> Iterator[str]:
    """Yield the names that are modules of kopt, and their packages."""
    for name in names:
        if _exists(name):
            yield name
            yield from _packages(name)


def _packages(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))


def _only(tree: ast.Module, functions: Collection[str]) -> ast.Module:
    """Return a module without the top-level functions that neither `functions` contains nor these functions use."""
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    pending, kept = [name for name in functions if name in defined], set[str]()
    while pending:
        name = pending.pop()
        if name not in kept:
            kept.add(name)
            nodes = list(ast.walk(defined[name]))
            parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
            names = {node.id for node in nodes if isinstance(node, ast.Name)} - parameters
            pending += names & defined.keys()
    body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name in kept]
    return ast.Module(body=body, type_ignores=[])


def _exists(name: str) -> bool:
    return name.split(".")[0] == "kopt" and _path(name) is not None


def _file(name: str) -> Path:
    path = _path(name)
    if path is None:
        raise ModuleNotFoundError(f"no module {name} in {PACKAGE.parent}")
    return path


def _path(name: str) -> Path | None:
    return _path_below(PACKAGE, name)


@cache
def _path_below(package: Path, name: str) -> Path | None:
    base = package.joinpath(*name.split(".")[1:])
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)
