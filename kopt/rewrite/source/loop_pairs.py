"""Read two loops over the same row: what each accumulates, and what the second takes from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.statements import is_simple, names_read, names_stored, read_before_written
from kopt.rewrite.source.updates import initial, uses

HINTS = frozenset({"eviction_policy", "cache_modifier"})
INDUCTORS = {
    "maximum": "def maximum(a, b): mask = a > b if is_floating(a): mask |= a != a return tl.where(mask, a, b)",
    "max2": "def max2(a, dim): return tl.reduce(a, dim, maximum)",
}
"""TorchInductor's functions, each on one line."""


@dataclass(frozen=True, eq=False)
class Update:
    """What a loop does to the one name that it carries: `name = name + value`, or the maximum of both."""

    name: str
    value: cst.BaseExpression
    """What is added, or compared with the name."""
    old: cst.Name
    """The name where it is read, to be added to or compared with."""
    statement: cst.SimpleStatementLine
    """The statement that adds or compares."""
    last: cst.SimpleStatementLine
    """The statement that assigns the name; the same, or one that keeps the name outside of a mask."""
    mask: str
    """Where the name changes, written out; empty where it changes everywhere."""
    adds: bool


@dataclass(frozen=True, eq=False)
class Pair:
    """Two loops over the same range, each of which carries one name."""

    first: cst.For
    second: cst.For
    updates: tuple[Update, Update]
    start: cst.SimpleStatementLine
    """The statement that gives the second loop's name its first value."""
    between: tuple[cst.BaseStatement, ...]
    after: tuple[cst.BaseStatement, ...]

    @property
    def lines(self) -> tuple[Sequence[cst.SimpleStatementLine], Sequence[cst.SimpleStatementLine]]:
        """Statements of both loops."""
        return _lines(self.first), _lines(self.second)

    @property
    def made(self) -> tuple[dict[str, cst.BaseExpression], dict[str, cst.BaseExpression]]:
        """Values of the names that each loop assigns, but for the one that it carries."""
        first, second = (
            {n: v for n, v in locals_of(lines).items() if n != update.name}
            for lines, update in zip(self.lines, self.updates, strict=True)
        )
        return first, second


def pairs(module: TritonModule, kernel: Kernel) -> list[Pair]:
    """Find the loops of a kernel that follow one another over the same range, and only load and accumulate."""
    found = []
    loops = [s for s in kernel.body if isinstance(s, cst.For)]
    for first, second in pairwise(loops):
        pair = _pair(module, kernel, first, second)
        if pair is not None:
            found.append(pair)
    return found


def _pair(module: TritonModule, kernel: Kernel, first: cst.For, second: cst.For) -> Pair | None:
    body = list(kernel.body)
    between = body[body.index(first) + 1 : body.index(second)]
    after = body[body.index(second) + 1 :]
    if _ranged(first) is None or _ranged(first) != _ranged(second) or not all(is_simple(s) for s in between):
        return None
    if any(isinstance(n, cst.Call) and syntax.called(n) == "tl.store" for s in (*between, first, second)
           for n in syntax.walk(s)):  # fmt: skip
        return None
    updates = _update(module, kernel, first), _update(module, kernel, second)
    if updates[0] is None or updates[1] is None or updates[0].name == updates[1].name:
        return None
    if {u.name for u in updates if u} & {n for s in after for n in names_stored(s)}:
        return None
    start = initial(kernel, updates[1].name, second)
    if initial(kernel, updates[0].name, first) is None or start is None:
        return None
    local = {n for loop in (first, second) for line in _lines(loop) for n in names_stored(line)}
    local = (local | {syntax.code(first.target)}) - {u.name for u in updates if u}
    others = [s for s in body if s not in (first, second)]
    written = {n for s in between for n in names_stored(s)}
    if any(local & read_before_written(s) for s in others) or local & written:
        return None
    if any(uses(s, updates[1].name) for s in body[: body.index(second)] if s is not start):
        return None
    return Pair(
        first, second, (updates[0], updates[1]), start, tuple(s for s in between if s is not start), tuple(after)
    )


