"""Variants of a kernel: cosmetic ones, which do the same, and semantic ones, which do not.

Each function takes the source of a module with jitted kernels and one entry point and returns another source.  They
work on the AST, so that they fit any kernel of the usual shape; one that does not fit returns None.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import tokenize
from collections.abc import Callable

from kopt.model.kernel import Kernel

Rewrite = Callable[[str], str | None]

ENTRY = "kernel_function"


def cosmetic_variants(source: str) -> dict[str, Kernel]:
    """Kernels by name of variant that must have the fingerprint of `source`."""
    variants = {rewrite.__name__: Kernel(source=text) for rewrite in COSMETIC if (text := rewrite(source)) is not None}
    renamed = re.sub(rf"\b{ENTRY}\b", "run_it", source)
    return {**variants, "entry_renamed": Kernel(source=renamed, entry="run_it"), "built_again": Kernel(source=source)}


def semantic_variants(source: str) -> dict[str, Kernel]:
    """Kernels by name of variant that must all have fingerprints of their own."""
    return {rewrite.__name__: Kernel(source=text) for rewrite in SEMANTIC if (text := rewrite(source)) is not None}


# --- parts of a module ------------------------------------------------------------------------------------------------


def _is_jitted(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(item) for item in node.decorator_list)


def _jitted(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef) and _is_jitted(node)]


def _entry(tree: ast.Module) -> ast.FunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == ENTRY)


def _launch(tree: ast.Module) -> tuple[int, ast.Expr, ast.Call]:
    """Place in the entry point, statement and call of the first launch."""
    for place, node in enumerate(_entry(tree).body):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Subscript)
        ):
            return place, node, node.value
    raise ValueError("no launch")


def _keyword(call: ast.Call, *names: str) -> ast.keyword | None:
    return next((item for item in call.keywords if item.arg and any(name in item.arg for name in names)), None)


def _loads(tree: ast.Module, *names: str) -> list[ast.Call]:
    return [
        node
        for function in _jitted(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _statements(text: str) -> list[ast.stmt]:
    return ast.parse(text).body


def _source(tree: ast.Module) -> str:
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


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
        if _is_jitted(node):
            return super().visit_FunctionDef(node)
        host = _Renamed(self.table)
        host.visit_Name = lambda name: name  # type: ignore[method-assign]
        host.visit_arg = lambda name: name  # type: ignore[method-assign]
        return host.visit_FunctionDef(node)


def _locals(function: ast.FunctionDef) -> set[str]:
    return {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


# --- cosmetic ---------------------------------------------------------------------------------------------------------


def kernel_renamed(source: str) -> str:
    """Other names of all jitted functions."""
    tree = ast.parse(source)
    return _source(_Renamed({node.name: f"zz_{node.name}_2" for node in _jitted(tree)}).visit(tree))


def arguments_renamed(source: str) -> str:
    """Other names of all parameters of jitted functions."""
    tree = ast.parse(source)
    names = {argument.arg for node in _jitted(tree) for argument in node.args.args}
    return _source(_NotInHost({name: f"Q_{name}" for name in names}).visit(tree))


def variables_renamed(source: str) -> str:
    """Other names of all local variables of jitted functions."""
    tree = ast.parse(source)
    for node in _jitted(tree):
        _Renamed({name: f"v_{name}" for name in _locals(node)}, everywhere=False).visit(node)
    return _source(tree)


def host_variables_renamed(source: str) -> str:
    """Other names of the entry point's variables."""
    tree = ast.parse(source)
    entry = _entry(tree)
    _Renamed({name: f"h_{name}" for name in _locals(entry)}, everywhere=False).visit(entry)
    return _source(tree)


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
    return _source(tree)


def reformatted(source: str) -> str:
    """As the AST is written out."""
    return _source(ast.parse(source))


