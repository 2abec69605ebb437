"""Join two launches on the same rows into one, where what the first stores for the second stays in registers.

A program of the joined kernel does what the programs of the same number did in both kernels.  That is the same if each
program reads nothing that another one has stored: every load of an intermediate tensor must find what its own program
has stored there (`kept_values`), so that no tensor is both stored to and read in the end.  Rows become tiles first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from random import Random

import libcst as cst

from kopt.rewrite.effects import without_accesses
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.host import ALLOCATIONS
from kopt.rewrite.source.module import Kernel, Launch, TritonModule, parse, unused
from kopt.rewrite.source.statements import names_stored, variables
from kopt.rewrite.source.straight import Rows, whole_rows
from kopt.rewrite.source.values import Values, bases, escaped
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, element_text
from kopt.rewrite.transformations import specialise_sizes
from kopt.rewrite.transformations.passes.kept_values import keep, private

WHOLE = next(each for each in specialise_sizes.TRANSFORMATIONS if each.name == "whole_row")


@dataclass(frozen=True, eq=False)
class Half:
    """One of two kernels that follow one another, as straight code on whole rows."""

    kernel: Kernel
    launch: Launch
    rows: Rows
    axes: tuple[str, ...]

    def passed(self, module: TritonModule) -> dict[str, str]:
        """Map parameters to what the launch passes, as texts; names that are assigned once are followed."""
        found = {}
        for name, argument in self.launch.arguments.items():
            resolved = module.resolve(argument.value, self.launch.function)
            allocates = isinstance(resolved, cst.Call) and syntax.called(resolved) in ALLOCATIONS
            found[name] = self.text(name) if resolved is None or allocates else syntax.code(resolved)
            if argument.value is self.rows.single:
                found[name] = self.text(name)
        return found

    def text(self, name: str) -> str:
        """Write what the launch passes for a parameter where rows fit into one tile."""
        value = self.launch.arguments[name].value
        single = self.rows.single
        return syntax.code(single.body if single is not None and value is single else value)

    @property
    def longer(self) -> dict[cst.CSTNode, str]:
        """Map the argument that makes one tile of a row to what it is for longer rows."""
        return {} if self.rows.single is None else {self.rows.single: syntax.code(self.rows.single.orelse)}


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    launches = [(k, launch) for k in module.kernels if (launch := module.only_launch(k)) and not k.autotuned]
    launches.sort(key=lambda pair: _place(pair[1]))
    sites = []
    for (first, before), (second, after) in pairwise(launches):
        if not _follows(before, after) or not _hands_on(module, first, before, second, after):
            continue
        fused = _fused(module, facts, first.name, second.name)
        if fused is not None:
            sites.append(Site(partial(_take, fused)))
    return sites


def _take(fused: Change, rng: Random) -> Change:
    return fused


def _place(launch: Launch) -> int:
    return next(n for n, node in enumerate(syntax.walk(launch.function)) if node is launch.call)


def _follows(before: Launch, after: Launch) -> bool:
    """Return whether nothing but allocations stands between two launches."""
    if before.function is not after.function:
        return False
    blocks = [n.body for n in syntax.walk(before.function) if isinstance(n, cst.IndentedBlock)]
    for block in blocks:
        if before.statement in block and after.statement in block:
            return all(_harmless(line) for line in _between(block, before, after))
    return False


def _between(block: Sequence[cst.CSTNode], before: Launch, after: Launch) -> Sequence[cst.CSTNode]:
    return block[block.index(before.statement) + 1 : block.index(after.statement)]


def _harmless(line: cst.CSTNode) -> bool:
    if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        return False
    if isinstance(line.body[0], cst.Del):
        return True
    made = syntax.assigned(line)
    calls = [n for n in syntax.walk(line) if isinstance(n, cst.Call)]
    own = made is not None and syntax.called(made[1]) in ALLOCATIONS
    return made is not None and all((own and call is made[1]) or _describes(call) for call in calls)


def _describes(call: cst.Call) -> bool:
    last = call.func.attr.value if isinstance(call.func, cst.Attribute) else ""
    return last in ("stride", "numel", "size") or syntax.called(call) in ("triton.cdiv", "triton.next_power_of_2")


def _hands_on(module: TritonModule, first: Kernel, before: Launch, second: Kernel, after: Launch) -> bool:
    """Return whether the second launch takes a tensor that the first one stores to."""
    stored = bases(Values(first, frozenset()).read(), ("tl.store",))
    tensors = {syntax.code(before.arguments[name].value) for name in stored if name in before.arguments}
    return bool(tensors & {syntax.code(a.value) for a in after.arguments.values()})


def _fused(module: TritonModule, facts: RewriteFacts, first: str, second: str) -> Change | None:
    """Write the module with both kernels in one; None where that would not be the same."""
    halves: list[Half] = []
    for name in (first, second):
        after = _with_whole_rows(module, facts, name)
        module = after if after is not None else module
    for name in (first, second):
        half = _half(module, name)
        if half is None:
            return None
        halves.append(half)
    conditions = {h.rows.condition for h in halves} - {""}
    if halves[0].axes != halves[1].axes or len(conditions) > 1:
        return None
    name = unused(f"{first}_and_{second}", syntax.names(module.tree))
    joined = parse(_joined(module, halves[0], halves[1], name, next(iter(conditions), "")) or "")
    done = keep(joined, name) if joined is not None else None
    made = parse(done.source) if done is not None else None
    if done is None or made is None or not _independent(made, name):
        return None
    return Change(done.source, f"{first} and {second} in one launch: what the first stores for the second stays in "
                  "registers")  # fmt: skip


def _with_whole_rows(module: TritonModule, facts: RewriteFacts, name: str) -> TritonModule | None:
    """Make tiles of whole rows in a kernel that walks over them."""
    focus = replace(module, kernels=tuple(k for k in module.kernels if k.name == name))
    if not focus.kernels or not focus.kernels[0].loops or _half(module, name) is not None:
        return None
    sites = WHOLE.sites(focus, facts)
    change = sites[0].apply(Random(0)) if sites else None
    return parse(change.source) if change is not None else None


def _half(module: TritonModule, name: str) -> Half | None:
    kernel = next((k for k in module.kernels if k.name == name), None)
    launch = module.only_launch(kernel) if kernel is not None else None
    rows = whole_rows(kernel, launch) if kernel is not None and launch is not None else None
    if kernel is None or launch is None or rows is None or launch.grid is None:
        return None
    if any(p.default is not None or (p.node.annotation and not p.constexpr) for p in kernel.parameters):
        return None
    axes = [element_text(launch.grid, axis, launch) for axis in range(len(launch.grid.elements))]
    known = all(p.name in launch.arguments for p in kernel.parameters)
    return Half(kernel, launch, rows, tuple(a for a in axes if a)) if all(axes) and known else None


def _joined(module: TritonModule, first: Half, second: Half, name: str, condition: str) -> str | None:
    """Write the module with a kernel that does what both did, for rows that fit into one tile."""
    edits = module.edits()
    passed = first.passed(module)
    names, added = _names_of_second(module, first, second, passed)
    variables_of_second = [names[variable] for variable in second.rows.variables]
    lines = [f"{variable} = 0" for variable in (*first.rows.variables, *variables_of_second)]
    lines += [edits.moved([line], {}).rstrip("\n") for line, _ in first.rows.statements]
    for line, _ in second.rows.statements:
        lines.append(edits.moved([line], {n: names[n.value] for n in variables(line) if n.value in names}).rstrip("\n"))
    parameters = [syntax.code(p.node).rstrip(", \n") for p in first.kernel.parameters] + list(added)
    text = f"@triton.jit\ndef {name}({', '.join(parameters)}):\n{textwrap.indent(chr(10).join(lines), '    ')}\n\n\n"
    given = [f"{key}={first.text(key)}" for key in first.launch.arguments]
    given += [f"{parameter.split(':')[0]}={value}" for parameter, value in added.items()]
    options = {k: syntax.code(a.value) for half in (first, second) for k, a in half.launch.options.items()}
    given += [f"{key}={value}" for key, value in options.items()]
    call = f"{name}[({', '.join(first.axes)},)]({', '.join(given)})"
    edits.statements_before(first.kernel.node.decorators[0], text)
    used = syntax.names(cst.parse_expression(call))
    _drop_deletions(edits, first.launch, second.launch, used)
    if condition:
        old = [edits.moved([half.launch.statement], half.longer) for half in (first, second)]
        call = f"if {condition}:\n    {call}\nelse:\n" + textwrap.indent("\n".join(t.rstrip("\n") for t in old), "    ")
    else:
        for half in (first, second):
            edits.replace_range(half.kernel.node.decorators[0], half.kernel.node, "")
    edits.remove_statement(first.launch.statement)
    edits.replace_statement(second.launch.statement, call)
    return edits.text()


def _names_of_second(
    module: TritonModule, first: Half, second: Half, passed: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Name everything of the second kernel anew that the first one names otherwise.

    Returns:
        the new names by the old ones, and the parameters that the first kernel lacks, with what is passed for them.
    """
    taken = set(first.kernel.names)
    names, added = dict[str, str](), dict[str, str]()
    for parameter, text in second.passed(module).items():
        made = second.kernel.parameter(parameter)
        same = [first.kernel.parameter(p) for p, other in passed.items() if other == text]
        alike = [p.name for p in same if p is not None and made is not None and p.constexpr == made.constexpr]
        if alike:
            names[parameter] = alike[0]
            continue
        names[parameter] = unused(parameter, frozenset(taken))
        taken.add(names[parameter])
        kind = ": tl.constexpr" if made is not None and made.constexpr else ""
        added[f"{names[parameter]}{kind}"] = second.text(parameter)
    stored = {n for line, _ in second.rows.statements for n in names_stored(line)}
    stored |= set(second.rows.variables)
    for local in sorted(stored):
        names[local] = unused(local, frozenset(taken | stored - {local})) if local in taken else local
        taken.add(names[local])
    return names, added


