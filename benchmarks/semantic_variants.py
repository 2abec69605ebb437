"""Semantic variants of a kernel, which do something else: each must have a fingerprint of its own.

Each function takes the source of a module with jitted kernels and one entry point and returns another source, or None
where the kernel has nothing to change.
"""

from __future__ import annotations

import ast
import copy
import re

from kernel_parts import Rewrite, calls_of, entry_of, expression, first_launch, keyword_of, statements, text_of

from kopt.model.kernel import Kernel


def semantic_variants(source: str) -> dict[str, Kernel]:
    """Kernels by name of variant that must all have fingerprints of their own."""
    return {rewrite.__name__: Kernel(source=text) for rewrite in SEMANTIC if (text := rewrite(source)) is not None}


def other_warps(source: str) -> str | None:
    """Twice the warps."""
    tree = ast.parse(source)
    warps = [n for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "num_warps"]
    if not warps:
        return None
    warps[0].value = expression(f"({ast.unparse(warps[0].value)}) * 2")
    return text_of(tree)


def smaller_block(source: str) -> str | None:
    """Half the block, at the launch or in the first configuration."""
    tree = ast.parse(source)
    keyword = keyword_of(first_launch(tree)[2], "BLOCK")
    if keyword is not None:
        keyword.value = expression(f"({ast.unparse(keyword.value)}) // 2")
        return text_of(tree)
    found = re.search(r'"BLOCK\w*": (\d+)', source)
    return source.replace(found.group(), found.group().replace(found[1], str(int(found[1]) // 2))) if found else None


def _with_grid(source: str, change: str) -> str:
    tree = ast.parse(source)
    call = first_launch(tree)[2]
    assert isinstance(call.func, ast.Subscript)
    call.func.slice = expression(f"changed({ast.unparse(call.func.slice)})")
    helper = (
        f"def changed(g):\n    if callable(g):\n        return lambda meta: changed(g(meta))\n    return {change}\n"
    )
    return text_of(tree) + helper


def larger_grid(source: str) -> str:
    """One more block."""
    return _with_grid(source, "(g[0] + 1, *g[1:])")


def turned_grid(source: str) -> str:
    """The grid's first two dimensions exchanged."""
    return _with_grid(source, "((g[1] if len(g) > 1 else 1), g[0], *g[2:])")


def launched_twice(source: str) -> str:
    """The first launch once more."""
    tree = ast.parse(source)
    place, statement, _ = first_launch(tree)
    entry_of(tree).body.insert(place, copy.deepcopy(statement))
    return text_of(tree)


def _result(tree: ast.Module) -> str:
    last = entry_of(tree).body[-1]
    assert isinstance(last, ast.Return)
    assert last.value is not None
    return ast.unparse(last.value)


def filled_before(source: str) -> str:
    """The output is zeroed before the launch."""
    tree = ast.parse(source)
    entry_of(tree).body.insert(first_launch(tree)[0], statements(f"{_result(tree)}.zero_()")[0])
    return text_of(tree)


def filled_after(source: str) -> str:
    """The output is zeroed after the first launch."""
    tree = ast.parse(source)
    entry_of(tree).body.insert(first_launch(tree)[0] + 1, statements(f"{_result(tree)}.zero_()")[0])
    return text_of(tree)


def filled_with_one(source: str) -> str:
    """The output is filled with ones before the launch."""
    tree = ast.parse(source)
    entry_of(tree).body.insert(first_launch(tree)[0], statements(f"{_result(tree)}.fill_(1.0)")[0])
    return text_of(tree)


def _first_input(source: str, change: str) -> str:
    tree = ast.parse(source)
    name = entry_of(tree).args.args[0].arg
    entry_of(tree).body.insert(0, statements(f"{name} = {change.format(name)}")[0])
    return text_of(tree)


def input_copied(source: str) -> str:
    """The first input is copied first."""
    return _first_input(source, "{}.clone()")


def input_cast(source: str) -> str:
    """The first input goes through another dtype and back."""
    return _first_input(source, "{0}.to(torch.float16).to({0}.dtype)")


def result_cloned(source: str) -> str:
    """A copy of the output is returned."""
    tree = ast.parse(source)
    entry_of(tree).body[-1] = statements(f"def f():\n    return {_result(tree)}.clone()")[0].body[0]  # type: ignore[attr-defined]
    return text_of(tree)


def arguments_swapped(source: str) -> str:
    """The first two arguments of the launch exchanged."""
    tree = ast.parse(source)
    arguments = first_launch(tree)[2].args
    arguments[0], arguments[1] = arguments[1], arguments[0]
    return text_of(tree)


def mask_removed(source: str) -> str | None:
    """A load or store without its mask."""
    tree = ast.parse(source)
    masked = [call for call in calls_of(tree, "tl.load", "tl.store") if keyword_of(call, "mask")]
    if not masked:
        return None
    masked[-1].keywords = [item for item in masked[-1].keywords if item.arg not in ("mask", "other")]
    return text_of(tree)


def doubled(source: str) -> str:
    """Twice the result."""
    tree = ast.parse(source)
    store = calls_of(tree, "tl.store")[-1]
    store.args[1] = expression(f"({ast.unparse(store.args[1])}) * 2")
    return text_of(tree)


def neighbour_loaded(source: str) -> str:
    """A load from one element further on."""
    tree = ast.parse(source)
    load = calls_of(tree, "tl.load")[0]
    load.args[0] = expression(f"({ast.unparse(load.args[0])}) + 1")
    return text_of(tree)


def _option(source: str, name: str, value: object) -> str:
    tree = ast.parse(source)
    first_launch(tree)[2].keywords.append(ast.keyword(name, ast.Constant(value)))
    return text_of(tree)


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
