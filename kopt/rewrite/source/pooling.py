"""Read a pooling kernel: flat outputs, a nest of loops over a window, and how elements of the window are combined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.divisibility import definitions, terms
from kopt.rewrite.source.module import Constant, Kernel, Launch, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.updates import initial, uses

MINUS, PLUS = "float('-inf')", "float('inf')"
COMBINATIONS = (
    ("tl.maximum(ACC_, X_)", "tl.maximum({acc}, {x})", MINUS),
    ("tl.maximum(X_, ACC_)", "tl.maximum({acc}, {x})", MINUS),
    ("tl.minimum(ACC_, X_)", "tl.minimum({acc}, {x})", PLUS),
    ("tl.minimum(X_, ACC_)", "tl.minimum({acc}, {x})", PLUS),
    ("tl.where((X_ > ACC_) | (X_ != X_), X_, ACC_)", "tl.where(({x} > {acc}) | ({x} != {x}), {x}, {acc})", MINUS),
    ("ACC_ + X_", "{acc} + {x}", "0.0"),
    ("X_ + ACC_", "{acc} + {x}", "0.0"),
)
"""Ways to combine an element with what was combined before: the pattern, the text, and what changes nothing."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """Flat outputs `program * BLOCK + tl.arange(0, BLOCK)`, and how a kernel takes them apart."""

    name: str
    value: cst.BaseExpression
    """The expression assigned to the name."""
    block: Constant
    program: str
    """The program's number, as text."""
    axis: int
    """Axis of the grid that counts the blocks."""
    element: cst.BaseExpression
    """That axis of the grid, `triton.cdiv(outputs, block)`."""
    count: str
    """The kernel's parameter that holds the number of outputs."""
    width: str
    """The kernel's parameter that holds the length of a line of outputs."""
    column: str
    """The name that holds the place in the line."""
    parts: Mapping[cst.CSTNode, str]
    """Divisions and remainders of the outputs, with their texts for lines."""
    bounds: tuple[cst.Comparison, ...]
    """Comparisons with the number of outputs."""


@dataclass(frozen=True, eq=False)
class Window:
    """A nest of loops over a window, the innermost along the contiguous axis of the input."""

    nest: cst.For
    inner: cst.For
    accumulator: str
    start: cst.SimpleStatementLine
    """The statement that gives the accumulator its first value."""
    place: str
    """The name that holds the place in the line of the input."""
    size: str
    """The parameter that holds the length of a line of the input."""
    stride: str
    padding: str
    dilation: str
    taps: str
    combination: str
    """Text that combines `{acc}` and `{x}`."""
    identity: str
    """What combines without effect."""


def pooling(module: TritonModule, kernel: Kernel, launch: Launch) -> tuple[Outputs, Window] | None:
    """Read a kernel as a pooling over windows; None where that cannot be shown."""
    if _too_odd(kernel):
        return None
    outputs = _outputs(module, kernel, launch)
    window = _window(kernel, outputs) if outputs is not None else None
    if outputs is None or window is None or not _kept_apart(kernel, outputs, window):
        return None
    return outputs, window


def _too_odd(kernel: Kernel) -> bool:
    odd = (cst.While, cst.Return, cst.Subscript, cst.Lambda, cst.IfExp)
    return any(isinstance(n, odd) for n in kernel.nodes) or bool(kernel.called("tl.sum", "tl.max", "tl.min", "tl.dot"))


def _single(kernel: Kernel) -> dict[str, cst.BaseExpression]:
    """Find the names that are assigned in one place, those in `a, b = x, y` too."""
    made = dict(definitions(kernel))
    stored = [n.value for a in kernel.nodes if isinstance(a, (cst.AssignTarget, cst.AugAssign, cst.For))
              for n in syntax.walk(a.target) if isinstance(n, cst.Name)]  # fmt: skip
    made |= {name: v for n in kernel.nodes if isinstance(n, cst.Assign) for name, v in _pairs(n) if v is not n.value}
    return {name: value for name, value in made.items() if stored.count(name) == 1}


def _display(node: cst.CSTNode) -> cst.BaseExpression:
    return node if isinstance(node, (cst.Tuple, cst.List)) else cst.Tuple([])