def _drop_deletions(edits: Edits, before: Launch, after: Launch, used: frozenset[str]) -> None:
    """Remove the statements between two launches that delete what the joined launch needs."""
    for node in syntax.walk(before.function):
        if isinstance(node, cst.IndentedBlock) and before.statement in node.body and after.statement in node.body:
            for line in _between(node.body, before, after):
                small = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
                if isinstance(small, cst.Del) and syntax.names(small.target) & used:
                    edits.remove_statement(line)


def _independent(module: TritonModule, name: str) -> bool:
    """Return whether no tensor of a kernel is both stored to and read, and none that is stored to is another's too."""
    kernel = next((k for k in module.kernels if k.name == name), None)
    launch = module.only_launch(kernel) if kernel is not None else None
    if kernel is None or launch is None:
        return False
    own = private(module, kernel, launch)
    values = Values(kernel, frozenset(own)).read()
    stored, read = bases(values, ("tl.store",)), bases(values, ("tl.load",)) | {r.base for r in values.reloads}
    return "" not in stored | read and stored <= own.keys() and not stored & (read | escaped(values))


TRANSFORMATIONS = (
    Transformation(
        "fused_launches", "two launches on the same rows become one, without the tensor between them",
        ("register_tiling",),
        ("launch_overhead", "redundant_traffic"), _sites, 24.0, marks=("_and_",), effect=without_accesses,
    ),
)  # fmt: skip
