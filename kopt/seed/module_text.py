"""Put a seed's parts together: one module with `kernel_function`, and a docstring that says what it is."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import count as count_from
from typing import Any  # leaves of an output, and a module of TorchInductor's

from torch.utils._pytree import tree_unflatten

from kopt.errors import SeedError
from kopt.model.problem import Problem
from kopt.seed import templates
from kopt.seed.graph import ReferenceGraph
from kopt.seed.helpers import helper_texts
from kopt.seed.host_text import HostText

ENTRY = "kernel_function"
TEMPLATES = {
    "convolution": "convolution", "depthwise_convolution": "depthwise_convolution",
    "convolution_transpose": "convolution_transpose", "max_pool": "pooling", "average_pool": "pooling",
    "attention": "attention", "product": "product", "top_k": "top_k", "sort": "sort",
}  # fmt: skip
"""Module of `kopt.seed.templates` by the name of an operator."""


def module_text(reference: ReferenceGraph, host: HostText, problem: Problem, helpers: Any) -> str:
    """Return the text of the seed's module."""
    kernels = [kernel.text() for kernel in host.kernels]
    used = helper_texts((name for kernel in host.kernels for name in kernel.helpers), helpers)
    whole = _templates(host.templates)
    imports = ["import torch", "import triton", "import triton.language as tl"]
    if any(kernel.libdevice for kernel in host.kernels) or any("libdevice." in text for text in (*used, *whole)):
        imports.append("from triton.language.extra import libdevice")
    parts = [f'"""{_docstring(reference, host, problem.name)}"""\n', "\n".join(imports)]
    text = "\n\n\n".join(["\n".join(parts), *used, *whole, *kernels, _entry(reference, host)]) + "\n"
    return without_names_of(problem.reference, text)


def without_names_of(reference: str, text: str) -> str:
    """Give functions of a seed other names where its reference has the same, so that both can stand in one file."""
    taken = {name for node in ast.parse(reference).body for name in _defined(node)}
    tree = ast.parse(text)
    own = {name for node in tree.body if isinstance(node, ast.FunctionDef) for name in _defined(node)} - {ENTRY}
    lines = text.splitlines()
    places = [
        (node.lineno, node.col_offset + len("def "), node.name)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name in own & taken
    ]
    for node in ast.walk(tree):
        called = getattr(node, "func", None) or (node.value if isinstance(node, ast.Subscript) else None)
        if isinstance(called, ast.Name) and called.id in own & taken:
            places.append((called.lineno, called.col_offset, called.id))
    for line, column, name in sorted(places, reverse=True):
        before, after = lines[line - 1][:column], lines[line - 1][column + len(name) :]
        lines[line - 1] = f"{before}{_free(name, own | taken)}{after}"
    return "\n".join(lines) + "\n"


def _free(name: str, taken: set[str]) -> str:
    return next(one for one in (f"{name}{'_' * count}of_seed" for count in count_from(1)) if one not in taken)


def _docstring(reference: ReferenceGraph, host: HostText, problem: str) -> str:
    made = len(host.kernels)
    count = {0: "no kernel", 1: "one kernel"}.get(made, f"{made} kernels")
    lines = [f"{problem}: {count} that TorchInductor wrote{_and_templates(host.templates)}, cleaned by kopt.", ""]
    sizes = sorted(set(reference.size_names.values()))
    lines.append(f"Sizes that may change: {', '.join(sizes)}." if sizes else "All sizes are constants.")
    lines.append("Strides are those of the problem's inputs.")
    return "\n".join(lines) + "\n"


def _and_templates(templates: Sequence[str]) -> str:
    return f", and kopt's templates for {', '.join(templates)}" if templates else ""


def _templates(names: Sequence[str]) -> list[str]:
    """Return the definitions of templates' modules and of those that they import from, each module once.

    Left out is what the templates' functions do not use.
    """
    wanted: dict[str, set[str]] = {}
    for name in names:
        _want(f"{templates.__name__}.{TEMPLATES[name]}", {name}, wanted)
    texts = []
    for module, functions in wanted.items():
        source = inspect.getsource(import_module(module))
        body = [node for node in ast.parse(source).body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
        used = _used(body, functions)
        texts += [ast.get_source_segment(source, node) or "" for node in used if not isinstance(node, ast.FunctionDef)]
        texts += [_function(source, node) for node in used if isinstance(node, ast.FunctionDef)]
    return texts


def _want(module: str, functions: Iterable[str], wanted: dict[str, set[str]]) -> None:
    """Note what is wanted of a module, after what it imports from other modules of templates."""
    for node in ast.parse(inspect.getsource(import_module(module))).body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{templates.__name__}."):
            _want(str(node.module), {alias.name for alias in node.names}, wanted)
    wanted.setdefault(module, set()).update(functions)


def _used(body: Sequence[ast.stmt], names: Iterable[str]) -> list[ast.stmt]:
    """Return the definitions of these names, and all that these need, in their order."""
    defined = {name: node for node in body for name in _defined(node)}
    reads = {
        name: {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} & defined.keys()
        for name, node in defined.items()
    }
    wanted = set(names) & defined.keys()
    while more := set().union(*(reads[name] for name in wanted)) - wanted:
        wanted |= more
    return [node for node in body if wanted.intersection(_defined(node))]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _function(source: str, node: ast.FunctionDef) -> str:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


def _entry(reference: ReferenceGraph, host: HostText) -> str:
    parameters = [*reference.inputs]
    for argument in reference.names:
        if not argument.is_input and argument.parameter not in parameters:
            read = any(argument.parameter in text for text in (*host.lines, *host.result))
            parameters += [argument.parameter] if read else []
    checks = [
        f"if {name} != {value}:\n    raise ValueError(f'{name} is {{{name}!r}}, but the kernel is for {value}')"
        for name, value in reference.fixed.items()
    ]
    body = "\n".join([*checks, *host.lines, f"return {_returned(reference, host.result)}"])
    return f"def kernel_function({', '.join(parameters)}):\n{textwrap.indent(body, '    ')}"


def _returned(reference: ReferenceGraph, results: Sequence[str]) -> str:
    """Write the output in the structure of the reference's."""
    waiting = iter(results)
    leaves = [_Text(next(waiting) if leaf is ... else repr(leaf)) for leaf in reference.plain]
    return _written(tree_unflatten(leaves, reference.structure))


class _Text(str):
    """An expression in a structure."""


def _written(value: Any) -> str:
    if isinstance(value, _Text):
        return str(value)
    if isinstance(value, tuple):
        inner = ", ".join(map(_written, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_written(item)}" for key, item in value.items()) + "}"
    if value is None:
        return "None"
    raise SeedError(f"the reference returns a {type(value).__name__}, which kopt cannot write")
