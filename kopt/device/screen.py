"""What a candidate's text may not hold, before anything of it runs.

A kernel needs torch, Triton and some arithmetic.  What reaches into the process that runs it (other modules, frames,
private names, names put together at run time, replaced functions of torch) serves to look fast, not to be fast.  In a
process that runs Python nothing can be forbidden for good, so the judges do not rely on this; it turns away what is
plain to see, at no cost, with a reason that a proposer can act on.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from contextlib import suppress

from kopt.device.rejection import bounded
from kopt.device.screen_reach import foreign_module
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
    "ctypeslib",
    "cudart", "distributed", "evaluate_forward_ref", "f_back", "f_builtins", "f_globals", "f_locals", "from_file", "gc",
    "get_type_hints", "gi_frame", "hub", "importlib", "inspect", "io", "linecache", "load_binary", "load_library",
    "methodcaller", "modules", "mp", "multiprocessing", "os", "pathlib", "pickle", "pickletools", "pkgutil",
    "redirect_stderr", "redirect_stdout", "runstring", "shutil", "singledispatch", "singledispatchmethod", "subprocess",
    "sys", "tarfile", "tb_frame", "tempfile", "threading", "traceback", "update_wrapper", "zipfile",
})  # fmt: skip
"""Attributes and submodules that lead out of torch and Triton, or that evaluate text."""

CLOSED_PATHS = (
    ("logging", "config"), ("logging", "handlers"), ("numpy", "f2py"), ("numpy", "fromfile"), ("numpy", "load"),
    ("numpy", "memmap"), ("torch", "fx"), ("torch", "jit"), ("torch", "load"), ("torch", "package"),
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

OPEN = frozenset({"__future__", "math", "triton"})
"""Packages of which `import *` is let pass."""

WRAPS = ("functools", "wraps")
"""Copies attributes by their names, and so replaces what is in a module."""

SETTINGS = ("torch", "backends")
"""Attributes below this may be set."""


def screen(kernel: Kernel) -> BuildFailed | None:
    """The first thing in a source (which parses) that it may not hold; None when there is none."""
    tree = ast.parse(kernel.source)
    roots = _roots(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    wrapping = _decorators(tree)
    for node in ast.walk(tree):
        if _path(node, roots) == WRAPS and id(node) not in wrapping:
            return _refused(node, "uses functools.wraps other than as the decorator of a function, with one argument")
        if isinstance(node, ast.Name) and node.id == "getattr" and id(node) not in called:
            return _refused(node, "uses getattr without calling it")
        for what in _faults(node, roots):
            return _refused(node, what)
        for annotation in _annotations(node):
            for what in (what for inner in ast.walk(annotation) for what in _faults(inner, roots)):
                return _refused(node, f"{what} in an annotation")
    return None


def _decorators(tree: ast.Module) -> set[int]:
    """What decorates functions and is called with one argument: the `functools.wraps` of `@functools.wraps(f)`."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    calls = [one for node in functions for one in node.decorator_list if isinstance(one, ast.Call)]
    return {id(call.func) for call in calls if len(call.args) == 1 and not call.keywords}


def _refused(node: ast.AST, what: str) -> BuildFailed:
    reason = f"line {getattr(node, 'lineno', 0)}: {what}; a kernel is judged by what it computes"
    return BuildFailed(phase=Phase.IMPORT, reason=bounded(reason))


def _faults(node: ast.AST, roots: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (fault for alias in node.names if (fault := _imported(alias.name)))
    elif isinstance(node, ast.ImportFrom):
        yield from (fault for alias in node.names if (fault := _imported(f"{node.module}.{alias.name}")))
    elif isinstance(node, ast.Name):
        yield from _name(node)
    elif isinstance(node, ast.Attribute):
        yield from _attribute(node, roots)
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.MatchClass):
        yield from (f"matches the attribute {name}" for name in node.kwd_attrs if _is_closed(name) or name == WRAPS[1])


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


def _name(node: ast.Name) -> Iterator[str]:
    if node.id.startswith("__") and node.id.endswith("__") and node.id not in DUNDERS:
        yield f"uses {node.id}"
    elif node.id in BUILTINS - {"getattr"} and hasattr(builtins, node.id) and isinstance(node.ctx, ast.Load):
        yield f"uses {node.id}()"


def _is_closed(name: str) -> bool:
    return name in CLOSED or (name.startswith("_") and name not in DUNDERS)


def _attribute(node: ast.Attribute, roots: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    chain = _chain(node)
    name = ".".join(chain) or f"(...).{node.attr}"
    of_module = bool(chain) and chain[0] in roots
    path = (*roots[chain[0]], *chain[1:]) if of_module else chain
    if node.attr in CLOSED or (node.attr.startswith("__") and node.attr not in DUNDERS):
        yield f"uses {name}: {node.attr} is closed to kernels"
    elif of_module and node.attr.startswith("_") and node.attr not in DUNDERS:
        yield f"uses {name}, which is private"
    elif closed := _closed_path(path):
        yield f"uses {name}: {closed} is closed to kernels"
    elif of_module and (foreign := foreign_module(path, MODULES)):
        yield f"uses {name}, which is the module {foreign}"
    elif not isinstance(node.ctx, ast.Load) and (of_module or not chain) and path[:2] != SETTINGS:
        yield f"replaces {name}"


def _call(node: ast.Call) -> Iterator[str]:
    if not isinstance(node.func, ast.Name) or node.func.id != "getattr":
        return
    name = node.args[1] if len(node.args) > 1 else None
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        yield "uses getattr with a name that is put together at run time"
    elif _is_closed(name.value) or name.value == WRAPS[1]:
        yield f"uses getattr for {name.value}"


def _chain(node: ast.AST) -> tuple[str, ...]:
    """The names of `a.b.c`; empty when something else than a name is at its beginning."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def _path(node: ast.AST, roots: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The dotted path of a name or attribute that begins at an import; empty for anything else."""
    chain = _chain(node) if isinstance(node, ast.Name | ast.Attribute) else ()
    return (*roots[chain[0]], *chain[1:]) if chain and chain[0] in roots else ()


def _roots(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """What stands for modules or what is in them, with its path: names bound by an import, or assigned from such."""
    roots: dict[str, tuple[str, ...]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                roots[alias.asname or parts[0]] = parts if alias.asname else parts[:1]
        elif isinstance(node, ast.ImportFrom):
            parts = tuple((node.module or "").split("."))
            roots |= {alias.asname or alias.name: (*parts, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        chain = _chain(node.value) if isinstance(node, ast.Assign) else ()
        if isinstance(node, ast.Assign) and chain and chain[0] in roots:
            path = (*roots[chain[0]], *chain[1:])
            roots |= {target.id: path for target in node.targets if isinstance(target, ast.Name)}
    return roots
