"""Refuse a source that reaches into the process that will run it.

A kernel needs torch, its language and some arithmetic.  Code that reaches further (other modules, frames, private
names, names put together at run time, replaced functions of torch) makes a kernel look fast, not be fast.  In a process
that runs Python nothing can be forbidden reliably, so the judges do not rely on the screen.  The screen refuses what
is plain to see, at no cost, with a reason that a proposer can act on.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from kopt.device.reference.contract import CANDIDATE_MODULE
from kopt.device.reference.rejection import bounded
from kopt.device.screen.closed import (
    BASIC_CONFIG,
    BUILTINS,
    CONFIGURED,
    DATACLASS,
    DEFINED,
    DUNDERS,
    ENVIRONMENT,
    FIND_SPEC,
    KNOB_CHANGES,
    KNOBS,
    METHODS,
    MODULES,
    OPEN_STARS,
    READERS,
    TOLD_BY,
    WRAPS,
)
from kopt.device.screen.live import bound_names, live_code
from kopt.device.screen.names import renames, roots
from kopt.device.screen.reach import is_module
from kopt.device.screen.scopes import local_names
from kopt.device.screen.use import (
    Scope,
    attributes_by_owner,
    fault_of_part,
    faults_of_use,
    is_closed,
    is_closed_anywhere,
    is_hidden,
    is_replaced,
    named_reads,
)
from kopt.model.build import BuildFailed, Phase
from kopt.model.kernel import Kernel
from kopt.model.language import LANGUAGES

OWN = frozenset({"__main__", CANDIDATE_MODULE, "kopt"})
"""Modules of the process that judges, which a candidate may not even import."""

INJECTED = "interpreter_semantic"
"""A name that Triton's interpreter puts into a kernel."""


def screen(kernel: Kernel) -> BuildFailed | None:
    """Return the failure of a source (which parses) that breaks a rule, by the first breach; None for any other."""
    whole = ast.parse(kernel.source)
    names = roots(whole)
    tree = live_code(whole, kernel.entry, names or {})
    names = names and roots(tree)
    if names is None:
        return _refused(whole, "gives names to names of what is imported, without end")
    packages = LANGUAGES[kernel.language].packages
    local = local_names(tree, names)
    scope = Scope(names, local, named_reads(tree), attributes_by_owner(tree), MODULES | packages, OPEN_STARS | packages)
    places = _Places(_wrapping(tree), _decorating(tree), _based(tree), _called(tree), _tested(tree))
    for node in ast.walk(tree):
        for fault in (*_faults(node, scope), *_misplaced(node, scope, places)):
            return _refused(node, fault)
        for annotation in _annotations(node):
            for fault in (fault for inner in ast.walk(annotation) for fault in _faults(inner, scope)):
                return _refused(node, f"{fault} in an annotation")
    return None


class _Places(NamedTuple):
    """Identities (`id`) of the nodes of a source that stand in a certain place; see the functions that collect them."""

    wrapping: set[int]
    decorating: set[int]
    based: set[int]
    called: set[int]
    tested: set[int]


def _misplaced(node: ast.AST, scope: Scope, places: _Places) -> Iterator[str]:
    """Yield the faults of a node that is allowed in certain places only, and stands elsewhere."""
    for name in bound_names(node):
        if name in READERS or (name in DUNDERS - DEFINED and not isinstance(node, ast.FunctionDef)):
            yield f"gives another meaning to {name}"
    if isinstance(node, ast.Name) and node.id == "getattr" and id(node) not in places.called:
        yield "uses getattr without calling it"
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or not isinstance(node, ast.expr):
        return
    for path in scope.paths(node):
        if path == WRAPS and id(node) not in places.wrapping:
            yield "uses functools.wraps other than as the decorator of a function, with one argument"
        elif path == DATACLASS and id(node) not in places.decorating:
            yield "uses dataclass other than as the decorator of a class"
        elif path in (*ENVIRONMENT, BASIC_CONFIG) and id(node) not in places.called:
            yield f"hands on {'.'.join(path)}, which may only be called"
        elif path == FIND_SPEC and id(node) not in places.tested:
            yield "uses importlib.util.find_spec other than to compare its result with None"
        elif path[:2] == KNOBS and not KNOB_CHANGES.isdisjoint(path[3:]):
            yield f"changes {'.'.join(path[:-1])}"
        elif id(node) not in places.based and path[:2] == KNOBS and len(path) <= 3:
            yield f"hands on {'.'.join(path)}, which may only be read"
        elif id(node) not in places.based and is_module(path):
            yield f"hands on the module {'.'.join(path)}, of which only parts may be used"


def _called(tree: ast.Module) -> set[int]:
    """Collect the functions of all calls."""
    return {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _tested(tree: ast.Module) -> set[int]:
    """Collect the functions of calls whose results are compared with None or turned into a truth value."""
    tested: list[ast.expr] = []
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left, [ast.Is() | ast.IsNot()], [ast.Constant(None)]):
                tested.append(left)
            case ast.Call(ast.Name("bool"), [argument], []):
                tested.append(argument)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.UnaryOp(op=ast.Not(), operand=test):
                tested.append(test)
    return {id(node.func) for node in tested if isinstance(node, ast.Call)}