def _outputs(module: TritonModule, kernel: Kernel, launch: Launch) -> Outputs | None:
    """Find the flat outputs of a program; None where they are used in a way that lines of outputs do not allow."""
    made = _single(kernel)
    constants = {c.name: c for c in module.constants if c.kernel is kernel}
    for name, value in made.items():
        found = syntax.match("PROGRAM_ * BLOCK_ + tl.arange(0, BLOCK_)", value)
        block = constants.get(syntax.code(found["BLOCK_"])) if found else None
        if found is None or block is None:
            continue
        axes = analyse(kernel)[value].programs if value in analyse(kernel) else frozenset()
        if len(axes) != 1 or launch.grid is None or max(axes) >= len(launch.grid.elements):
            continue
        (axis,) = axes
        element = launch.grid.elements[axis]
        counted = syntax.match("triton.cdiv(N_, B_)", element)
        same = counted and (
            syntax.same(counted["B_"], launch.arguments[block.name].value)
            or syntax.integer(counted["B_"]) == block.value
        )
        taken = _taken_apart(kernel, name, made)
        if same and taken is not None and _only_use(kernel, block.name, value):
            count, width, column, parts, bounds = taken
            program = syntax.operand(found["PROGRAM_"])
            return Outputs(name, value, block, program, axis, element, count, width, column, parts, bounds)
    return None


def _only_use(kernel: Kernel, block: str, value: cst.BaseExpression) -> bool:
    """Return whether a block size occurs in the offsets and in fills alone."""
    fills = [syntax.argument(c, 0, "shape") for c in kernel.called("tl.full", "tl.zeros")]
    allowed = uses(value, block) + sum(uses(f.value, block) for f in fills if f is not None)
    return sum(uses(statement, block) for statement in kernel.body) == allowed


Taken = tuple[str, str, str, dict[cst.CSTNode, str], tuple[cst.Comparison, ...]]


def _taken_apart(kernel: Kernel, name: str, made: Mapping[str, cst.BaseExpression]) -> Taken | None:
    columns = {n: m for n, v in made.items() if (m := syntax.match(f"{name} % WIDTH_", v))}
    if len(columns) != 1:
        return None
    ((column, found),) = columns.items()
    width = syntax.code(found["WIDTH_"])
    parts: dict[cst.CSTNode, str] = {made[column]: "tl.arange(0, COLUMNS)[None, :]"}
    bounds, counts = [], set()
    for node in kernel.nodes:
        if isinstance(node, cst.Comparison) and (bound := syntax.match(f"{name} < COUNT_", node)):
            bounds.append(node)
            counts.add(syntax.code(bound["COUNT_"]))
        divided = syntax.match(f"{name} // BY_", node) if isinstance(node, cst.BinaryOperation) else None
        if divided is not None:
            factors = _factors(divided["BY_"])
            if width not in factors:
                return None
            factors.remove(width)
            by = " * ".join(factors)
            parts[node] = f"line // ({by})" if factors[1:] else f"line // {by}" if factors else "line"
    if len(counts) != 1 or kernel.parameter(width) is None or not (counts | {width}) <= _plain_numbers(kernel, made):
        return None
    return counts.pop(), width, column, parts, tuple(bounds)


def _plain_numbers(kernel: Kernel, made: Mapping[str, cst.BaseExpression]) -> set[str]:
    """Name the parameters, and the names that hold products of parameters."""
    parameters = {p.name for p in kernel.parameters}
    return parameters | {n for n, v in made.items() if set(_factors(v)) <= parameters}


def _factors(node: cst.CSTNode) -> list[str]:
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Multiply):
        return [*_factors(node.left), *_factors(node.right)]
    return [syntax.code(node)]


def _window(kernel: Kernel, outputs: Outputs) -> Window | None:
    """Find the nest of loops over a window; None where it does more than combine the window's elements."""
    nests = [s for s in kernel.body if isinstance(s, cst.For)]
    if len(nests) != 1:
        return None
    inner = [loop for loop in kernel.loops if not any(isinstance(n, cst.For) for n in syntax.walk(loop.body))]
    loads = [c for c in kernel.called("tl.load") if any(c is n for n in syntax.walk(nests[0]))]
    if len(inner) != 1 or len(loads) != 1 or not any(loads[0] is n for n in syntax.walk(inner[0].body)):
        return None
    taps = loop_count(inner[0])
    combined = _combined(inner[0], loads[0])
    if taps is None or combined is None or not all(loop_count(loop) for loop in kernel.loops):
        return None
    accumulator, text, identity = combined
    start = initial(kernel, accumulator, nests[0])
    place = _place(kernel, outputs, inner[0], loads[0])
    if start is None or place is None or not _starts(start, identity, outputs.block.name):
        return None
    return Window(nests[0], inner[0], accumulator, start, *place, taps, text, identity)


