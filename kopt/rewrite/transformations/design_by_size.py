"""Split a kernel by the workload's size: main workloads of different sizes get kernels of their own.

The launch becomes `if size <= bound: copy[...](...) else: kernel[...](...)`, with own block sizes and an own grid for
the copy, so that every later transformation changes one of the two designs and leaves the other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Constant, Kernel, Launch, TritonModule, unused
from kopt.rewrite.source.statements import variables
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change, weight
from kopt.rewrite.transformations.by_size import defined_before, differing_sizes
from kopt.rewrite.transformations.tiles import blocks, choices


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        launch = module.only_launch(kernel)
        if launch is None or launch.grid is None or kernel.autotuned or not launch.call.args:
            continue
        constants = [c for c in blocks(module) if c.kernel is kernel and choices(c)]
        statements = _statements(module, launch, constants)
        alone = isinstance(launch.statement, cst.SimpleStatementLine) and len(launch.statement.body) == 1
        if not constants or statements is None or not alone or not isinstance(launch.statement.body[0], cst.Expr):  # type: ignore[attr-defined]
            continue
        for name, bounds in differing_sizes(launch, facts):
            if defined_before(module, launch, name, launch.statement):
                apply = partial(_split, module, kernel, launch, constants, statements, name, bounds)
                sites.append(Site(apply, weight(kernel)))
    return sites


def _statements(
    module: TritonModule, launch: Launch, constants: Sequence[Constant]
) -> tuple[cst.SimpleStatementLine, ...] | None:
    """Find the statements that make a launch's constants and its grid, in source order; None where one does more."""
    assert launch.grid is not None
    holders = [launch.grid.statement] if launch.grid.statement is not launch.statement else []
    for constant in constants:
        if constant.variable:
            holders += [s for s in syntax.walk(launch.function) if isinstance(s, cst.SimpleStatementLine)
                        and any(n is constant.literal for n in syntax.walk(s))]  # fmt: skip
    made = [s for s in syntax.walk(launch.function) if s in holders]
    plain = all(isinstance(s, cst.SimpleStatementLine) and len(s.body) == 1 and isinstance(s.body[0], cst.Assign)
                for s in made)  # fmt: skip
    return tuple(s for s in made if isinstance(s, cst.SimpleStatementLine)) if plain else None


def _split(
    module: TritonModule,
    kernel: Kernel,
    launch: Launch,
    constants: Sequence[Constant],
    statements: Sequence[cst.SimpleStatementLine],
    size: str,
    bounds: Sequence[int],
    rng: Random,
) -> Change | None:
    bound = rng.choice(bounds)
    taken = syntax.names(module.tree)
    copy = unused(f"{kernel.name}_up_to_{bound}", taken)
    names = {n: unused(f"{n}_up_to_{bound}", taken) for s in statements for n in _stored(s)}
    constant = rng.choice(constants)
    near = [v for v in choices(constant) if constant.value // 2 <= v <= constant.value * 2] or [constant.value]
    value = rng.choice(near)
    edits = module.edits()
    edits.statements_after(
        kernel.node,
        "\n\n" + edits.moved([kernel.node.decorators[0], kernel.node], {kernel.node.name: copy}).strip("\n"),
    )
    lines = []
    for statement in (*statements, launch.statement):
        texts: dict[cst.CSTNode, str] = {n: names[n.value] for n in variables(statement) if n.value in names}
        texts |= {n: copy for n in variables(statement) if n.value == kernel.name}
        lines.append(edits.moved([statement], texts | {constant.literal: str(value)}))
    small = textwrap.indent("\n".join(lines), "    ")
    large = textwrap.indent(edits.moved([launch.statement], {}), "    ")
    edits.replace_statement(launch.statement, f"if {size} <= {bound}:\n{small}\nelse:\n{large}")
    return change(
        edits,
        f"{kernel.name} has a kernel of its own where {size} is at most {bound}, with {constant.name} {value} there",
    )


def _stored(statement: cst.SimpleStatementLine) -> list[str]:
    return [n.value for t in syntax.walk(statement) if isinstance(t, cst.AssignTarget) for n in syntax.walk(t.target)
            if isinstance(n, cst.Name)]  # fmt: skip


def facts_of_designs(module: TritonModule, facts: RewriteFacts) -> RewriteFacts:
    """Return facts in which the launches of small workloads have the name of the copy that they would launch now."""
    renamed = list(facts.launches)
    for launch in module.launches:
        original, _, bound = launch.kernel.rpartition("_up_to_")
        if not original or not bound.isdigit():
            continue
        tests = [n.test for n in syntax.walk(launch.function) if isinstance(n, cst.If)
                 and any(inner is launch.call for inner in syntax.walk(n.body))]  # fmt: skip
        sizes = [found["SIZE_"] for test in tests if (found := syntax.match(f"SIZE_ <= {bound}", test))]
        passed = [name for name, arg in launch.arguments.items() if any(syntax.same(s, arg.value) for s in sizes)]
        for place, built in enumerate(renamed):
            small = [int(text) <= int(bound) for name, text in built.arguments if name in passed and text.isdigit()]
            if built.kernel == original and small and all(small):
                renamed[place] = built.model_copy(update={"kernel": launch.kernel})
    return facts.model_copy(update={"launches": tuple(renamed)})


TRANSFORMATIONS = (
    Transformation(
        "design_by_size", "the host chooses one of two kernels by the workload's size", (),
        ("tail_wave", "too_few_programs", "small_tiles", "untuned_configuration"), _sites, 1.5, marks=("_up_to_",),
    ),
)  # fmt: skip