def _wrapping(tree: ast.Module) -> set[int]:
    """Collect the functions of decorators called with one argument: `functools.wraps` in `@functools.wraps(f)`."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    decorators = [decorator for node in functions for decorator in node.decorator_list]
    calls = [decorator for decorator in decorators if isinstance(decorator, ast.Call)]
    return {id(call.func) for call in calls if len(call.args) == 1 and not call.keywords}


def _decorating(tree: ast.Module) -> set[int]:
    """Collect the functions that decorate classes, called or not."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    decorators = [decorator for node in classes for decorator in node.decorator_list]
    return {id(node.func if isinstance(node, ast.Call) and not node.args else node) for node in decorators}


def _based(tree: ast.Module) -> set[int]:
    """Collect the places where a module may stand: before a dot, as the value of an assignment, in getattr and hasattr.

    A module that went elsewhere (into a list, an argument, a pattern) could not be followed by its name.
    """
    based = {id(node.value) for node in renames(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            based.add(id(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS:
            based |= {id(argument) for argument in node.args[:1]}
    return based


def _refused(node: ast.AST, fault: str) -> BuildFailed:
    reason = f"line {getattr(node, 'lineno', 0)}: {fault}; a kernel is judged by what it computes"
    return BuildFailed(phase=Phase.IMPORT, reason=bounded(reason))


def _faults(node: ast.AST, scope: Scope) -> Iterator[str]:
    """Yield the faults of a node wherever it stands, in words that follow "the source"."""
    if isinstance(node, ast.Import):
        yield from (f"imports {alias.name}" for alias in node.names if alias.name.partition(".")[0] in OWN)
    elif isinstance(node, ast.ImportFrom):
        yield from _imported_from(node, scope)
    elif isinstance(node, ast.Name):
        yield from _name(node, scope)
        if isinstance(node.ctx, ast.Load):
            yield from faults_of_use(node, scope)
    elif isinstance(node, ast.Attribute):
        yield from faults_of_use(node, scope)
        if replaced := is_replaced(node, scope):
            yield f"replaces {replaced}"
    elif isinstance(node, ast.Call):
        yield from _call(node, scope)
    elif isinstance(node, ast.MatchClass):
        yield from ["matches attributes by their position"] if node.patterns else []
        yield from (f"matches the attribute {name}" for name in node.kwd_attrs if is_closed(name) or name == WRAPS[1])
    elif isinstance(node, ast.FunctionDef) and node.name in METHODS:
        yield f"defines {node.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_hidden(node.value):
        yield f"names {node.value} in a text"


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """Yield, as expressions, annotations that are texts: torch evaluates such texts here and there."""
    annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
    for part in (part for annotation in annotations if annotation is not None for part in ast.walk(annotation)):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            with suppress(SyntaxError):
                yield ast.parse(part.value, mode="eval")


def _imported_from(node: ast.ImportFrom, scope: Scope) -> Iterator[str]:
    """Yield the faults of `from module import names`; what is imported is judged where it is used."""
    module = node.module or ""
    package = module.partition(".")[0]
    if package in OWN and not node.level:
        yield f"imports {module}"
    if any(alias.name == "*" for alias in node.names) and package not in scope.open:
        yield f"imports all of {module}: name what is used"
    elif any(alias.name == "*" for alias in node.names):
        path = tuple(module.split("."))
        yield from (
            [f"imports all of {module}: {closed} is closed to kernels"]
            if (closed := fault_of_part((*path, "*"), scope))
            else []
        )


def _name(node: ast.Name, scope: Scope) -> Iterator[str]:
    if is_hidden(node.id) or node.id == INJECTED:
        yield f"uses {node.id}"
    elif (
        node.id in BUILTINS - {"getattr"}
        and hasattr(builtins, node.id)
        and isinstance(node.ctx, ast.Load)
        and id(node) not in scope.local
    ):
        yield f"uses {node.id}()"


def _call(node: ast.Call, scope: Scope) -> Iterator[str]:
    """Yield the faults of a call of `type` or `getattr`, or of one that reads the environment or configures logging."""
    if isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) > 1:
        yield "makes a class of texts by type()"
    for path in scope.paths(node.func):
        if path in ENVIRONMENT:
            yield from _environment(node)
        elif path == BASIC_CONFIG and not {argument.arg for argument in node.keywords} <= CONFIGURED:
            yield "configures logging beyond level and format"
    if not isinstance(node.func, ast.Name) or node.func.id != "getattr":
        return
    name = node.args[1] if len(node.args) > 1 else None
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        yield "uses getattr with a name that is put together at run time"
        return
    if (is_closed_anywhere(name.value) and not scope.paths(node)) or name.value == WRAPS[1]:
        yield f"uses getattr for {name.value}"
    for path in scope.paths(node):
        if closed := fault_of_part(path, scope):
            yield f"uses getattr for {name.value}: {closed} is closed to kernels"


def _environment(node: ast.Call) -> Iterator[str]:
    """Yield the fault of reading a variable of the environment that is not named, or that a judge sets."""
    name = node.args[0] if node.args else None
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        yield "reads a variable of the environment that is named at run time"
    elif name.value.startswith(TOLD_BY):
        yield f"reads {name.value} of the environment, by which a kernel could tell where it runs"
