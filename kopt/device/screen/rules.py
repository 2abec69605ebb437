"""What a candidate's text may not hold, before anything of it runs.

A kernel needs torch, Triton and some arithmetic.  What reaches into the process that runs it (other modules, frames,
private names, names put together at run time, replaced functions of torch) serves to look fast, not to be fast.  In a
process that runs Python nothing can be forbidden for good, so the judges do not rely on this; it turns away what is
plain to see, at no cost, with a reason that a proposer can act on.
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

MODULES = frozenset({
    "__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "itertools",
    "logging", "math", "numbers", "numpy", "operator", "torch", "triton", "types", "typing",
    "typing_extensions", "warnings",
})  # fmt: skip
"""All that a candidate may import; of torch, Triton and NumPy only what is public."""

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
"""Attributes and submodules that lead out of torch and Triton, or that evaluate text."""

CLOSED_PATHS = (
    ("copy", "dispatch_table"), ("logging", "config"), ("logging", "handlers"), ("numpy", "f2py"),
    ("numpy", "fromfile"), ("numpy", "load"), ("numpy", "memmap"), ("numpy", "testing"), ("torch", "fx"),
    ("torch", "jit"), ("torch", "library"), ("torch", "load"), ("torch", "package"),
    ("torch", "utils", "benchmark"),
)  # fmt: skip
"""Parts of modules that run what a text or a file says."""

BUILTINS = frozenset({
    "breakpoint", "compile", "delattr", "eval", "exec", "getattr", "globals", "input", "locals", "open",
    "setattr", "vars",
})  # fmt: skip
"""Built-in functions that reach what a name does not say; `getattr` with a plain name is let pass."""

DUNDERS = frozenset({
    "__all__", "__call__", "__class__", "__contains__", "__doc__", "__file__", "__getitem__", "__init__",
    "__len__", "__main__", "__name__", "__post_init__", "__version__",
})  # fmt: skip
"""Names with two underscores that a candidate may read."""

METHODS = frozenset({"__prepare__", "__reduce__", "__reduce_ex__"})
"""Methods by which `copy` and `dataclass` set what a text names."""

OPEN = frozenset({"__future__", "math", "triton"})
"""Packages of which `import *` is let pass."""

READERS = ("getattr", "hasattr")
"""Built-in functions that are given a module and a plain name."""

WRAPS, DATACLASS = ("functools", "wraps"), ("dataclasses", "dataclass")
"""They decorate: one copies attributes by their names, the other makes source text of a class's annotations."""

SETTINGS = ("torch", "backends")
"""Attributes below this may be set."""


def screen(kernel: Kernel) -> BuildFailed | None:
    """The first thing in a source (which parses) that it may not hold; None when there is none."""
    tree = ast.parse(kernel.source)
    names = roots(tree)
    if names is None:
        return _refused(tree, "gives names to names of what is imported, without end")
    places = _Places(_wrapping(tree), _decorating(tree), _based(tree), _called(tree), local_names(tree, names))
    for node in ast.walk(tree):
        for what in (*_faults(node, names), *_misplaced(node, names, places)):
            return _refused(node, what)
        for annotation in _annotations(node):
            for what in (what for inner in ast.walk(annotation) for what in _faults(inner, names)):
                return _refused(node, f"{what} in an annotation")
    return None


class _Places(NamedTuple):
    """Where in a source something stands, as identities of nodes; see the functions that make them."""

    wrapping: set[int]
    decorating: set[int]
    based: set[int]
    called: set[int]
    local: set[int]


def _misplaced(node: ast.AST, names: Roots, places: _Places) -> Iterator[str]:
    """What may be used in some places only."""
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
    """The name that a node binds, by whatever statement; empty for a node that binds none."""
    if isinstance(node, ast.Name):
        return "" if isinstance(node.ctx, ast.Load) else node.id
    return next(
        (name for key in ("asname", "name", "arg", "rest") if isinstance(name := getattr(node, key, None), str)), ""
    )


