"""Leave out of a source what never runs: the block of a script, imports for type checkers, functions that nobody names.

A published kernel often comes with its own test (`if __name__ == "__main__":`) and its imports.  They are not judged.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from kopt.device.screen.names import Roots, paths

TYPE_CHECKING = ("typing", "TYPE_CHECKING")


def live_code(tree: ast.Module, entry: str, names: Roots) -> ast.Module:
    """Return the module without the statements that cannot run when the module is imported and `entry` is called.

    Left out are, at the top level, blocks under `if __name__ == "__main__":` and `if TYPE_CHECKING:`, and the bodies of
    functions without decorators whose names stand nowhere in the rest, not even in a text.
    """
    bound = [name for node in ast.walk(tree) for name in bound_names(node)]
    statements = list(_run_at_import(tree.body, names, bound))
    functions = [node for node in statements if isinstance(node, ast.FunctionDef) and not node.decorator_list]
    unnamed = {id(node): node for node in functions if node.name != entry}
    known: set[str] = set()
    left: list[ast.AST] = [node for node in statements if id(node) not in unnamed]
    left += [part for node in unnamed.values() for part in _evaluated_at_definition(node)]
    while left:
        known |= {word for node in left for word in _words(node)}
        left = [unnamed.pop(place) for place, node in list(unnamed.items()) if node.name in known]
    return ast.Module([_without_body(node) if id(node) in unnamed else node for node in statements], [])


def _without_body(node: ast.stmt) -> ast.stmt:
    """Return a function with what is evaluated when it is defined, its defaults and annotations."""
    assert isinstance(node, ast.FunctionDef)
    empty = ast.FunctionDef(node.name, node.args, [ast.copy_location(ast.Pass(), node)], [], node.returns)
    return ast.copy_location(empty, node)


def bound_names(node: ast.AST) -> tuple[str, ...]:
    """Return the names that a node itself binds, by whatever statement."""
    if isinstance(node, ast.Name):
        return () if isinstance(node.ctx, ast.Load) else (node.id,)
    if isinstance(node, ast.alias):
        return (node.asname or node.name.partition(".")[0],)
    if isinstance(node, ast.Global | ast.Nonlocal):
        return tuple(node.names)
    if isinstance(node, ast.keyword):
        return ()
    found = (getattr(node, field, None) for field in ("name", "arg", "rest"))
    return tuple(name for name in found if isinstance(name, str))


def _run_at_import(body: Iterable[ast.stmt], names: Roots, bound: list[str]) -> Iterator[ast.stmt]:
    """Yield the statements of a module's top level, with `else` in the place of a block that never runs."""
    for node in body:
        if isinstance(node, ast.If) and _never_true(node.test, names, bound):
            yield from _run_at_import(node.orelse, names, bound)
        else:
            yield node


def _never_true(test: ast.expr, names: Roots, bound: list[str]) -> bool:
    """Return whether a condition is `__name__ == "__main__"` or `TYPE_CHECKING`, with the names' usual meanings."""
    match test:
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]) | ast.Compare(
            ast.Constant("__main__"), [ast.Eq()], [ast.Name("__name__")]
        ):
            return "__name__" not in bound
        case ast.Name(name) | ast.Attribute(ast.Name(name)):
            return paths(test, names) == (TYPE_CHECKING,) and bound.count(name) == 1
    return False


def _evaluated_at_definition(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Yield what is evaluated when a function is defined: defaults and annotations."""
    yield function.args
    if function.returns is not None:
        yield function.returns


def _words(node: ast.AST) -> Iterator[str]:
    """Yield every name and text that stands in a node."""
    for part in ast.walk(node):
        for _, value in ast.iter_fields(part):
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (word for word in value if isinstance(word, str))
