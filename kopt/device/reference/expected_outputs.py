"""Right answers to drawn inputs, in parts that fit into the device's memory.

A float64 reference of a four-gigabyte problem takes four times that and more in between.  Where the problem works
row by row (the first input and the output share their first dimension, and the parts of the answer are the answer to
the parts), the answer is made and compared in parts; that it does is tried on the smallest workload, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from kopt.device.reference.compare import Comparison, Expected, compare, eager_output, expected, in_dtype
from kopt.device.reference.distributions import Case, Draw, derive_seed, make_case
from kopt.model.problem import Problem
from kopt.model.verdict import Check

PART_BYTES = 2 << 30
"""Inputs and output of one part in float64."""

KEPT_BYTES = 2 << 30
"""Answers up to this size (all draws of a chunk together) are kept for the next candidate."""

SAME = 1e-9
"""Relative difference by which the parts' answer may differ from the whole's."""


@dataclass(frozen=True)
class Part:
    """Rows `start` to `end` of a case."""

    start: int
    end: int


class Answers:
    """The answers of one problem; keeps small ones."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._by_rows: bool | None = None
        self._kept: dict[tuple[str, str, int], list[tuple[Part, Expected]]] = {}
        self._kept_bytes = 0

    def judge(self, case: Case, draw: Draw, output: torch.Tensor) -> Comparison:
        """Compare an output that keeps the contract with the answer to its draw."""
        checks: list[Check] = []
        for part, wanted in self._parts(case, draw, output):
            comparison = compare(_part(output, part), wanted, draw)
            checks += [comparison.check] if comparison.check else []
            if not comparison.right:
                where = f"rows {part.start} to {part.end - 1}: " if part.end - part.start < len(output) else ""
                return replace(comparison, reason=where + comparison.reason)
        worst = max(checks, key=lambda check: check.max_error / (check.allowed or 1.0), default=None)
        return Comparison(worst, "")

    def _parts(self, case: Case, draw: Draw, output: torch.Tensor) -> Iterator[tuple[Part, Expected]]:
        name = (draw.workload.name, draw.distribution, draw.seed)
        if name in self._kept:
            yield from self._kept[name]
            return
        made: list[tuple[Part, Expected]] = []
        # The whole at once, since a library may take another way for a part.
        size, eager = 0, eager_output(self._to_write(case))
        for part in self._split(case, output):
            one = (part, expected(self._problem, _rows(case, part), _part(eager, part)))
            size += 2 * one[1].output.nbytes
            keep = self._kept_bytes + size <= KEPT_BYTES
            made = [*made, one] if keep else []
            yield one
        if made and self._kept_bytes + size <= KEPT_BYTES:
            self._kept[name] = made
            self._kept_bytes += size

    def _to_write(self, case: Case) -> Case:
        """The case, as a copy where the reference may write to its inputs."""
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
    first: Sequence[torch.Tensor] = case.inputs[:1]
    if first and isinstance(first[0], torch.Tensor) and part.end - part.start < len(first[0]):
        return replace(case, inputs=(first[0][part.start : part.end], *case.inputs[1:]))
    return case