def _lines(loop: cst.For) -> list[cst.SimpleStatementLine]:
    return [s for s in loop.body.body if isinstance(s, cst.SimpleStatementLine)]


def _ranged(loop: cst.For) -> tuple[str, ...] | None:
    """Return the variable and the bounds of a loop `for start in range(0, size, BLOCK)`."""
    if not isinstance(loop.iter, cst.Call) or syntax.called(loop.iter) not in ("range", "tl.range"):
        return None
    plain = tuple(syntax.code(a.value) for a in loop.iter.args if a.keyword is None)
    return (syntax.code(loop.target), *plain) if len(plain) == 3 and plain[0] == "0" else None


def _update(module: TritonModule, kernel: Kernel, loop: cst.For) -> Update | None:
    """Read what a loop carries; None where it carries more than one name, or in another way."""
    lines = _lines(loop)
    if len(lines) != len(loop.body.body) or not all(is_simple(s) for s in lines):
        return None
    stored = [n for line in lines for n in names_stored(line)]
    carried, seen = set[str](), set[str]()
    for line in lines:
        carried |= (names_read(line) & set(stored)) - seen
        seen |= names_stored(line)
    if len(carried) != 1 or len(set(stored)) != len(stored):
        return None
    (name,) = carried
    last = next(line for line in lines if name in names_stored(line))
    values = locals_of(lines)
    made = {n: v for n, v in values.items() if n != name}
    small = last.body[0]
    if isinstance(small, cst.AugAssign):
        adds = isinstance(small.operator, cst.AddAssign) and isinstance(small.target, cst.Name)
        found = Update(name, small.value, cst.Name(name), last, last, "", adds=True) if adds else None
        return found if uses(loop.body, name) == 1 else None
    value, mask, statement = values[name], "", last
    masked = syntax.match(f"tl.where(MASK_, NEXT_, {name})", value)
    if masked is not None and isinstance(masked["NEXT_"], cst.BaseExpression):
        value, mask = masked["NEXT_"], written_out(masked["MASK_"], made)
        if isinstance(value, cst.Name) and value.value in made:
            temporary = value.value
            statement, value = next(x for x in lines if temporary in names_stored(x)), made[temporary]
            if uses(loop.body, temporary) != 2:
                return None
    found = _accumulation(module, name, value, statement, last, mask)
    return found if found is not None and uses(loop.body, name) == (3 if masked is not None else 2) else None


def _accumulation(
    module: TritonModule, name: str, value: cst.BaseExpression, statement: cst.SimpleStatementLine,
    last: cst.SimpleStatementLine, mask: str,
) -> Update | None:  # fmt: skip
    compared = ["tl.maximum"] + (["maximum"] if is_inductors(module, "maximum") else [])
    patterns = [(f"{name} + VALUE_", True), (f"VALUE_ + {name}", True)]
    patterns += [(text, False) for f in compared for text in (f"{f}({name}, VALUE_)", f"{f}(VALUE_, {name})")]
    for pattern, adds in patterns:
        found = syntax.match(pattern, value)
        term = found["VALUE_"] if found is not None else None
        if isinstance(term, cst.BaseExpression) and not uses(term, name):
            old = next(n for n in syntax.walk(value) if isinstance(n, cst.Name) and n.value == name)
            return Update(name, term, old, statement, last, mask, adds)
    return None


def is_inductors(module: TritonModule, name: str) -> bool:
    """Return whether a function of the module is TorchInductor's of this name."""
    made = [s for s in module.tree.body if isinstance(s, cst.FunctionDef) and s.name.value == name]
    return len(made) == 1 and " ".join(syntax.code(made[0].with_changes(decorators=[])).split()) == INDUCTORS[name]


