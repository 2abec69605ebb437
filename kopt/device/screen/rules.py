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

from kopt.device.reference.rejection import bounded
from kopt.device.screen.names import Path, Roots, chain, paths, renames, roots
from kopt.device.screen.reach import foreign_module, is_module
from kopt.device.screen.scopes import local_names
from kopt.model.build import BuildFailed, Phase
from kopt.model.kernel import Kernel
from kopt.model.language import LANGUAGES

MODULES = frozenset({
    "__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "itertools",
    "logging", "math", "numbers", "numpy", "operator", "torch", "types", "typing", "typing_extensions", "warnings",
})  # fmt: skip
"""Packages that any candidate may import, beside those of its language; of torch and NumPy only what is public."""

CLOSED = frozenset({
    "CUDAPluggableAllocator", "CodeType", "ForwardRef", "FunctionType", "LambdaType", "WRAPPER_ASSIGNMENTS",
    "WRAPPER_UPDATES", "atexit", "attrgetter", "bltns", "builtins", "caching_allocator_alloc", "collect_env",
    "compile_module_from_file", "compile_module_from_src", "concurrent", "copyreg", "cpp_extension", "ctypes",
    "ctypeslib", "cudart", "distributed", "evaluate_forward_ref", "f_back", "f_builtins", "f_globals", "f_locals",
    "from_file", "gc", "get_annotations", "get_device_module", "get_field", "get_type_hints", "gi_frame", "global_enum",
    "hub", "importlib", "infer_schema", "inspect", "io", "linecache", "load_binary", "load_library", "make_dataclass",
    "methodcaller", "modules", "mp", "multiprocessing", "new_class", "os", "pathlib", "pickle", "pickletools",
    "pkgutil", "prepare_class", "python_multiprocessing", "redirect_stderr", "redirect_stdout", "runstring",
    "shutil", "singledispatch", "singledispatchmethod", "subprocess", "sys", "tarfile", "tb_frame", "tempfile",
    "threading", "traceback", "update_wrapper", "zipfile",
})  # fmt: skip
"""Attributes and submodules that lead out of the allowed packages, or that evaluate text."""

CLOSED_PATHS = (
    ("copy", "dispatch_table"), ("logging", "config"), ("logging", "handlers"), ("numpy", "f2py"),
    ("numpy", "fromfile"), ("numpy", "load"), ("numpy", "memmap"), ("numpy", "testing"), ("torch", "fx"),
    ("torch", "jit"), ("torch", "library"), ("torch", "load"), ("torch", "package"),
    ("torch", "utils", "benchmark"),
)  # fmt: skip
"""Parts of modules that run code from a text or a file."""

BUILTINS = frozenset({
    "breakpoint", "compile", "delattr", "eval", "exec", "getattr", "globals", "input", "locals", "open",
    "setattr", "vars",
})  # fmt: skip
"""Built-in functions that a candidate may not use; `getattr` with a literal name is allowed."""

DUNDERS = frozenset({
    "__all__", "__call__", "__class__", "__contains__", "__doc__", "__file__", "__getitem__", "__init__",
    "__len__", "__main__", "__name__", "__post_init__", "__version__",
})  # fmt: skip
"""Names with two underscores on both sides that a candidate may read."""

METHODS = frozenset({"__prepare__", "__reduce__", "__reduce_ex__"})
"""Methods that a candidate may not define: by them `copy` and `dataclass` set attributes that a text names."""

OPEN = frozenset({"__future__", "math"})
"""Packages from which `import *` is allowed, beside those of the kernel's language."""

READERS = ("getattr", "hasattr")
"""Built-in functions to which a module may be passed, together with a literal name."""

WRAPS, DATACLASS = ("functools", "wraps"), ("dataclasses", "dataclass")
"""Functions allowed as decorators only: `wraps` copies attributes by name, `dataclass` runs annotations as source."""

SETTINGS = ("torch", "backends")
"""Attributes below this path may be set."""


def screen(kernel: Kernel) -> BuildFailed | None:
    """Return the failure of a source (which parses) that breaks a rule, by the first breach; None for any other."""
    tree = ast.parse(kernel.source)
    names = roots(tree)
    if names is None:
        return _refused(tree, "gives names to names of what is imported, without end")
    packages = LANGUAGES[kernel.language].packages
    scope = _Scope(names, MODULES | packages, OPEN | packages)
    places = _Places(_wrapping(tree), _decorating(tree), _based(tree), _called(tree), local_names(tree, names))
    for node in ast.walk(tree):
        for fault in (*_faults(node, scope), *_misplaced(node, names, places)):
            return _refused(node, fault)
        for annotation in _annotations(node):
            for fault in (fault for inner in ast.walk(annotation) for fault in _faults(inner, scope)):
                return _refused(node, f"{fault} in an annotation")
    return None


class _Scope(NamedTuple):
    """The imports that the names of a source stand for, and the packages that the source may import."""

    names: Roots
    allowed: frozenset[str]
    """Packages that the source may import."""
    open: frozenset[str]
    """Packages from which it may import all names at once."""


class _Places(NamedTuple):
    """Identities (`id`) of the nodes of a source that stand in a certain place; see the functions that collect them."""

    wrapping: set[int]
    decorating: set[int]
    based: set[int]
    called: set[int]
    local: set[int]