def _called(tree: ast.Module) -> set[int]:
    return {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _wrapping(tree: ast.Module) -> set[int]:
    """What decorates functions and is called with one argument: the `functools.wraps` of `@functools.wraps(f)`."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calls = [one for node in functions for one in node.decorator_list if isinstance(one, ast.Call)]
    return {id(call.func) for call in calls if len(call.args) == 1 and not call.keywords}


def _decorating(tree: ast.Module) -> set[int]:
    """What decorates classes, called or not."""
    given = [one for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.decorator_list]
    return {id(one.func if isinstance(one, ast.Call) and not one.args else one) for one in given}


def _based(tree: ast.Module) -> set[int]:
    """Where a module's name may stand: before a dot, as the value of a new name for it, in getattr and hasattr.

    A module that went elsewhere (into a list, an argument, a pattern) could not be followed by its name.
    """
    based = {id(node.value) for node in renames(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            based.add(id(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in READERS:
            based |= {id(one) for one in node.args[:1]}
    return based


def _refused(node: ast.AST, what: str) -> BuildFailed:
    reason = f"line {getattr(node, 'lineno', 0)}: {what}; a kernel is judged by what it computes"
    return BuildFailed(phase=Phase.IMPORT, reason=bounded(reason))


def _faults(node: ast.AST, names: Roots) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (fault for alias in node.names if (fault := _imported(alias.name)))
    elif isinstance(node, ast.ImportFrom):
        yield from (fault for alias in node.names if (fault := _imported(f"{node.module}.{alias.name}")))
    elif isinstance(node, ast.Name):
        yield from _name(node)
    elif isinstance(node, ast.Attribute):
        for path in paths(node, names) or (None,):
            yield from _attribute(node, path)
    elif isinstance(node, ast.Call):
        yield from _call(node, names)
    elif isinstance(node, ast.MatchClass):
        yield from ["matches attributes by their position"] if node.patterns else []
        yield from (f"matches the attribute {name}" for name in node.kwd_attrs if _is_closed(name) or name == WRAPS[1])
    elif isinstance(node, ast.FunctionDef) and node.name in METHODS:
        yield f"defines {node.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_hidden(node.value):
        yield f"names {node.value} in a text"


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations that are texts, which torch evaluates here and there, as expressions."""
    given = [getattr(node, name, None) for name in ("annotation", "returns")]
    for part in (part for one in given if one is not None for part in ast.walk(one)):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            with suppress(SyntaxError):
                yield ast.parse(part.value, mode="eval")


def _imported(name: str) -> str:
    parts = name.split(".")
    if parts[0] not in MODULES:
        return f"imports {parts[0]}: a kernel may import {', '.join(sorted(MODULES - {'__future__'}))}"
    if parts[-1] == "*" and parts[0] not in OPEN:
        return f"imports all of {'.'.join(parts[:-1])}: name what is used"
    closed = next((part for part in parts[1:] if part in CLOSED or part.startswith("_")), "")
    closed = closed or _closed_path(tuple(parts)) or foreign_module(tuple(parts), MODULES)
    return f"imports {name}: {closed} is closed to kernels" if closed else ""


def _closed_path(path: tuple[str, ...]) -> str:
    """The name that closes a dotted path; empty when it is open."""
    return next((one[-1] for one in CLOSED_PATHS if path[: len(one)] == one), "")


def _is_hidden(name: str) -> bool:
    return name.isidentifier() and name.startswith("__") and name.endswith("__") and name not in DUNDERS


def _name(node: ast.Name) -> Iterator[str]:
    if _is_hidden(node.id):
        yield f"uses {node.id}"
    elif node.id in BUILTINS - {"getattr"} and hasattr(builtins, node.id) and isinstance(node.ctx, ast.Load):
        yield f"uses {node.id}()"


def _is_closed(name: str) -> bool:
    return name in CLOSED or (name.startswith("_") and name not in DUNDERS)


def _attribute(node: ast.Attribute, path: Path | None) -> Iterator[str]:
    """Faults of an attribute, in what begins at an import and has this path, or in something else."""
    name = ".".join(chain(node)) or f"(...).{node.attr}"
    if node.attr in CLOSED or (node.attr.startswith("__") and node.attr not in DUNDERS):
        yield f"uses {name}: {node.attr} is closed to kernels"
    elif path and _is_closed(node.attr):
        yield f"uses {name}, which is private"
    elif path and (closed := _closed_path(path)):
        yield f"uses {name}: {closed} is closed to kernels"
    elif path and (foreign := foreign_module(path, MODULES)):
        yield f"uses {name}, which is the module {foreign}"
    elif not isinstance(node.ctx, ast.Load) and (path or not chain(node)) and (path or ())[:2] != SETTINGS:
        yield f"replaces {name}"


def _call(node: ast.Call, names: Roots) -> Iterator[str]:
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
    for path in paths(node, names):
        if closed := _closed_path(path) or foreign_module(path, MODULES):
            yield f"uses getattr for {name.value}: {closed} is closed to kernels"
