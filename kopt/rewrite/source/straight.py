"""Read kernels whose program takes whole rows in one tile: loops over the row have one step, or there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from kopt.rewrite.source import syntax
from kopt.rewrite.source.module import Kernel, Launch
from kopt.rewrite.source.statements import is_simple


@dataclass(frozen=True, eq=False)
class Rows:
    """A kernel whose program takes whole rows in one tile."""

    statements: tuple[tuple[cst.SimpleStatementLine, str], ...]
    """The kernel's statements without their loops, each with the loop variable that stands for 0 in it, or nothing."""
    condition: str
    """When a row fits into one tile, as an expression of the launching function; empty where it always does."""
    single: cst.IfExp | None = None
    """The argument of the launch that makes one tile of a row: its length, or another block size for longer rows."""

    @property
    def variables(self) -> list[str]:
        """Names of the loop variables, which are 0."""
        return sorted({variable for _, variable in self.statements if variable})


def whole_rows(kernel: Kernel, launch: Launch) -> Rows | None:
    """Read a kernel as straight code on whole rows; None where it has other loops or branches."""
    statements: list[tuple[cst.SimpleStatementLine, str]] = []
    single = dict[str, cst.IfExp]()
    for statement in kernel.body:
        lines: Sequence[cst.CSTNode] = (statement,)
        variable = ""
        if isinstance(statement, cst.For):
            choice = _single_step(statement, launch)
            if choice is None or not isinstance(statement.target, cst.Name):
                return None
            single[syntax.code(choice.test)] = choice
            lines, variable = statement.body.body, statement.target.value
        for line in lines:
            if not isinstance(line, cst.SimpleStatementLine) or not is_simple(line):
                return None
            statements.append((line, variable))
    if len(single) > 1 or not isinstance(launch.statement, cst.SimpleStatementLine):
        return None
    condition, choice = next(iter(single.items()), ("", None))
    return Rows(tuple(statements), condition, choice)


def _single_step(loop: cst.For, launch: Launch) -> cst.IfExp | None:
    """Return the block of a loop `for start in range(0, size, BLOCK)` that has one step where a condition holds."""
    for function in ("range", "tl.range"):
        found = syntax.match(f"{function}(0, SIZE_, BLOCK_)", _without_keywords(loop.iter))
        size = launch.arguments.get(syntax.code(found["SIZE_"])) if found else None
        block = launch.arguments.get(syntax.code(found["BLOCK_"])) if found else None
        if size is None or block is None or not isinstance(block.value, cst.IfExp):
            continue
        whole = syntax.match("triton.next_power_of_2(ROW_)", block.value.body)
        limit = syntax.match("ROW_ <= LIMIT_", block.value.test)
        if whole and limit and syntax.same(whole["ROW_"], size.value) and syntax.same(limit["ROW_"], size.value):
            return block.value
    return None


def _without_keywords(ranged: cst.BaseExpression) -> cst.BaseExpression:
    """Return a call without its keywords, such as the stages of `tl.range`; anything else as it is."""
    if not isinstance(ranged, cst.Call):
        return ranged
    return ranged.with_changes(args=[a for a in ranged.args if a.keyword is None])