def loop_count(loop: cst.For) -> str | None:
    """Return the count of a loop `for i in range(COUNT)`, else None."""
    if isinstance(loop.iter, cst.Call) and syntax.called(loop.iter) in ("range", "tl.range", "tl.static_range"):
        plain = [a.value for a in loop.iter.args]
        if len(plain) == 1 and isinstance(plain[0], (cst.Name, cst.Integer)) and isinstance(loop.target, cst.Name):
            return syntax.code(plain[0])
    return None


def _combined(inner: cst.For, load: cst.Call) -> tuple[str, str, str] | None:
    """Read the last statement of the innermost loop: accumulator, text of the combination, what changes nothing."""
    value: cst.BaseExpression
    last = inner.body.body[-1]
    small = last.body[0] if isinstance(last, cst.SimpleStatementLine) and len(last.body) == 1 else None
    other = syntax.argument(load, 2, "other")
    if other is None or small is None:
        return None
    if isinstance(small, cst.AugAssign) and isinstance(small.operator, cst.AddAssign):
        name, value = syntax.code(small.target), cst.BinaryOperation(small.target, cst.Add(), small.value)
    elif (pair := syntax.assigned(small)) is not None:
        name, value = pair
    else:
        return None
    for pattern, text, identity in COMBINATIONS:
        found = syntax.match(pattern, value)
        if found and syntax.code(found["ACC_"]) == name and _element(found["X_"], inner, load) == 1:
            return (name, text, identity) if _same_number(other.value, identity) else None
    return None


def _element(node: cst.CSTNode, inner: cst.For, load: cst.Call) -> int:
    """Count the ways from an expression to a load, through casts and one name."""
    if isinstance(node, cst.Name):
        made = [p[1] for s in inner.body.body if (p := syntax.assigned(s)) and p[0] == node.value]
        return sum(_element(value, inner, load) for value in made if not isinstance(value, cst.Name))
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "to":
        return _element(node.func.value, inner, load)
    return int(node is load)


def _same_number(value: cst.BaseExpression, identity: str) -> bool:
    text = syntax.code(value).replace('"', "'")
    zeros = {"0.0", "0", "0."}
    infinite = {MINUS: {MINUS, f"-{PLUS}"}, PLUS: {PLUS}}
    return text in infinite.get(identity, zeros)


def _starts(start: cst.SimpleStatementLine, identity: str, block: str) -> bool:
    """Return whether an accumulator starts as a block of 32-bit floats that change nothing."""
    pair = syntax.assigned(start)
    call = pair[1] if pair is not None else None
    if not isinstance(call, cst.Call) or "tl.float32" not in syntax.code(call):
        return False
    shape = syntax.argument(call, 0, "shape")
    if shape is None or [syntax.code(e) for e in syntax.expressions(shape.value) or ()] != [block]:
        return False
    filled = syntax.argument(call, 1, "value")
    if syntax.called(call) == "tl.zeros":
        return identity == "0.0"
    return syntax.called(call) == "tl.full" and filled is not None and _same_number(filled.value, identity)


Place = tuple[str, str, str, str, str]
"""Name of the place in a line, length of the line, stride, padding and dilation, as texts."""


def _place(kernel: Kernel, outputs: Outputs, inner: cst.For, load: cst.Call) -> Place | None:
    """Read the place in the input's line, `column * STRIDE - PADDING + tap * DILATION`, and how a load uses it."""
    made = _single(kernel)
    made.pop(outputs.column, None)
    pointer, mask = syntax.argument(load, 0, "pointer"), syntax.argument(load, 1, "mask")
    numbers = {p.name for p in kernel.parameters if p.constexpr}
    if pointer is None or mask is None:
        return None
    conjuncts = list(_conjuncts(mask.value, made))
    for statement in inner.body.body:
        pair = syntax.assigned(statement)
        affine = _affine(terms(pair[1], made), outputs.column, syntax.code(inner.target), numbers) if pair else None
        if pair is None or affine is None or _added(pointer.value, pair[0], made) != 1:
            continue
        sizes = [syntax.code(m["SIZE_"]) for c in conjuncts if (m := syntax.match(f"{pair[0]} < SIZE_", c))]
        lows = [c for c in conjuncts if syntax.match(f"{pair[0]} >= 0", c) is not None]
        about = [c for c in conjuncts if pair[0] in syntax.names(c)]
        if len(sizes) == len(lows) == 1 and len(about) == 2 and kernel.parameter(sizes[0]) is not None:
            return pair[0], sizes[0], *affine
    return None


def _conjuncts(node: cst.BaseExpression, made: Mapping[str, cst.BaseExpression]) -> Iterable[cst.BaseExpression]:
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitAnd):
        yield from _conjuncts(node.left, made)
        yield from _conjuncts(node.right, made)
    elif isinstance(node, cst.Name) and node.value in made:
        yield from _conjuncts(made[node.value], made)
    else:
        yield node


