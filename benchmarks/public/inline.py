"""Make one file of a repository self-contained: put the definitions that are needed, of all its modules, into one text.

Statements at the top of a module are taken whole and in the order of need; an import of a sibling is replaced by what
it imports, any other import is kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = re.compile(r"^#{20,}.*$", re.MULTILINE)
"""The line that separates a kernel from its tests in TritonBench."""


def cut_at_tests(text: str) -> str:
    """Return the text before the line that announces tests."""
    return TESTS.split(text)[0]


def definitions(text: str) -> frozenset[str]:
    """Return the names that a text defines at its top level."""
    return frozenset(name for statement in ast.parse(text).body for name in _defined(statement))


def needed_definitions(sources: Path, file: Path, use: str, known: frozenset[str]) -> str:
    """Return what a text uses of a file and of the modules that this file imports.

    Args:
        sources: the folder that absolute imports of the repository's own modules start from.
        file: the module whose names the text uses.
        use: code that uses names of the file.
        known: names that are defined elsewhere.
    """
    texts: list[str] = []
    seen: set[tuple[Path, int]] = set()
    placed: dict[str, Path] = {}

    def need(module: Path, name: str) -> None:
        if name in known:
            return
        for statement in _definers(module).get(name, ()):
            _take(module, statement, name)

    def _take(module: Path, statement: ast.stmt, name: str) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            alias = next(a for a in statement.names if (a.asname or a.name.split(".")[0]) == name)
            origin = _sibling(sources, module, statement)
            if origin is not None and isinstance(statement, ast.ImportFrom):
                need(origin, alias.name)
                if alias.asname and alias.asname != alias.name:
                    texts.append(f"{alias.asname} = {alias.name}")
                return
            line = ast.unparse(_with_alias(statement, alias))
            if line not in texts:
                texts.insert(0, line) if line.startswith("from __future__") else texts.append(line)
            return
        key = (module, statement.lineno)
        if key in seen:
            return
        seen.add(key)
        if placed.setdefault(name, module) != module:
            raise ValueError(f"{name} is defined in {placed[name]} and in {module}")
        for used in _used(statement):
            if used != name:
                need(module, used)
        texts.append(_text(module, statement))

    for used in _used(ast.parse(use)):
        need(file, used)
    if any(isinstance(s, ast.ImportFrom) and s.module == "__future__" for s in _parse(file).body):
        texts.insert(0, "from __future__ import annotations\n")
    return "\n\n".join(texts)


@cache
def _parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


@cache
def _definers(module: Path) -> dict[str, list[ast.stmt]]:
    table: dict[str, list[ast.stmt]] = {}
    for statement in _parse(module).body:
        for name in _defined(statement):
            table.setdefault(name, []).append(statement)
    return table


def _defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.split(".")[0] for alias in names)
        case ast.Assign(targets=targets):
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            yield name
        case ast.If() | ast.Try() | ast.With() | ast.For():
            for child in ast.iter_child_nodes(statement):
                inner = child.body if isinstance(child, ast.ExceptHandler) else [child]
                for part in inner:
                    if isinstance(part, ast.stmt):
                        yield from _defined(part)


def _used(node: ast.AST) -> list[str]:
    """Return the names that a node reads, those of string annotations among them, in the order of the text."""
    return list(dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name)))


def _text(module: Path, statement: ast.stmt) -> str:
    lines = module.read_text(encoding="utf-8").splitlines()
    decorators = getattr(statement, "decorator_list", ())
    first = min([statement.lineno, *(d.lineno for d in decorators)])
    return "\n".join(lines[first - 1 : statement.end_lineno])


def _sibling(sources: Path, module: Path, statement: ast.Import | ast.ImportFrom) -> Path | None:
    if isinstance(statement, ast.Import):
        return None
    folder = sources
    if statement.level:
        folder = module.parents[statement.level - 1]
    path = folder.joinpath(*(statement.module or "").split(".")) if statement.module else folder
    for found in (path.with_suffix(".py"), path / "__init__.py"):
        if found.is_file():
            return found
    return None


def _with_alias(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(statement, ast.Import):
        return ast.Import(names=[alias])
    return ast.ImportFrom(module=statement.module, names=[alias], level=0)
