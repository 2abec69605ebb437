"""Read the numbers of a source that may be tuned, and set them: tiles, warps, stages, registers, groups, programs.

Sources that differ in these numbers alone have the same sketch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import libcst as cst

from kopt.artifact import text_digest
from kopt.rewrite.limits import option
from kopt.rewrite.source import syntax
from kopt.rewrite.source.edit import Edits
from kopt.rewrite.source.module import Launch, TritonModule, unused
from kopt.rewrite.transformation import RewriteFacts
from kopt.rewrite.transformations.launching import REGISTERS, STAGES, WARPS, Option, launches_with
from kopt.rewrite.transformations.loops import LOOP_OPTIONS
from kopt.rewrite.transformations.persistent import (
    GROUPS,
    PER_MULTIPROCESSOR,
    group_heights,
    program_counts,
)
from kopt.rewrite.transformations.split_k import WIDTHS, split_widths
from kopt.rewrite.transformations.tiles import blocks, choices, least

HEIGHTS = (2, *GROUPS)
"""Heights of groups of tiles."""
LEFT_OVER = re.compile(r",\s*(?=[,)])|\s+(?=\))")
"""The comma and the blanks that an argument leaves behind."""


@dataclass(frozen=True, eq=False)
class Tunable:
    """A number in a source that may take other values."""

    name: str
    """Kernel and parameter or option, `swiglu_kernel.BLOCK_M`; unique in its source."""
    value: int
    others: tuple[int, ...]
    """The values that it may take instead; none for a constant that must stay as it is."""
    change: Callable[[Edits, int], None]
    """Set another value."""
    hide: Callable[[Edits], None]
    """Leave the number out, so that sources of one sketch become equal."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a source, and the digest of the rest."""

    sketch: str
    """Digest of the source without its numbers."""
    values: Mapping[str, int]
    """Values by name, in the order of names."""

    def rows(self) -> tuple[str, ...]:
        """Write the values as texts `name=value`, for a column of a table."""
        return tuple(f"{name}={value}" for name, value in self.values.items())


def read_rows(rows: Sequence[str]) -> dict[str, int]:
    """Read the texts that `Numbers.rows` wrote."""
    return {name: int(value) for name, _, value in (row.rpartition("=") for row in rows)}


def numbers(module: TritonModule, facts: RewriteFacts) -> Numbers:
    """Read the numbers of a source."""
    found, edits = tunables(module, facts), module.edits()
    for each in found:
        each.hide(edits)
    text = edits.text()
    bare = LEFT_OVER.sub("", text.replace("tl.range(", "range(")) if text is not None else module.source
    return Numbers(text_digest(bare), {each.name: each.value for each in found})


def set_values(module: TritonModule, facts: RewriteFacts, values: Mapping[str, int]) -> str | None:
    """Return the source with other values of some numbers; None when they cannot be set together."""
    edits = module.edits()
    for each in tunables(module, facts):
        if values.get(each.name, each.value) != each.value:
            each.change(edits, values[each.name])
    return edits.text()


def tunables(module: TritonModule, facts: RewriteFacts) -> list[Tunable]:
    """Find the numbers of a source that may be tuned, in the order of their names."""
    named: dict[str, Tunable] = {}
    seen: set[int] = set()
    for node, each in _all(module, facts):
        if node is None or id(node) not in seen:
            seen.add(id(node))
            name = unused(each.name, frozenset(named))
            named[name] = Tunable(name, each.value, each.others, each.change, each.hide)
    return [named[name] for name in sorted(named)]


def _all(module: TritonModule, facts: RewriteFacts) -> Iterator[tuple[cst.CSTNode | None, Tunable]]:
    """Find each number with the node that holds it; None for an option that the launch does not pass."""
    for block in blocks(module):
        sizes = tuple(n for n in choices(block) if n >= least(block))
        yield block.literal, _literal(f"{block.kernel.name}.{block.name}", block.value, sizes, block.literal)
    heights = [(constant, HEIGHTS) for constant in group_heights(module)]
    for constant, values in [*heights, *((constant, WIDTHS) for constant in split_widths(module))]:
        name = f"{constant.kernel.name}.{constant.name}"
        yield constant.literal, _literal(name, constant.value, values, constant.literal)
    for constant in module.constants:
        name = f"{constant.kernel.name}.{constant.name}"
        yield constant.literal, _literal(name, constant.value, (), constant.literal)
    for kernel, count in program_counts(module):
        counts = tuple(facts.device.sm_count * n for n in PER_MULTIPROCESSOR)
        yield count, _literal(f"{kernel.name}.programs", count.evaluated_value, counts, count)
    for which in (WARPS, STAGES, REGISTERS):
        for kernel, launch in launches_with(which, module):
            value = _passed(which, launch, module)
            if value is not None:
                yield launch.options.get(which.name), _option(kernel.name, which, launch, value)
    for kernel in module.kernels:
        for call in kernel.called("tl.range"):
            for name, values in LOOP_OPTIONS.items():
                passed = syntax.keyword(call, name)
                if passed is not None and (value := syntax.integer(passed.value)) is not None:
                    yield passed, _argument(f"{kernel.name}.loop.{name}", value, values, passed)


def _passed(which: Option, launch: Launch, module: TritonModule) -> int | None:
    """Return the value of an option at a launch; None where it is no literal."""
    absent = which.default if which.name not in launch.options else None
    value = option(launch, which.name, -1, module)
    return absent if value < 0 else value


def _literal(name: str, value: int, values: Sequence[int], literal: cst.CSTNode) -> Tunable:
    return Tunable(
        name, value, _others(value, values), lambda edits, new: edits.replace(literal, str(new)),
        lambda edits: edits.replace(literal, "_"),
    )  # fmt: skip


def _argument(name: str, value: int, values: Sequence[int], passed: cst.Arg) -> Tunable:
    return Tunable(
        name, value, _others(value, values), lambda edits, new: edits.replace(passed.value, str(new)),
        lambda edits: edits.replace(passed, ""),
    )  # fmt: skip


def _option(kernel: str, which: Option, launch: Launch, value: int) -> Tunable:
    passed = launch.options.get(which.name)
    if passed is not None:
        return _argument(f"{kernel}.{which.name}", value, which.values, passed)
    append = partial(_append, launch.call.args[-1], which.name)
    return Tunable(f"{kernel}.{which.name}", value, _others(value, which.values), append, lambda edits: None)


def _append(last: cst.Arg, name: str, edits: Edits, value: int) -> None:
    edits.after(last, f", {name}={value}")


def _others(value: int, values: Sequence[int]) -> tuple[int, ...]:
    return tuple(v for v in values if v != value)
