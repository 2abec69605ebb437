"""Read from a module's source what digests of code need, and keep it beside the module's bytecode.

Every process of a run digests code.  What it needs of a module follows from the module's source alone, so it is read
from the syntax tree once for every edit, and kept in `__pycache__` under the digest of the source.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

MODULE_NAME = re.compile(r"kopt(?:\.[a-z_]\w*)+")

DISCOVERY = "modules_of"
"""Name of the function that imports all modules of a package: see `kopt.discovery`."""


class ModuleFacts(NamedTuple):
    """What digests of code need of a module; the modules that it names need not exist."""

    digest: str
    """Digest of the module's code."""
    imported: tuple[str, ...]
    """Names that its import statements may load: modules, or what they contain."""
    discovered: tuple[str, ...]
    """Packages of which it imports all modules."""
    named: tuple[str, ...]
    """Names of modules of kopt in its string constants."""


def module_facts(path: Path) -> ModuleFacts:
    """Return the facts of a module, kept ones where its source has not changed.

    Args:
        path: the module's source.
    """
    source = path.read_bytes()
    key = hashlib.sha256(source).hexdigest() + _own_digest()
    kept = Path(cache_from_source(str(path))).with_suffix(".facts.json")
    with suppress(OSError, ValueError, TypeError, RecursionError):  # absent or damaged: read the source
        found, digest, *names = json.loads(kept.read_bytes())
        if found == key:
            return ModuleFacts(digest, *map(tuple, names))
    facts = _facts_of(ast.parse(source))
    if not sys.dont_write_bytecode:
        _keep(kept, json.dumps([key, *facts]))
    return facts


@cache
def _own_digest() -> str:
    """Digest this module: another one may find other facts."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _keep(path: Path, text: str) -> None:
    """Write a file whole, unless its folder cannot be written to."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(text)
        os.replace(temporary, path)


def _facts_of(tree: ast.Module) -> ModuleFacts:
    imported = filter(_is_ours, imported_names(import_statements(tree, inside_functions=True)))
    return ModuleFacts(tree_digest(tree), *(tuple(sorted(set(n))) for n in (imported, _discovered(tree), _named(tree))))


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == "kopt"


def import_statements(tree: ast.AST, *, inside_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of a tree, without those that only a type checker executes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            for statement in node.orelse:
                yield from import_statements(statement, inside_functions=inside_functions)
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from import_statements(node, inside_functions=inside_functions)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imported_names(statements: Iterable[ast.Import | ast.ImportFrom]) -> Iterator[str]:
    """Yield the names that import statements may load; kopt has no relative imports (ruff checks)."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif statement.module:
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
            yield statement.module


def _discovered(tree: ast.Module) -> Iterator[str]:
    """Yield the packages in calls `modules_of("kopt.package")`."""
    bound = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    if DISCOVERY not in bound:
        return
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(package))]) if name == DISCOVERY:
                yield package


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and MODULE_NAME.fullmatch(text):
            yield text


def tree_digest(tree: ast.AST) -> str:
    """Digest a syntax tree: comments, docstrings, formatting and the version of Python do not count."""
    return hashlib.sha256(tree_text(tree).encode()).hexdigest()


def tree_text(node: object) -> str:
    """Write a syntax tree as text, the same in every version of Python: no positions, docstrings and empty fields."""
    if isinstance(node, ast.AST):
        fields = {name: getattr(node, name, None) for name in node._fields}
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            fields["body"] = _without_texts(node.body)
        inside = ",".join(f"{name}={tree_text(value)}" for name, value in fields.items() if value not in (None, []))
        return f"{type(node).__name__}({inside})"
    if isinstance(node, list):
        return f"[{','.join(map(tree_text, node))}]"
    return repr(node)


def _without_texts(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements without bare strings, which are docstrings of modules, classes, functions and fields."""
    return [statement for statement in body if not _is_text(statement)]


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
