"""Cosmetic variants of a kernel, which do the same: they must share its fingerprint.

Each function takes the source of a module with jitted kernels and one entry point and returns another source.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

from kernel_parts import ENTRY, Rewrite, entry_of, is_jitted, jitted, text_of

from kopt.model.kernel import Kernel


def cosmetic_variants(source: str) -> dict[str, Kernel]:
    """Kernels by name of variant that must have the fingerprint of `source`."""
    variants = {rewrite.__name__: Kernel(source=text) for rewrite in COSMETIC if (text := rewrite(source)) is not None}
    renamed = re.sub(rf"\b{ENTRY}\b", "run_it", source)
    return {**variants, "entry_renamed": Kernel(source=renamed, entry="run_it"), "built_again": Kernel(source=source)}


class _Renamed(ast.NodeTransformer):
    """Names, arguments, keywords and strings (names in configurations) by a table."""

    def __init__(self, table: dict[str, str], everywhere: bool = True) -> None:
        self.table, self.everywhere = table, everywhere

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """A variable."""
        return ast.copy_location(ast.Name(self.table.get(node.id, node.id), node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """A parameter; its annotation stays."""
        node.arg = self.table.get(node.arg, node.arg)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        """A keyword argument."""
        self.generic_visit(node)
        if self.everywhere and node.arg:
            node.arg = self.table.get(node.arg, node.arg)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """A function."""
        self.generic_visit(node)
        node.name = self.table.get(node.name, node.name)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """A name inside a string."""
        if self.everywhere and isinstance(node.value, str):
            return ast.copy_location(ast.Constant(self.table.get(node.value, node.value)), node)
        return node


class _NotInHost(_Renamed):
    """Renames in jitted functions, and keywords and strings elsewhere."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Variables of host functions keep their names."""
        if is_jitted(node):
            return super().visit_FunctionDef(node)
        host = _Renamed(self.table)
        host.visit_Name = lambda name: name  # type: ignore[method-assign]
        host.visit_arg = lambda name: name  # type: ignore[method-assign]
        return host.visit_FunctionDef(node)


def _locals(function: ast.FunctionDef) -> set[str]:
    return {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def kernel_renamed(source: str) -> str:
    """Other names of all jitted functions."""
    tree = ast.parse(source)
    return text_of(_Renamed({node.name: f"zz_{node.name}_2" for node in jitted(tree)}).visit(tree))


def arguments_renamed(source: str) -> str:
    """Other names of all parameters of jitted functions."""
    tree = ast.parse(source)
    names = {argument.arg for node in jitted(tree) for argument in node.args.args}
    return text_of(_NotInHost({name: f"Q_{name}" for name in names}).visit(tree))


def variables_renamed(source: str) -> str:
    """Other names of all local variables of jitted functions."""
    tree = ast.parse(source)
    for node in jitted(tree):
        _Renamed({name: f"v_{name}" for name in _locals(node)}, everywhere=False).visit(node)
    return text_of(tree)


def host_variables_renamed(source: str) -> str:
    """Other names of the entry point's variables."""
    tree = ast.parse(source)
    entry = entry_of(tree)
    _Renamed({name: f"h_{name}" for name in _locals(entry)}, everywhere=False).visit(entry)
    return text_of(tree)


def comments_added(source: str) -> str:
    """A comment behind every logical line."""
    ends = {t.start[0] for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.NEWLINE}
    lines = source.splitlines()
    return "\n".join(f"{line}  # a remark" if n in ends else line for n, line in enumerate(lines, 1)) + "\n"


def docstrings_added(source: str) -> str:
    """A docstring in every function and the module."""
    tree = ast.parse(source)
    for node in [tree, *(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))]:
        node.body.insert(0, ast.Expr(ast.Constant("Some words.\n\nMore words.\n")))
    return text_of(tree)


def reformatted(source: str) -> str:
    """As the AST is written out."""
    return text_of(ast.parse(source))


def narrow_indentation(source: str) -> str:
    """Two spaces instead of four."""
    text = text_of(ast.parse(source))
    return re.sub(r"^ +", lambda spaces: " " * (len(spaces.group()) // 2), text, flags=re.MULTILINE)


def functions_reordered(source: str) -> str:
    """The functions in the opposite order."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)] + functions[::-1]
    return text_of(tree)


def dead_imports(source: str) -> str:
    """Imports that nothing uses."""
    return source.replace("import torch\n", "import enum\nimport torch\nfrom collections import deque\n", 1)


def dead_code(source: str) -> str:
    """A kernel, a function and a constant that nothing uses."""
    return source + (
        "\nUNUSED = 12345\n\n@triton.jit\ndef unused_kernel(p, n):\n    tl.store(p, n)\n\n"
        "def unused(x):\n    return x + UNUSED\n"
    )


def moved_down(source: str) -> str:
    """Everything on other lines."""
    return '"""Other words."""\n' + "\n" * 40 + source


def imported_otherwise(source: str) -> str:
    """Another way to import the language."""
    return source.replace("import triton.language as tl", "from triton import language as tl")


def keywords_reordered(source: str) -> str:
    """Keyword arguments of the launches in the opposite order."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
            node.keywords.reverse()
    return text_of(tree)


COSMETIC: tuple[Rewrite, ...] = (
    kernel_renamed, arguments_renamed, variables_renamed, host_variables_renamed, comments_added, docstrings_added,
    reformatted, narrow_indentation, functions_reordered, dead_imports, dead_code, moved_down, imported_otherwise,
    keywords_reordered,
)  # fmt: skip