def _misplaced(node: ast.AST, names: Roots, places: _Places) -> Iterator[str]:
    """Yield the faults of a node that is allowed in certain places only, and stands elsewhere."""
    if _bound(node) in READERS:
        yield f"gives another meaning to {_bound(node)}"
    if isinstance(node, ast.Name) and node.id == "getattr" and id(node) not in places.called:
        yield "uses getattr without calling it"
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or id(node) in places.local:
        return
    for path in paths(node, names):
        if path == WRAPS and id(node) not in places.wrapping:
            yield "uses functools.wraps other than as the decorator of a function, with one argument"
        elif path == DATACLASS and id(node) not in places.decorating:
            yield "uses dataclass other than as the decorator of a class"
        elif id(node) not in places.based and is_module(path):
            yield f"hands on the module {'.'.join(path)}, of which only parts may be used"


def _bound(node: ast.AST) -> str:
    """Return the name that a node binds, by whatever statement; empty for a node that binds none."""
    if isinstance(node, ast.Name):
        return "" if isinstance(node.ctx, ast.Load) else node.id
    return next(
        (name for key in ("asname", "name", "arg", "rest") if isinstance(name := getattr(node, key, None), str)), ""
    )


def _called(tree: ast.Module) -> set[int]:
    """Collect the functions of all calls."""
    return {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


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


def _faults(node: ast.AST, scope: _Scope) -> Iterator[str]:
    """Yield the faults of a node wherever it stands, in words that follow "the source"."""
    if isinstance(node, ast.Import):
        yield from (fault for alias in node.names if (fault := _imported(alias.name, scope)))
    elif isinstance(node, ast.ImportFrom):
        yield from (fault for alias in node.names if (fault := _imported(f"{node.module}.{alias.name}", scope)))
    elif isinstance(node, ast.Name):
        yield from _name(node)
    elif isinstance(node, ast.Attribute):
        for path in paths(node, scope.names) or (None,):
            yield from _attribute(node, path, scope)
    elif isinstance(node, ast.Call):
        yield from _call(node, scope)
    elif isinstance(node, ast.MatchClass):
        yield from ["matches attributes by their position"] if node.patterns else []
        yield from (f"matches the attribute {name}" for name in node.kwd_attrs if _is_closed(name) or name == WRAPS[1])
    elif isinstance(node, ast.FunctionDef) and node.name in METHODS:
        yield f"defines {node.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_hidden(node.value):
        yield f"names {node.value} in a text"


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """Yield, as expressions, annotations that are texts: torch evaluates such texts here and there."""
    annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
    for part in (part for annotation in annotations if annotation is not None for part in ast.walk(annotation)):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            with suppress(SyntaxError):
                yield ast.parse(part.value, mode="eval")


def _imported(name: str, scope: _Scope) -> str:
    """Explain why a candidate may not import a dotted name; empty when the import is allowed."""
    parts = name.split(".")
    if parts[0] not in scope.allowed:
        return f"imports {parts[0]}: a kernel may import {', '.join(sorted(scope.allowed - {'__future__'}))}"
    if parts[-1] == "*" and parts[0] not in scope.open:
        return f"imports all of {'.'.join(parts[:-1])}: name what is used"
    closed = next((part for part in parts[1:] if part in CLOSED or part.startswith("_")), "")
    closed = closed or _closed_path(tuple(parts)) or foreign_module(tuple(parts), scope.allowed)
    return f"imports {name}: {closed} is closed to kernels" if closed else ""


def _closed_path(path: tuple[str, ...]) -> str:
    """Return the name for which a dotted path is closed; empty when the path is open."""
    return next((closed[-1] for closed in CLOSED_PATHS if path[: len(closed)] == closed), "")


def _is_hidden(name: str) -> bool:
    return name.isidentifier() and name.startswith("__") and name.endswith("__") and name not in DUNDERS


def _name(node: ast.Name) -> Iterator[str]:
    if _is_hidden(node.id):
        yield f"uses {node.id}"
    elif node.id in BUILTINS - {"getattr"} and hasattr(builtins, node.id) and isinstance(node.ctx, ast.Load):
        yield f"uses {node.id}()"


def _is_closed(name: str) -> bool:
    return name in CLOSED or (name.startswith("_") and name not in DUNDERS)


def _attribute(node: ast.Attribute, path: Path | None, scope: _Scope) -> Iterator[str]:
    """Yield the faults of an attribute, whose dotted path from an import is `path`, or None when it has none."""
    name = ".".join(chain(node)) or f"(...).{node.attr}"
    if node.attr in CLOSED or (node.attr.startswith("__") and node.attr not in DUNDERS):
        yield f"uses {name}: {node.attr} is closed to kernels"
    elif path and _is_closed(node.attr):
        yield f"uses {name}, which is private"
    elif path and (closed := _closed_path(path)):
        yield f"uses {name}: {closed} is closed to kernels"
    elif path and (foreign := foreign_module(path, scope.allowed)):
        yield f"uses {name}, which is the module {foreign}"
    elif not isinstance(node.ctx, ast.Load) and (path or not chain(node)) and (path or ())[:2] != SETTINGS:
        yield f"replaces {name}"


def _call(node: ast.Call, scope: _Scope) -> Iterator[str]:
    """Yield the faults of a call of `type` or `getattr`."""
    if isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) > 1:
        yield "makes a class of texts by type()"
    if not isinstance(node.func, ast.Name) or node.func.id != "getattr":
        return
    name = node.args[1] if len(node.args) > 1 else None
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        yield "uses getattr with a name that is put together at run time"
        return
    if _is_closed(name.value) or name.value == WRAPS[1]:
        yield f"uses getattr for {name.value}"
    for path in paths(node, scope.names):
        if closed := _closed_path(path) or foreign_module(path, scope.allowed):
            yield f"uses getattr for {name.value}: {closed} is closed to kernels"