def narrow_indentation(source: str) -> str:
    """Two spaces instead of four."""
    text = _source(ast.parse(source))
    return re.sub(r"^ +", lambda spaces: " " * (len(spaces.group()) // 2), text, flags=re.MULTILINE)


def functions_reordered(source: str) -> str:
    """The functions in the opposite order."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)] + functions[::-1]
    return _source(tree)


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
    return _source(tree)


COSMETIC: tuple[Rewrite, ...] = (
    kernel_renamed, arguments_renamed, variables_renamed, host_variables_renamed, comments_added, docstrings_added,
    reformatted, narrow_indentation, functions_reordered, dead_imports, dead_code, moved_down, imported_otherwise,
    keywords_reordered,
)  # fmt: skip


# --- semantic ---------------------------------------------------------------------------------------------------------


def other_warps(source: str) -> str | None:
    """Twice the warps."""
    tree = ast.parse(source)
    warps = [n for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "num_warps"]
    if not warps:
        return None
    warps[0].value = _expression(f"({ast.unparse(warps[0].value)}) * 2")
    return _source(tree)


def smaller_block(source: str) -> str | None:
    """Half the block, at the launch or in the first configuration."""
    tree = ast.parse(source)
    keyword = _keyword(_launch(tree)[2], "BLOCK")
    if keyword is not None:
        keyword.value = _expression(f"({ast.unparse(keyword.value)}) // 2")
        return _source(tree)
    found = re.search(r'"BLOCK\w*": (\d+)', source)
    return source.replace(found.group(), found.group().replace(found[1], str(int(found[1]) // 2))) if found else None


def _with_grid(source: str, change: str) -> str:
    tree = ast.parse(source)
    call = _launch(tree)[2]
    assert isinstance(call.func, ast.Subscript)
    call.func.slice = _expression(f"changed({ast.unparse(call.func.slice)})")
    helper = (
        f"def changed(g):\n    if callable(g):\n        return lambda meta: changed(g(meta))\n    return {change}\n"
    )
    return _source(tree) + helper


def larger_grid(source: str) -> str:
    """One more block."""
    return _with_grid(source, "(g[0] + 1, *g[1:])")


def turned_grid(source: str) -> str:
    """The grid's first two dimensions exchanged."""
    return _with_grid(source, "((g[1] if len(g) > 1 else 1), g[0], *g[2:])")


def launched_twice(source: str) -> str:
    """The first launch once more."""
    tree = ast.parse(source)
    place, statement, _ = _launch(tree)
    _entry(tree).body.insert(place, copy.deepcopy(statement))
    return _source(tree)


def _result(tree: ast.Module) -> str:
    last = _entry(tree).body[-1]
    assert isinstance(last, ast.Return)
    assert last.value is not None
    return ast.unparse(last.value)


def filled_before(source: str) -> str:
    """The output is zeroed before the launch."""
    tree = ast.parse(source)
    _entry(tree).body.insert(_launch(tree)[0], _statements(f"{_result(tree)}.zero_()")[0])
    return _source(tree)


def filled_after(source: str) -> str:
    """The output is zeroed after the first launch."""
    tree = ast.parse(source)
    _entry(tree).body.insert(_launch(tree)[0] + 1, _statements(f"{_result(tree)}.zero_()")[0])
    return _source(tree)


def filled_with_one(source: str) -> str:
    """The output is filled with ones before the launch."""
    tree = ast.parse(source)
    _entry(tree).body.insert(_launch(tree)[0], _statements(f"{_result(tree)}.fill_(1.0)")[0])
    return _source(tree)


def _first_input(source: str, change: str) -> str:
    tree = ast.parse(source)
    name = _entry(tree).args.args[0].arg
    _entry(tree).body.insert(0, _statements(f"{name} = {change.format(name)}")[0])
    return _source(tree)


def input_copied(source: str) -> str:
    """The first input is copied first."""
    return _first_input(source, "{}.clone()")


def input_cast(source: str) -> str:
    """The first input goes through another dtype and back."""
    return _first_input(source, "{0}.to(torch.float16).to({0}.dtype)")


def result_cloned(source: str) -> str:
    """A copy of the output is returned."""
    tree = ast.parse(source)
    _entry(tree).body[-1] = _statements(f"def f():\n    return {_result(tree)}.clone()")[0].body[0]  # type: ignore[attr-defined]
    return _source(tree)


def arguments_swapped(source: str) -> str:
    """The first two arguments of the launch exchanged."""
    tree = ast.parse(source)
    arguments = _launch(tree)[2].args
    arguments[0], arguments[1] = arguments[1], arguments[0]
    return _source(tree)


def mask_removed(source: str) -> str | None:
    """A load or store without its mask."""
    tree = ast.parse(source)
    masked = [call for call in _loads(tree, "tl.load", "tl.store") if _keyword(call, "mask")]
    if not masked:
        return None
    masked[-1].keywords = [item for item in masked[-1].keywords if item.arg not in ("mask", "other")]
    return _source(tree)


def doubled(source: str) -> str:
    """Twice the result."""
    tree = ast.parse(source)
    store = _loads(tree, "tl.store")[-1]
    store.args[1] = _expression(f"({ast.unparse(store.args[1])}) * 2")
    return _source(tree)


def neighbour_loaded(source: str) -> str:
    """A load from one element further on."""
    tree = ast.parse(source)
    load = _loads(tree, "tl.load")[0]
    load.args[0] = _expression(f"({ast.unparse(load.args[0])}) + 1")
    return _source(tree)


def _option(source: str, name: str, value: object) -> str:
    tree = ast.parse(source)
    _launch(tree)[2].keywords.append(ast.keyword(name, ast.Constant(value)))
    return _source(tree)


def fewer_registers(source: str) -> str | None:
    """A bound on registers at the launch."""
    return None if "autotune" in source else _option(source, "maxnreg", 128)


def no_fusion(source: str) -> str:
    """No fused multiply-add."""
    return _option(source, "enable_fp_fusion", False)


SEMANTIC: tuple[Rewrite, ...] = (
    other_warps, smaller_block, larger_grid, turned_grid, launched_twice, filled_before, filled_after, filled_with_one,
    input_copied, input_cast, result_cloned, arguments_swapped, mask_removed, doubled, neighbour_loaded,
    fewer_registers, no_fusion,
)  # fmt: skip