def locals_of(lines: Sequence[cst.SimpleStatementLine]) -> dict[str, cst.BaseExpression]:
    """Map the names that statements assign to their values."""
    return dict(pair for line in lines if (pair := syntax.assigned(line)))


def written_out(node: cst.CSTNode, made: Mapping[str, cst.BaseExpression], *, exact: bool = False) -> str:
    """Write an expression without the names that a loop assigns, and without what says how its loads are cached.

    Casts of loads to float32, and their broadcasts, change no value and are left out, unless the type must be exact.
    """
    if isinstance(node, cst.Name):
        value = made.get(node.value)
        return written_out(value, made, exact=exact) if value is not None else node.value
    if isinstance(node, cst.Call):
        inner = loaded(node, made)
        if inner is not None and inner is not node and not exact:
            return written_out(inner, made)
        args = [a for a in node.args if a.keyword is None or a.keyword.value not in HINTS]
        if syntax.called(node) == "tl.load":
            places = [syntax.argument(node, place, name) for place, name in enumerate(("pointer", "mask", "other"))]
            texts = [written_out(a.value, made, exact=exact) if a else "" for a in places]
            rest = [a for a in args if a not in places]
            return f"tl.load({', '.join([*texts, *(syntax.code(a) for a in rest)])})"
        texts = [(f"{a.keyword.value}=" if a.keyword else "") + written_out(a.value, made, exact=exact) for a in args]
        return f"{written_out(node.func, {})}({', '.join(texts)})"
    if isinstance(node, cst.Attribute):
        return f"{written_out(node.value, made, exact=exact)}.{node.attr.value}"
    below = syntax.children(node)
    if not below:
        return syntax.code(node)
    return f"{type(node).__name__}({', '.join(written_out(child, made, exact=exact) for child in below)})"


def loaded(node: cst.CSTNode, made: Mapping[str, cst.BaseExpression]) -> cst.Call | None:
    """Return the load whose elements an expression has, through names, casts to float32 and broadcasts."""
    while not (isinstance(node, cst.Call) and syntax.called(node) == "tl.load"):
        if isinstance(node, cst.Name) and node.value in made:
            node = made[node.value]
        elif isinstance(node, cst.Call) and (inner := plain(node)) is not node:
            node = inner
        else:
            return None
    return node


def plain(node: cst.BaseExpression) -> cst.BaseExpression:
    """Return an expression without a cast to float32 or a broadcast around it."""
    if isinstance(node, cst.Call):
        if syntax.called(node) == "tl.broadcast_to" and node.args:
            return node.args[0].value
        cast = isinstance(node.func, cst.Attribute) and node.func.attr.value == "to" and len(node.args) == 1
        if cast and isinstance(node.func, cst.Attribute) and syntax.code(node.args[0].value) == "tl.float32":
            return node.func.value
    return node


def as_float32(node: cst.BaseExpression) -> str:
    """Write an expression as a number of 32 bits."""
    text = syntax.operand(node)
    return text if text.endswith(".to(tl.float32)") else f"{text}.to(tl.float32)"


def joined_lines(pair: Pair, texts: Sequence[str]) -> list[str]:
    """Write the second loop's statements to stand behind the first loop's: what is loaded already is not loaded again.

    Args:
        pair: the loops.
        texts: the second loop's statements as they should be written, one for each.
    """
    first, second = pair.made
    known = {written_out(value, first, exact=True): name for name, value in reversed(first.items())}
    overwritten, found = set[str](), list[str]()
    for line, text in zip(pair.lines[1], texts, strict=True):
        made = syntax.assigned(line)
        held = known.get(written_out(made[1], second, exact=True)) if made is not None else None
        if made is None or held is None or held in overwritten or made[0] == pair.updates[1].name:
            found.append(text)
        elif held != made[0]:
            found.append(f"{made[0]} = {held}")
        overwritten |= {made[0]} if made is not None and held != made[0] else set()
    return found
