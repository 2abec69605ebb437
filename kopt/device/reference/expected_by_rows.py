"""Judge outputs on a GPU by expected outputs that are computed in parts, so that they fit into its memory.

A float64 reference of a four-gigabyte problem takes four times that, and more in between.  Some problems work row by
row: the first input and the output share their first dimension, and parts of the output follow from parts of that
input alone.  Their expected outputs are computed and compared in parts.  Whether a problem works row by row is tried
on its smaller workloads, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from kopt.device.reference.compare import Comparison, compare
from kopt.device.reference.distributions import Case, Draw, derive_seed, make_case
from kopt.device.reference.expected_output import ExpectedOutput, expected_output
from kopt.device.reference.outputs import eager_output
from kopt.device.reference.tolerance import in_dtype
from kopt.model.problem import Problem
from kopt.model.verdict import Check

PART_BYTES = 1 << 30
"""Largest size of the first input and the output of one part in float64, bytes."""

KEPT_BYTES = 2 << 30
"""Largest size of the expected outputs (of all draws together) that are kept for the next candidate, bytes."""

SAME = 1e-9
"""Relative and absolute difference by which joined parts may differ from the whole output."""


@dataclass(frozen=True)
class Part:
    """Rows `start` to `end` (not included) of a case."""

    start: int
    end: int


class ExpectedOutputs:
    """The expected outputs of one problem, of which small ones are kept."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._by_rows: bool | None = None
        self._kept: dict[tuple[str, str, int], list[tuple[Part, ExpectedOutput]]] = {}
        self._kept_bytes = 0

    def judge(self, case: Case, draw: Draw, output: torch.Tensor) -> Comparison:
        """Compare an output that keeps the contract with the expected one of its draw."""
        checks: list[Check] = []
        for part, expected in self._parts(case, draw, output):
            comparison = compare(_part(output, part), expected, draw)
            checks += [comparison.check] if comparison.check else []
            if not comparison.right:
                where = f"rows {part.start} to {part.end - 1}: " if part.end - part.start < len(output) else ""
                return replace(comparison, reason=where + comparison.reason)
        worst = max(checks, key=lambda check: check.max_error / (check.allowed or 1.0), default=None)
        return Comparison(worst, "")

    def _parts(self, case: Case, draw: Draw, output: torch.Tensor) -> Iterator[tuple[Part, ExpectedOutput]]:
        """Yield the parts of a case with their expected outputs, kept ones or computed."""
        name = (draw.workload.name, draw.distribution, draw.seed)
        if name in self._kept:
            yield from self._kept[name]
            return
        computed: list[tuple[Part, ExpectedOutput]] = []
        # Compute the whole at once, since a library may use another algorithm for a part.
        size, eager = 0, eager_output(self._writable(case))
        for part in self._split(case, output):
            expected = expected_output(self._problem, _rows(case, part), _part(eager, part))
            size += 2 * expected.output.nbytes
            keep = self._kept_bytes + size <= KEPT_BYTES
            computed = [*computed, (part, expected)] if keep else []
            yield part, expected
        if computed and self._kept_bytes + size <= KEPT_BYTES:
            self._kept[name] = computed
            self._kept_bytes += size

    def _writable(self, case: Case) -> Case:
        """Return the case, with its inputs copied where the reference may write to them."""
        if not self._problem.mutates:
            return case
        copies = tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in case.inputs)
        return replace(case, inputs=copies)

    def _split(self, case: Case, output: torch.Tensor) -> list[Part]:
        rows = len(output) if output.dim() else 1
        first = case.inputs[0] if case.inputs else None
        splittable = isinstance(first, torch.Tensor) and output.dim() and first.dim() and len(first) == rows
        size = 8 * (output.numel() + (first.numel() if isinstance(first, torch.Tensor) else 0))
        if size <= PART_BYTES or not splittable or not self._works_by_rows():
            return [Part(0, rows)]
        step = max(1, rows * PART_BYTES // size)
        return [Part(start, min(start + step, rows)) for start in range(0, rows, step)]

    def _works_by_rows(self) -> bool:
        """Return whether the problem works row by row on its small and hidden workloads."""
        if self._by_rows is None:
            workloads = [*self._problem.small, *self._problem.hidden]
            self._by_rows = all(self._row_by_row(Draw(w, "normal", derive_seed(w.name, "rows"))) for w in workloads)
        return self._by_rows

    def _row_by_row(self, draw: Draw) -> bool:
        with torch.device("cuda"):
            case = make_case(self._problem, draw)
        first = case.inputs[0]
        if not isinstance(first, torch.Tensor) or len(first) < 2:
            return True
        whole = in_dtype(case, torch.float64)
        if not whole.dim() or len(whole) != len(first):
            return False
        cut = len(first) // 2
        parts = [in_dtype(_rows(case, part), torch.float64) for part in (Part(0, cut), Part(cut, len(first)))]
        joined = torch.cat(parts)
        return joined.shape == whole.shape and torch.allclose(joined, whole, rtol=SAME, atol=SAME, equal_nan=True)


def _part(whole: torch.Tensor, part: Part) -> torch.Tensor:
    return whole[part.start : part.end] if whole.dim() else whole


def _rows(case: Case, part: Part) -> Case:
    """Return the case with these rows of its first input only."""
    first: Sequence[torch.Tensor] = case.inputs[:1]
    if first and isinstance(first[0], torch.Tensor) and part.end - part.start < len(first[0]):
        return replace(case, inputs=(first[0][part.start : part.end], *case.inputs[1:]))
    return case
