"""Keep values in registers that the program has loaded or stored itself, where a kernel loads them again.

TorchInductor's kernels store an intermediate row into a buffer, and load it in the next loop.  Once one tile takes the
whole row (`whole_row`), the load finds what the program has stored at the same addresses.  The loops become straight
code in a kernel for rows that fit into one tile; longer rows go to the kernel as it was.  A store to a buffer that
nothing reads any more disappears with the buffer.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import without_accesses
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.host import Scratch, scratch
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, parse, unused
from kopt.rewrite.source.shapes import Shape, analyse, broadcast
from kopt.rewrite.source.straight import Rows, whole_rows
from kopt.rewrite.source.values import Reload, Values, bases, escaped
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or kernel.autotuned or not launch.call.args:
            continue
        if reloads(module, kernel, launch):
            sites.append(Site(partial(_keep, module, kernel.name), 1.0))
            continue
        rows = whole_rows(kernel, launch) if _reads_behind_stores(kernel) else None
        if rows is not None and rows.single is not None and launch.grid is not None:
            source = straightened(module, kernel, launch, rows)
            after, name = parse(source or ""), _straight_name(module, kernel)
            made = next((k for k in after.kernels if k.name == name), None) if after is not None else None
            again = after.only_launch(made) if after is not None and made is not None else None
            if after is not None and made is not None and again is not None and reloads(after, made, again):
                sites.append(Site(partial(_keep, after, name), 1.0))
    return sites


def _reads_behind_stores(kernel: Kernel) -> bool:
    """Return whether a load stands behind a store."""
    names = [syntax.called(call) for call in kernel.called("tl.load", "tl.store")]
    return "tl.store" in names and "tl.load" in names[names.index("tl.store") :]


def private(module: TritonModule, kernel: Kernel, launch: Launch) -> dict[str, Scratch]:
    """Find the parameters whose tensors the launching function allocates, and which no other parameter reaches."""
    found = {p.name: scratch(module, launch, p.name) for p in kernel.parameters if p.name in launch.arguments}
    return {name: made for name, made in found.items() if made is not None}


def reloads(module: TritonModule, kernel: Kernel, launch: Launch) -> list[Reload]:
    """Find the loads of a kernel whose values the program holds, and of which no compiler can know that."""
    own = private(module, kernel, launch)
    values = Values(kernel, frozenset(own)).read()
    away = escaped(values)
    found = []
    for reload in values.reloads:
        known = reload.base and reload.base not in away and reload.behind_store
        if known and (reload.stored is None or _kept_text(kernel, launch, own, reload) is not None):
            found.append(reload)
    return found


def _kept_text(kernel: Kernel, launch: Launch, own: dict[str, Scratch], reload: Reload) -> str | None:
    """Write what a load would find that reads what the program has stored; None where its shape is not known."""
    assert reload.stored is not None
    pointer, mask = syntax.argument(reload.call, 0, "pointer"), syntax.argument(reload.call, 1, "mask")
    other = syntax.argument(reload.call, 2, "other")
    dtype = own[reload.base].dtype(launch) or f"{reload.base}.dtype.element_ty"
    shape = _shape(kernel, pointer.value) if pointer else None
    if shape is None:
        return None
    text, made = f"{syntax.operand(reload.stored.value)}.to({dtype})", _shape(kernel, reload.stored.value)
    if mask is not None:
        rest = syntax.code(other.value) if other else "0"
        text = f"tl.where({syntax.code(mask.value)}, {text}, {rest}).to({dtype})"
        made = broadcast(made, _shape(kernel, mask.value))
    return text if made == shape or not shape else f"tl.broadcast_to({text}, [{', '.join(shape)}])"


def _shape(kernel: Kernel, node: cst.CSTNode) -> Shape:
    known = analyse(kernel).get(node)
    return known.shape if known is not None else None


def _straight_name(module: TritonModule, kernel: Kernel) -> str:
    return unused(f"{kernel.name}_kept", syntax.names(module.tree))


def straightened(module: TritonModule, kernel: Kernel, launch: Launch, rows: Rows) -> str | None:
    """Write the module with a second kernel, straight code for rows that fit into one tile."""
    assert rows.single is not None
    assert launch.grid is not None
    edits = module.edits()
    name = _straight_name(module, kernel)
    lines = [f"{variable} = 0" for variable in rows.variables] + [
        edits.moved([line], {}) for line, _ in rows.statements
    ]
    parameters = ", ".join(syntax.code(p.node).rstrip(", \n") for p in kernel.parameters)
    text = f"@triton.jit\ndef {name}({parameters}):\n{textwrap.indent(chr(10).join(lines), '    ')}\n\n\n"
    edits.statements_before(kernel.node.decorators[0], text)
    passed = []
    for argument in launch.call.args:
        whole: dict[cst.CSTNode, str] = {rows.single: syntax.code(rows.single.body)}
        passed.append(edits.text_of(argument, whole).rstrip(", \n"))
    grid = syntax.code(launch.grid.display)
    grid = f"lambda {launch.grid.meta}: {grid}" if launch.grid.meta else grid
    call = f"{name}[{grid}]({', '.join(passed)})"
    old = edits.moved([launch.statement], {rows.single: syntax.code(rows.single.orelse)})
    edits.replace_statement(
        launch.statement,
        f"if {rows.condition}:\n{textwrap.indent(call, '    ')}\nelse:\n{textwrap.indent(old, '    ')}",
    )
    return edits.text()


def _keep(module: TritonModule, name: str, rng: Random) -> Change | None:
    return keep(module, name)


def keep(module: TritonModule, name: str) -> Change | None:
    """Replace the loads of a kernel by the values that it holds, and drop the buffers that nothing reads then."""
    counted, forwarded = 0, set[str]()
    for _ in range(8):
        kernel, launch = _found(module, name)
        found = reloads(module, kernel, launch) if kernel is not None and launch is not None else []
        if kernel is None or launch is None or not found:
            break
        edits = module.edits()
        own = private(module, kernel, launch)
        done = set[int]()
        for reload in found:
            if done & {id(n) for n in syntax.walk(reload.node)}:
                continue
            done |= {id(n) for n in syntax.walk(reload.node)}
            edits.replace(reload.node, reload.holder or _kept_text(kernel, launch, own, reload) or "")
            forwarded |= {own[reload.base].name} if reload.stored is not None else set()
            counted += 1
        after = parse(edits.text() or "")
        if after is None:
            return None
        module = after
    dropped = list[str]()
    for _ in range(8):
        kernel, launch = _found(module, name)
        after = _without_buffer(module, kernel, launch, dropped) if kernel is not None and launch is not None else None
        if after is None:
            break
        module = after
    what = f"; {', '.join(dropped)} is no longer stored" if dropped else ""
    loads = "1 load" if counted == 1 else f"{counted} loads"
    return Change(module.source, f"{loads} of {name} kept in registers, as the program has read or stored the "
                  f"same elements before{what}") if counted else None  # fmt: skip


def _found(module: TritonModule, name: str) -> tuple[Kernel | None, Launch | None]:
    kernel = next((k for k in module.kernels if k.name == name), None)
    return kernel, module.only_launch(kernel) if kernel is not None else None


def _without_buffer(module: TritonModule, kernel: Kernel, launch: Launch, dropped: list[str]) -> TritonModule | None:
    """Drop a store with its buffer, if nothing but the store uses the buffer where this kernel is launched."""
    values = Values(kernel, frozenset(private(module, kernel, launch))).read()
    read, away = bases(values, ("tl.load",)) | {r.base for r in values.reloads}, escaped(values)
    for parameter, made in private(module, kernel, launch).items():
        stores = [a.call for a in values.accesses if a.base == parameter]
        statements = _statements(kernel, stores)
        if parameter in read | away or not stores or statements is None:
            continue
        if not _only_types(kernel, parameter, values, stores):
            continue
        edits = module.edits()
        if not _forget_tensor(edits, made, launch):
            continue
        for statement in statements:
            edits.remove_statement(statement)
        kept = [p for p in kernel.parameters if p.name != parameter]
        edits.replace_between(kernel.parameters[0].node, kernel.parameters[-1].last,
                              ", ".join(syntax.code(p.node).rstrip(", \n") for p in kept))  # fmt: skip
        arguments = [a for a in launch.call.args if a is not launch.arguments[parameter]]
        edits.replace_between(launch.call.args[0], launch.call.args[-1],
                              ", ".join(syntax.code(a).rstrip(", \n") for a in arguments))  # fmt: skip
        after = parse(edits.text() or "")
        if after is not None:
            dropped.append(made.name)
            return after
    return None


def _statements(kernel: Kernel, calls: Sequence[cst.Call]) -> list[cst.CSTNode] | None:
    """Find the statements that are these stores; None where one is the only statement of a block."""
    lines = []
    for call in calls:
        line = next((n for n in kernel.nodes if isinstance(n, cst.SimpleStatementLine) and len(n.body) == 1
                     and isinstance(n.body[0], cst.Expr) and n.body[0].value is call), None)  # fmt: skip
        if line is None:
            return None
        lines.append(line)
    blocks = [kernel.body] + [n.body for n in kernel.nodes if isinstance(n, cst.IndentedBlock)]
    emptied = any(all(any(s is line for line in lines) for s in block) for block in blocks)
    return None if emptied else list(lines)


def _only_types(kernel: Kernel, parameter: str, values: Values, stores: Sequence[cst.Call]) -> bool:
    """Return whether a kernel mentions a parameter in the stores alone."""
    inside = {id(n) for call in stores for n in syntax.walk(call)}
    return all(id(n) in inside for n in kernel.nodes if isinstance(n, cst.Name) and n.value == parameter)


def _forget_tensor(edits: Edits, made: Scratch, launch: Launch) -> bool:
    """Remove a tensor from the launching function, or move its allocation into the branch that still needs it."""
    nodes = syntax.walk(launch.function.body)
    deleted = [n for n in nodes if isinstance(n, cst.SimpleStatementLine) and len(n.body) == 1
               and isinstance(n.body[0], cst.Del) and syntax.code(n.body[0].target) == made.name]  # fmt: skip
    gone = {id(n) for line in deleted for n in syntax.walk(line)}
    needed = [n for n in made.others if id(n) not in gone]
    branch = next((n for n in nodes if isinstance(n, cst.If) and launch.statement in list(n.body.body)), None)
    other = branch.orelse if branch is not None and isinstance(branch.orelse, cst.Else) else None
    inside = {id(n) for n in syntax.walk(other)} if other is not None else set()
    if not all(id(n) in inside for n in needed):
        return False
    if made.described:
        return True
    for line in (*deleted, made.allocation):
        edits.remove_statement(line)
    if needed and other is not None:
        edits.statements_before(other.body.body[0], edits.moved([made.allocation], {}))
    return True


TRANSFORMATIONS = (
    Transformation(
        "kept_values", "what a program has loaded or stored itself stays in registers, where it was loaded again",
        ("register_tiling",), ("redundant_traffic", "launch_overhead"),
        _sites, 8.0, marks=("_kept",), effect=without_accesses,
    ),
)  # fmt: skip
