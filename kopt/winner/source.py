"""Take the source of a kernel's module apart, and leave out what was true of the seed kernel only."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass

from kopt.techniques.source import dead_kernels

END_OF_KERNEL = "# the kernel ends here; below are its reference, and what decides when it runs"
"""Line of an exported file after which nothing belongs to the kernel."""


@dataclass(frozen=True)
class ModuleText:
    """A module's text without its docstring and without the block of a script."""

    imports: str
    """`from __future__` imports, which must stay in front."""
    body: str
    names: frozenset[str]
    """Names that its statements define or import at the top level."""


def module_text(source: str, seed: str = "") -> ModuleText:
    """Return a module's text, without docstrings that another body had before.

    Args:
        source: of the module.
        seed: source of the seed kernel; a function with its docstring and another body loses the docstring.
    """
    tree, lines = ast.parse(source), _split(source)
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    stale = [node for node in (*_module_docstring(tree), *_stale(tree, seed)) if _has_its_lines(node, lines)]
    left_out = [*stale, *_script(tree), *future]
    removed = {line for node in left_out for line in _lines(node)}
    body = "\n".join(line for number, line in enumerate(lines, 1) if number not in removed).strip("\n")
    names = {name for node in tree.body if node not in left_out for name in _names(node)}
    return ModuleText("\n".join(ast.unparse(node) for node in future), body, frozenset(names))


def kernel_part(text: str) -> str:
    """Return the kernel's module in the text of an exported file; a text of any other kind as it is."""
    return text.partition(f"\n{END_OF_KERNEL}\n")[0]


def without_functions(source: str, names: frozenset[str]) -> str:
    """Return a module's text without its top-level functions of these names."""
    found = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name in names]
    removed = {line for node in found for line in _lines(node)}
    return "\n".join(line for number, line in enumerate(_split(source), 1) if number not in removed).strip("\n")


def has_atomics(source: str) -> bool:
    """Return whether a kernel adds, compares or exchanges by atomics, so that sums end in any order."""
    return any(isinstance(n, ast.Attribute) and n.attr.startswith("atomic_") for n in ast.walk(ast.parse(source)))


def is_autotuned(source: str) -> bool:
    """Return whether a kernel times configurations when it first meets a shape."""
    return any(isinstance(n, ast.Attribute) and n.attr == "autotune" for n in ast.walk(ast.parse(source)))


def autotuned(source: str) -> frozenset[str]:
    """Return the names of a module's kernels that an autotuner decorates."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return frozenset(
        function.name
        for function in functions
        if any("autotune" in ast.unparse(decorator).partition("(")[0] for decorator in function.decorator_list)
    )


def without_dead_kernels(source: str, launched: Collection[str] = ()) -> str:
    """Return a module's text without the kernels that never run (`kopt.techniques.source.dead_kernels`)."""
    dead = dead_kernels(ast.parse(source), launched)
    return without_functions(source, dead) if dead else source


def kernels(source: str) -> tuple[str, ...]:
    """Return the names of a module's Triton kernels, its jitted helper functions left out."""
    jitted = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and _is_jitted(n)]
    calls = [node.func for function in jitted for node in ast.walk(function) if isinstance(node, ast.Call)]
    called = {name.id for name in calls if isinstance(name, ast.Name)}
    return tuple(function.name for function in jitted if function.name not in called)


def _is_jitted(function: ast.FunctionDef) -> bool:
    names = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(name.rpartition(".")[2].startswith("jit") for name in names)


def _module_docstring(tree: ast.Module) -> list[ast.stmt]:
    return tree.body[:1] if ast.get_docstring(tree) is not None else []


def _script(tree: ast.Module) -> list[ast.stmt]:
    tests = [n for n in tree.body if isinstance(n, ast.If)]
    return [n for n in tests if ast.unparse(n.test) in ("__name__ == '__main__'", "'__main__' == __name__")]


def _stale(tree: ast.Module, seed: str) -> list[ast.stmt]:
    """Return the docstrings of functions that stand in the seed kernel with another body."""
    before = {n.name: n for n in ast.parse(seed).body if isinstance(n, ast.FunctionDef)}
    stale = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and len(node.body) > 1 and ast.get_docstring(node) is not None:
            old = before.get(node.name)
            same_words = old is not None and ast.get_docstring(old) == ast.get_docstring(node)
            if old is not None and same_words and ast.dump(old) != ast.dump(node):
                stale.append(node.body[0])
    return stale


def _split(source: str) -> list[str]:
    """Return the lines of a source, as Python counts them."""
    return source.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _has_its_lines(node: ast.stmt, lines: list[str]) -> bool:
    """Return whether a statement shares no line with another one."""
    before = lines[node.lineno - 1].encode()[: node.col_offset]
    after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :]
    return not before.strip() and (not after.strip() or after.strip().startswith(b"#"))


def _lines(node: ast.stmt) -> range:
    """Return the numbers of a statement's lines, decorators included."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return range(min([node.lineno, *(one.lineno for one in decorators)]), (node.end_lineno or node.lineno) + 1)


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def needed_arguments(source: str, entry: str) -> list[str]:
    """Name the parameters of the entry point that a caller must give, in order."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            positional = [*node.args.posonlyargs, *node.args.args]
            given = len(positional) - len(node.args.defaults)
            named = [
                one for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if not default
            ]
            return [one.arg for one in (*positional[:given], *named)]
    return []
