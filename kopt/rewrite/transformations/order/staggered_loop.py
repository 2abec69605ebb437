"""Stagger a loop: each program begins its sum at another step, so that programs read different places of their rows.

Rows whose length is a large power of two begin at addresses that are alike in their low bits.  Programs that run in
step through such rows ask the same few channels of the memory at a time.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from random import Random

import libcst as cst

from kopt.rewrite.effects import remainders
from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, TritonModule
from kopt.rewrite.source.shapes import analyse
from kopt.rewrite.source.statements import is_simple, names_stored
from kopt.rewrite.source.updates import additions, initial
from kopt.rewrite.transformation import Change, RewriteFacts, Site, Transformation, change
from kopt.rewrite.transformations.products.flat_tiles import separate

STRIDES = (1, 1, 3, 7, 37)
"""Steps between the starts of neighbouring programs to choose from."""
PROGRAMS = 65536
"""Programs after which starts repeat, which keeps their product with a stride within 32 bits."""
TAKEN = frozenset({"turns", "turn", "first_turn"})


def _sites(module: TritonModule, facts: RewriteFacts) -> Sequence[Site]:
    sites = []
    for kernel in module.kernels:
        if module.only_launch(kernel) is None or kernel.called("tl.dot") or TAKEN & kernel.names:
            continue
        sites += [
            Site(partial(_stagger, module, kernel, loop, bounds))
            for loop in kernel.loops
            if loop in kernel.body and (bounds := _bounds(kernel, loop)) is not None
        ]
    return sites


def _bounds(kernel: Kernel, loop: cst.For) -> tuple[str, str, str] | None:
    """Return start, stop and step of a loop that only sums, and that several programs run; None for others."""
    if not isinstance(loop.iter, cst.Call) or syntax.called(loop.iter) not in ("range", "tl.range"):
        return None
    plain = [a.value for a in loop.iter.args if a.keyword is None]
    body = [s for s in loop.body.body if isinstance(s, cst.SimpleStatementLine)]
    simple = len(body) == len(loop.body.body) and all(is_simple(s) for s in body)
    if len(plain) != 3 or not simple or syntax.starred(loop.iter) or not kernel.called("tl.program_id"):
        return None
    sums = additions(loop)
    products = [s for s in body if names_stored(s) & sums.keys()]
    loads = [s for s in body if s not in products]
    after = list(kernel.body)[list(kernel.body).index(loop) + 1 :]
    if not sums or any(initial(kernel, name, loop) is None for name in sums):
        return None
    if not separate(kernel, loop, loads, products, set(sums), after) or not _varies(kernel, loop):
        return None
    start, stop, step = (syntax.operand(bound) for bound in plain)
    return start, stop, step


def _varies(kernel: Kernel, loop: cst.For) -> bool:
    """Return whether a load of the loop reads another place in each step and program."""
    name = f"loop:{syntax.code(loop.target)}"
    loads = [n for n in syntax.walk(loop.body) if isinstance(n, cst.Call) and syntax.called(n) == "tl.load"]
    values = [v for n in loads if (v := analyse(kernel).get(n.args[0].value)) is not None]
    return any(0 in v.programs and name in v.deps for v in values)


def _stagger(
    module: TritonModule, kernel: Kernel, loop: cst.For, bounds: tuple[str, str, str], rng: Random
) -> Change | None:
    start, stop, step = bounds
    stride = rng.choice(STRIDES)
    assert isinstance(loop.iter, cst.Call)
    kept = [syntax.code(a).rstrip(", ") for a in loop.iter.args if a.keyword is not None]
    target = syntax.code(loop.target)
    edits = module.edits()
    body = [f"{target} = {start} + (turn + first_turn) % turns * {step}"]
    body += [edits.moved([s], {}).strip("\n") for s in loop.body.body]
    lines = [
        f"turns = tl.maximum(tl.cdiv({stop} - {start}, {step}), 0)",
        f"first_turn = tl.program_id(0) % {PROGRAMS} * {stride} % tl.maximum(turns, 1)",
        f"for turn in tl.range({', '.join(['0', 'turns', *kept])}):",
        textwrap.indent("\n".join(body), "    "),
    ]
    edits.replace_statement(loop, "\n".join(lines))
    return change(
        edits,
        f"each program of {kernel.name} begins its loop {stride} steps after the one before it: programs that run "
        "in step read different places of their rows",
    )


TRANSFORMATIONS = (
    Transformation(
        "staggered_loop", "each program begins its sum at another step, so that reads spread over the memory", (),
        ("too_few_bytes_in_flight", "redundant_traffic", "tail_wave"), _sites, 1.0, marks=("first_turn",),
        effect=remainders,
    ),
)  # fmt: skip