def _affine(total: Mapping[str, int], column: str, tap: str, numbers: set[str]) -> tuple[str, str, str] | None:
    """Read a sum as `column * stride - padding + tap * dilation`: stride, padding, dilation; None for other sums."""
    stride = dilation = ""
    padding = "0"
    for text, count in total.items():
        factors = text.split(" * ")
        others = [f for f in factors if f not in (column, tap)]
        if len(factors) > 2 or len(others) > 1 or not all(o in numbers or o.isdigit() for o in others):
            return None
        by = others[0] if others else "1"
        if column in factors and count == 1 and not stride:
            stride = by
        elif tap in factors and count == 1 and not dilation:
            dilation = by
        elif len(factors) == 1 and count == -1 and padding == "0" and others:
            padding = by
        else:
            return None
    return (stride, padding, dilation) if stride and dilation else None


def _added(node: cst.BaseExpression, name: str, made: Mapping[str, cst.BaseExpression]) -> int:
    """Count a name as a plain summand; a large number where it occurs in another way."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.Add):
        return _added(node.left, name, made) + _added(node.right, name, made)
    if isinstance(node, cst.Name):
        if node.value == name:
            return 1
        return _added(made[node.value], name, {k: v for k, v in made.items() if k != node.value}) if (
            node.value in made) else 0  # fmt: skip
    return 0 if name not in _reached(node, made) else 100


def _reached(node: cst.CSTNode, made: Mapping[str, cst.BaseExpression]) -> set[str]:
    """Name everything that an expression depends on, through definitions."""
    found, waiting = set[str](), set(syntax.names(node))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting |= syntax.names(made[name]) if name in made else set()
    return found


def _kept_apart(kernel: Kernel, outputs: Outputs, window: Window) -> bool:
    """Return whether the nest depends on the place in a line of outputs only through the place in the input's line."""
    nest, inner = set(map(id, syntax.walk(window.nest))), set(map(id, syntax.walk(window.inner)))
    hidden = {id(n) for part in (*outputs.parts, *outputs.bounds) for n in syntax.walk(part)}
    assignments = [pair for n in kernel.nodes if isinstance(n, (cst.Assign, cst.AugAssign)) for pair in _pairs(n)]
    tainted = {outputs.name, outputs.column}
    for _ in range(len(assignments)):
        tainted |= {name for name, value in assignments if tainted & _visible(value, hidden) and id(value) not in inner}
    definition = next(s for s in window.inner.body.body if (p := syntax.assigned(s)) and p[0] == window.place)
    allowed = set(map(id, syntax.walk(definition))) | hidden
    outside = {n for s in kernel.body if s is not window.nest for n in syntax.names(s)}
    stored = {name for name, value in assignments if id(value) in nest} - {window.accumulator}
    stored |= {syntax.code(loop.target) for loop in kernel.loops}
    return (
        not stored & outside
        and all(_lines_only(n, outputs) for n in kernel.nodes if isinstance(n, (cst.Assign, cst.AugAssign)))
        and not any(
            isinstance(n, cst.Name) and n.value in tainted and id(n) not in allowed for n in syntax.walk(window.nest)
        )
        and sum(uses(s, window.accumulator) for s in [window.nest]) == uses(window.inner.body, window.accumulator)
        and not any(isinstance(n, cst.If) for n in syntax.walk(window.nest))
    )


def _pairs(statement: cst.Assign | cst.AugAssign) -> list[tuple[str, cst.BaseExpression]]:
    """List the names that a statement assigns, each with its value."""
    if isinstance(statement, cst.AugAssign):
        return [(name, statement.value) for name in syntax.names(statement.target)]
    pairs = []
    for target in statement.targets:
        names, values = (syntax.expressions(_display(n)) or [] for n in (target.target, statement.value))
        if len(names) == len(values) > 0:
            pairs += [(name, v) for n, v in zip(names, values, strict=True) for name in syntax.names(n)]
        else:
            pairs += [(name, statement.value) for name in syntax.names(target.target)]
    return pairs


def _visible(node: cst.CSTNode, hidden: set[int]) -> set[str]:
    return {n.value for n in syntax.walk(node) if isinstance(n, cst.Name) and id(n) not in hidden}


def _lines_only(statement: cst.Assign | cst.AugAssign, outputs: Outputs) -> bool:
    """Return whether a comparison with the number of outputs stands alone where a name is given to it."""
    inside = [b for b in outputs.bounds if any(b is n for n in syntax.walk(statement))]
    return not inside or statement.value is inside[0]
