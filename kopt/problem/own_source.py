"""Copy what a function needs out of the modules of a user's project, so that it stands alone in one file.

Statements at the top of a module that bind a needed name are copied, and what they need in turn.  What comes from the
standard library or an installed package stays an import; what comes from another module of the project is copied too.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

from kopt.errors import ProblemError


def is_installed(module: ModuleType | None) -> bool:
    """Return whether a module belongs to Python or to an installed package."""
    if module is None or (file := getattr(module, "__file__", None)) is None:
        return True
    places = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    path = Path(file).resolve()
    return any(path.is_relative_to(place) for place in places)


def copied(module: ModuleType, name: str) -> str:
    """Return Python source that defines a name of a module, with all that it needs of the project.

    Raises:
        ProblemError: something cannot be copied; one line that says what, where, and what to write.
    """
    copy = _Copy()
    copy.take(module, name)
    future = ["from __future__ import annotations"] if copy.future else []
    lines = [*future, *dict.fromkeys(copy.imports)]
    return "\n\n\n".join(["\n".join(lines), *copy.statements] if lines else copy.statements) + "\n"


def _is_for_a_script(statement: ast.stmt) -> bool:
    """Return whether a statement runs only where its module is run as a script."""
    match statement:
        case ast.If(
            test=ast.Compare(left=ast.Name("__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")])
        ):
            return not statement.orelse
    return False


@dataclass
class _Copy:
    """Statements copied so far, in an order in which they can run."""

    imports: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    future: bool = False
    origins: dict[str, str] = field(default_factory=dict)
    """Name of the module that a copied name comes from."""

    def take(self, module: ModuleType, name: str) -> None:
        """Copy the statements that bind a name, after all that they need."""
        if self.origins.get(name) == module.__name__:
            return
        source = _source(module)
        tree = ast.parse(source)
        statements = [statement for statement in tree.body if not _is_for_a_script(statement)]
        binding = [statement for statement in statements if name in bound(statement)]
        binding = binding or [statement for statement in statements if _star_has(module, statement, name)]
        if not binding:
            return  # a builtin, or a name that is only bound while a function runs
        self.future |= any(isinstance(s, ast.ImportFrom) and s.module == "__future__" for s in tree.body)
        for statement in binding:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._import(module, statement, name)
                continue
            self._claim(name, module.__name__)
            for other in bound(statement):
                self.origins.setdefault(other, module.__name__)
            for needed in _read(statement):
                self.take(module, needed)
            text = _text(statement, source)
            if text not in self.statements:
                self.statements.append(text)

    def _claim(self, name: str, origin: str) -> None:
        """Note where a name comes from; in one file it can have one meaning."""
        if self.origins.setdefault(name, origin) != origin:
            raise ProblemError(f"{name} is both {self.origins[name]} and {origin}: rename one of them")

    def _import(self, module: ModuleType, statement: ast.Import | ast.ImportFrom, name: str) -> None:
        """Copy an import of an installed package, or what it names of the project."""
        alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name or a.name == "*")
        where = f"{module.__name__}, line {statement.lineno}"
        renamed = f" as {alias.asname}" if alias.asname else ""
        if isinstance(statement, ast.Import):
            if not is_installed(_imported(alias.name)):
                raise ProblemError(f"{where}: import {alias.name} cannot be copied: write from {alias.name} import …")
            self._keep(name, f"import {alias.name}{renamed}")
            return
        source = _absolute(module, statement)
        origin = _imported(source)
        if origin is None or is_installed(origin):
            self._keep(name, f"from {source} import {alias.name}{renamed}")
            return
        if alias.name == "*":
            raise ProblemError(f"{where}: from {source} import * cannot be copied: name what is needed")
        if isinstance(getattr(origin, alias.name, None), ModuleType):
            raise ProblemError(
                f"{where}: the module {alias.name} cannot be copied as a whole: "
                f"write from {source}.{alias.name} import …"
            )
        self.take(origin, alias.name)
        line = f"{name} = {alias.name}"
        if name != alias.name and line not in self.statements:
            self._claim(name, origin.__name__)
            self.statements.append(line)

    def _keep(self, name: str, line: str) -> None:
        """Keep an import of an installed package."""
        if line.startswith("from __future__"):
            return
        if not line.startswith("import ") or " as " in line:  # import a.b and import a.c both bind a
            self._claim(name, line)
        self.imports.append(line)


def _source(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        raise ProblemError(f"{module.__name__} has no Python source")
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"{file} cannot be read: {error}") from error


def bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module binds."""
    names: set[str] = set()
    for node in _outside_functions(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _star_has(module: ModuleType, statement: ast.stmt, name: str) -> bool:
    """Return whether a statement is `from … import *` and gives a name."""
    if not isinstance(statement, ast.ImportFrom) or statement.names[0].name != "*":
        return False
    return hasattr(_imported(_absolute(module, statement)), name)


def _outside_functions(statement: ast.AST) -> list[ast.AST]:
    """Return a statement and the nodes in it that belong to the module's own scope."""
    found: list[ast.AST] = [statement]
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.DictComp, ast.SetComp)
    if not isinstance(statement, scopes):
        for child in ast.iter_child_nodes(statement):
            found += _outside_functions(child)
    return found


def _read(statement: ast.stmt) -> list[str]:
    """Return the names that a statement reads, in order, wherever it reads them; names of its own among them."""
    names = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return list(dict.fromkeys(names))


def _text(statement: ast.stmt, source: str) -> str:
    """Return the lines of a statement, with its decorators."""
    first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])
    return "\n".join(source.splitlines()[first - 1 : statement.end_lineno])


def _absolute(module: ModuleType, statement: ast.ImportFrom) -> str:
    """Return the full name of the module that a statement imports from."""
    if not statement.level:
        return statement.module or ""
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    for _ in range(statement.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{statement.module}" if statement.module else package


def _imported(name: str) -> ModuleType | None:
    try:
        return sys.modules.get(name) or import_module(name)
    except ImportError as error:
        raise ProblemError(f"{name} cannot be imported: {error}") from error
