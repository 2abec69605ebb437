"""Read the Python files of a problem as text and syntax, never by importing them."""

from __future__ import annotations

import ast
from pathlib import Path

from kopt.errors import ProblemError

REQUIRED = ("Model", "get_inputs", "get_init_inputs")
"""Names that a reference must define."""


def read_text(folder: Path, name: str, files: tuple[str, ...]) -> str:
    """Read a file of a problem that consists of `files`.

    Raises:
        ProblemError: the file is missing, is no file, or is not UTF-8 text.
    """
    file = folder / name
    if not file.exists():
        raise ProblemError(f"{folder.name}: {name} is missing; a problem needs {', '.join(files)}")
    if not file.is_file():  # reading a pipe could take for ever
        raise ProblemError(f"{folder.name}/{name} is not a file")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"{folder.name}/{name} cannot be read as UTF-8 text: {error}") from error


def parsed(source: str, where: str) -> ast.Module:
    """Parse a source.

    Raises:
        ProblemError: the source is empty or has a syntax error; `where` names it.
    """
    if not source.strip():
        raise ProblemError(f"{where} is empty")
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ProblemError(f"{where}{line}: syntax error: {getattr(error, 'msg', error)}") from error
    except (RecursionError, MemoryError) as error:
        raise ProblemError(f"{where}: nested too deeply to be parsed") from error


def defined(tree: ast.Module) -> set[str]:
    """Return the names of a module's classes, functions and assignments, since a call may make a function."""
    definitions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return {*definitions, *constants(tree)}


def callables(tree: ast.Module) -> list[str]:
    """Return the names of a module's functions and classes, and of what its calls and lambdas made, in order."""
    named = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    made = (n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call | ast.Lambda))
    return sorted(named | {target.id for n in made for target in n.targets if isinstance(target, ast.Name)})


def check_reference(tree: ast.Module, where: str) -> None:
    """Check that a reference defines what it must.

    Raises:
        ProblemError: a definition is missing; `where` names the reference.
    """
    names = defined(tree)
    for required in REQUIRED:
        if required not in names:
            raise ProblemError(f"{where} defines no {required}; it needs {', '.join(REQUIRED)}")


def constants(tree: ast.Module) -> tuple[str, ...]:
    """Return the names that a module assigns at its top level."""
    targets: list[ast.expr] = []
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return tuple(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
