"""What a result was made by: digests of code, and the versions of what was imported."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path

from kopt.discovery import module_names, modules_of

PACKAGE = Path(__file__).resolve().parent

PACKAGES = ("kopt", "snakemake", "torch", "triton", "pydantic", "pyarrow", "pandas", "libcst", "openai", "anthropic")
"""Packages whose versions a run records."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, `absent` for one that is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@cache
def code_digest(module: str) -> str:
    """Digest over the import closure of a module inside kopt: what its results depend on.

    Taken from the AST, so that comments, docstrings and formatting do not count, and without importing anything, so
    that it is cheap while a DAG is built.  Imports inside functions and under `TYPE_CHECKING` count too: too much is
    run again rather than too little.

    Args:
        module: dotted name, e.g. `kopt.stages.select`.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    pending, seen = [module], dict[str, str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen[name], imported = _read(name)
        pending += sorted(imported)
    text = "\n".join(f"{name}:{seen[name]}" for name in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Digest of one file's code alone, comments and docstrings left out: for a script, which is no module."""
    return hashlib.sha256(ast.dump(_plain(ast.parse(path.read_bytes()))).encode()).hexdigest()[:16]


@cache
def _read(name: str) -> tuple[str, frozenset[str]]:
    """Digest of one module's code, and the kopt modules that it imports (its packages included)."""
    tree = ast.parse(_file(name).read_bytes())
    imported = {target for node in ast.walk(tree) for target in _targets(node) if _exists(target)}
    parents = {name.rpartition(".")[0]} - {""}
    return hashlib.sha256(ast.dump(_plain(tree)).encode()).hexdigest(), frozenset(imported | parents)


def _targets(node: ast.AST) -> list[str]:
    """Dotted names that an import or a discovery may load; relative imports are not used in kopt (ruff checks)."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return _discovered(node) if isinstance(node, ast.Call) else []


def _discovered(call: ast.Call) -> list[str]:
    """Dotted names of the modules that a call `modules_of("kopt.package")` imports."""
    match call:
        case ast.Call(func=ast.Name(id=modules_of.__name__), args=[ast.Constant(value=str(package))]):
            return [f"{package}.{name}" for name in module_names(package, PACKAGE)]
    return []


def _plain(tree: ast.Module) -> ast.Module:
    """The tree without bare strings: docstrings of modules, classes, functions and fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return tree


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _exists(name: str) -> bool:
    return name.split(".")[0] == "kopt" and _file(name, missing=True) is not None


def _file(name: str, *, missing: bool = False) -> Path:
    base = PACKAGE.joinpath(*name.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    if missing:
        return None  # type: ignore[return-value]
    raise ModuleNotFoundError(f"no module {name} in {PACKAGE.parent}")
