"""Judge outputs on a GPU by expected outputs that are computed in parts, so that they fit into its memory.

A float64 reference of a four-gigabyte problem takes four times that, and more in between.  Some problems work row by
row: the first input and all tensors of the output share their first dimension, and parts of the output follow from
parts of that input alone.  Their expected outputs are computed and compared in parts.  Whether a problem works row by
row is tried on its smaller workloads, not assumed; a problem whose reference changes arguments does not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from kopt.device.draws.distributions import Case, Draw, make_case
from kopt.device.draws.seeds import derive_seed
from kopt.device.expected.compare import Comparison
from kopt.device.expected.compare_result import compare_result, worst
from kopt.device.expected.expected_output import ExpectedOutput, ExpectedResult, expected_result
from kopt.device.expected.outputs import Result, ResultContract, result_contract, run_reference
from kopt.device.expected.runs import in_dtype
from kopt.device.expected.surely_right import granted_allowances, plain_allowances, surely_right
from kopt.device.expected.tolerance import Allowance
from kopt.errors import ProblemError
from kopt.model.problem import Problem

PART_BYTES = 1 << 30
"""Largest size of the first input and the output of one part in float64, bytes."""

KEPT_BYTES = 2 << 30
"""Largest size of the expected outputs (of all draws together) that are kept for the next candidate, bytes."""

SAMPLED = 8
"""One in so many rows of a part shows how rounding errors of the inputs change its output."""

HOST_BYTES = 1 << 22
"""Largest size of an expected output that is kept, and compared, on the host: contestants keep the GPU busy, bytes."""

SAME = 1e-9
"""Relative and absolute difference by which joined parts may differ from the whole output."""


@dataclass(frozen=True)
class Part:
    """Rows `start` to `end` (not included) of a case."""

    start: int
    end: int

    def is_of(self, tensor: torch.Tensor) -> bool:
        """Return whether the rows are a part of a tensor's."""
        return bool(tensor.dim()) and self.end - self.start < len(tensor)

    def head(self, share: int) -> Part:
        """Return the first rows, one in so many; at least one."""
        return Part(self.start, self.start + max(1, (self.end - self.start) // share))


WHOLE = Part(0, sys.maxsize)
"""All rows, of however many a tensor has."""


class ExpectedOutputs:
    """The expected outputs of one problem, of which small ones are kept."""

    def __init__(self, problem: Problem, most_bytes: int = 0) -> None:
        """Begin with nothing kept.

        Args:
            problem: the problem.
            most_bytes: largest size of all that is kept where it is more than `KEPT_BYTES`: large expected outputs, and
                results of the model in float64 where these decide.
        """
        self._problem = problem
        self._most_bytes = most_bytes
        self._exact: dict[tuple[str, str, int], dict[Part, tuple[torch.Tensor, ...]]] = {}
        """Results of the model in float64, by case and part."""
        self._exact_bytes = 0
        self._by_rows: bool | None = None
        self._kept: dict[tuple[str, str, int], list[tuple[Part, ExpectedResult]]] = {}
        self._kept_bytes = 0
        self._allowances: dict[tuple[tuple[str, str, int], Part], list[Allowance | None]] = {}
        """Allowances of the tensors of each part whose expected results are too large to be kept."""
        self._plain: dict[tuple[tuple[str, str, int], Part], list[Allowance]] = {}
        """The same where they alone decide (`surely_right`), and empty lists where they do not."""
        self._granted: dict[tuple[tuple[str, str, int], Part], list[Allowance]] = {}
        """Granted allowances of the parts of cases that are too large to be kept."""
        self._last: tuple[str, str, int] | None = None
        """The case that was judged last."""
        self._refused: set[tuple[str, str, int]] = set()
        """Cases for whose expected outputs, or results in float64, there was no room."""

    def emptied(self) -> ExpectedOutputs:
        """Return expected outputs of the same problem, with nothing kept but whether it works by rows."""
        made = ExpectedOutputs(self._problem, self._most_bytes)
        made._by_rows = self._by_rows
        return made

    def judge(self, case: Case, draw: Draw, tensors: Sequence[torch.Tensor]) -> Comparison:
        """Compare a result that keeps the contract with the expected one of its draw.

        Args:
            case: the draw's model and inputs.
            draw: the draw.
            tensors: the output's tensors, then the changed arguments.
        """
        name, right = _name(draw), []
        if name == self._last and name in self._refused:  # judged again and again: others make room
            self.forget_large(but=name)
            self._refused.discard(name)
        self._last = name
        for part, comparison in self._compared(case, draw, tensors):
            if not comparison.right:
                where = f"rows {part.start} to {part.end - 1}: " if part.is_of(tensors[0]) else ""
                return replace(comparison, reason=where + comparison.reason)
            right.append(comparison)
        return worst(right)

    @property
    def large_bytes(self) -> int:
        """Size of what is kept beyond `KEPT_BYTES`, bytes."""
        return max(self._kept_bytes - KEPT_BYTES, 0) + self._exact_bytes

    def forget(self, draw: Draw) -> None:
        """Free what is kept of a draw: it is not judged again, or its inputs were not those of the draw."""
        self._forget_tensors(_name(draw))
        self._refused.discard(_name(draw))
        for found in (self._allowances, self._plain, self._granted):
            for key in [key for key in found if key[0] == _name(draw)]:
                del found[key]

    def forget_large(self, *, but: tuple[str, str, int] | None = None) -> None:
        """Free the large tensors of all cases, but of one."""
        for name in {*self._kept, *self._exact} - {but}:
            if self._size(name) > HOST_BYTES:
                self._forget_tensors(name)

    def _size(self, name: tuple[str, str, int]) -> int:
        """Return the bytes that are kept of a case."""
        return _expected_bytes(self._kept.get(name, ())) + sum(map(_bytes, self._exact.get(name, {}).values()))

    def _forget_tensors(self, name: tuple[str, str, int]) -> None:
        self._kept_bytes -= _expected_bytes(self._kept.pop(name, ()))
        self._forget_exact(name)

    def _forget_exact(self, name: tuple[str, str, int]) -> None:
        for exact in self._exact.pop(name, {}).values():
            self._exact_bytes -= _bytes(exact)

    def _exact_result(self, name: tuple[str, str, int], part: Part, rows: Case) -> tuple[torch.Tensor, ...]:
        """Return the model's result in float64 for a part of a case, kept or computed."""
        kept = self._exact.setdefault(name, {})
        if part in kept:
            return kept[part]
        exact = tuple(map(_own, in_dtype(rows, torch.float64)))
        if self._kept_bytes + self._exact_bytes + _bytes(exact) <= self._most_bytes:
            kept[part] = exact
            self._exact_bytes += _bytes(exact)
        else:
            self._refused.add(name)
        return exact

    def _compared(self, case: Case, draw: Draw, tensors: Sequence[torch.Tensor]) -> Iterator[tuple[Part, Comparison]]:
        """Yield the parts of a case with the comparisons of a result, whose expected parts are kept or computed."""
        name = _name(draw)
        if name in self._kept:
            for part, expected in self._kept[name]:
                yield part, compare_result(_values(tensors, part, expected), expected, draw, _rows(case, part))
            return
        computed: list[tuple[Part, ExpectedResult]] = []
        # Compute the whole at once, since a library may use another algorithm for a part.
        size, eager = 0, run_reference(self._problem, case)
        parts = self._split(case, tensors, eager)
        too_large = self._kept_bytes + kept_size(tensor.numel() for tensor in tensors) > KEPT_BYTES
        for part in parts:
            rows, given = _rows(case, part), _result_part(eager, part)
            plain = self._plain.get((name, part))
            values = [_part(tensor, part) for tensor in tensors]
            if too_large and (name, part) not in self._granted:
                self._granted[name, part] = granted_allowances(self._problem, rows, given)
            short = [one for one in (self._granted.get((name, part)), plain) if one]
            exact = self._exact_result(name, part, rows) if short else ()
            if short and (comparison := surely_right(exact, values, given, short, draw)):
                computed, size = [], sys.maxsize  # the whole is not known
                yield part, comparison
                continue
            del exact  # memory that the full comparison needs
            sample = _rows(case, part.head(SAMPLED)) if part != WHOLE else None
            known = self._allowances.get((name, part), ())
            expected = expected_result(self._problem, rows, given, sample, known)
            if all(one.allowance or not one.contract.dtype.is_floating_point for one in expected.tensors):
                self._allowances[name, part] = [one.allowance for one in expected.tensors]
            size += _expected_bytes([(part, expected)])
            keep = self._kept_bytes + size <= max(KEPT_BYTES, self._most_bytes - self._exact_bytes)
            computed = [*computed, (part, _with_own(expected))] if keep else []
            if not keep:
                self._refused.add(name)
            if plain is None and (known or not keep):
                self._plain[name, part] = plain_allowances(rows, expected, given)
            if keep and part == parts[-1]:  # before the comparison, which may be the last that is asked for
                if size <= KEPT_BYTES:
                    whole = _joined(computed, result_contract(self._problem, case, eager))
                    computed = [(whole[0], _on_host(whole[1]) if size <= HOST_BYTES else whole[1])]
                self._kept[name] = computed  # large ones stay in parts, which take less memory to be compared
                self._refused.discard(name)
                self._kept_bytes += size
                self._forget_exact(name)
            yield part, compare_result(_values(tensors, part, expected), expected, draw, rows)

    def _split(self, case: Case, tensors: Sequence[torch.Tensor], eager: Result) -> list[Part]:
        first = case.inputs[0] if case.inputs else None
        rows = len(tensors[0]) if tensors[0].dim() else 1
        if not isinstance(first, torch.Tensor) or eager.arguments:
            return [WHOLE]
        size = 8 * (sum(tensor.numel() for tensor in tensors) + first.numel())
        splittable = all(one.dim() and len(one) == rows for one in (first, *tensors))
        if size <= PART_BYTES or not splittable or not self._works_by_rows():
            return [WHOLE]
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
        if not all(tensor.dim() and len(tensor) == len(first) for tensor in whole):
            return False
        cut = len(first) // 2
        try:
            parts = [in_dtype(_rows(case, part), torch.float64) for part in (Part(0, cut), Part(cut, len(first)))]
        except ProblemError:  # another input has to be cut too
            return False
        joined = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        return all(
            one.shape == other.shape and torch.allclose(one, other, rtol=SAME, atol=SAME, equal_nan=True)
            for one, other in zip(joined, whole, strict=True)
        )


def kept_size(elements: Iterable[int]) -> int:
    """Return the bytes in which expected tensors are kept: a float64 number and its allowed error for each element.

    Args:
        elements: number of elements of each tensor.
    """
    return 2 * 8 * sum(elements)


def _expected_bytes(parts: Iterable[tuple[Part, ExpectedResult]]) -> int:
    """Return the bytes that expected results take: the values, and as many for the allowed errors."""
    return sum(2 * one.output.nbytes for _, result in parts for one in result.tensors)


def _name(draw: Draw) -> tuple[str, str, int]:
    return (draw.workload.name, draw.label, draw.seed)


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor, or a copy of one that holds more memory than its own."""
    return tensor if tensor.untyped_storage().nbytes() <= tensor.nbytes else tensor.clone()


def _with_own(result: ExpectedResult) -> ExpectedResult:
    tensors = [replace(one, output=_own(one.output), allowed=_own(one.allowed)) for one in result.tensors]
    return replace(result, tensors=tuple(tensors))


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _joined(parts: list[tuple[Part, ExpectedResult]], contract: ResultContract) -> tuple[Part, ExpectedResult]:
    """Join the expected results of all parts of a case."""
    if len(parts) == 1:
        return parts[0]
    tensors = [
        ExpectedOutput(
            wanted,
            torch.cat([one.output for one in several]),
            torch.cat([one.allowed for one in several]),
            several[0].matched,
        )
        for wanted, several in zip(contract.tensors, zip(*(r.tensors for _, r in parts), strict=True), strict=True)
    ]
    return Part(0, parts[-1][0].end), ExpectedResult(contract, tuple(tensors), parts[0][1].named)


def _on_host(result: ExpectedResult) -> ExpectedResult:
    tensors = [replace(one, output=one.output.cpu(), allowed=one.allowed.cpu()) for one in result.tensors]
    return replace(result, tensors=tuple(tensors))


def _part(whole: torch.Tensor, part: Part) -> torch.Tensor:
    return whole[part.start : part.end] if part.is_of(whole) else whole


def _values(tensors: Sequence[torch.Tensor], part: Part, expected: ExpectedResult) -> list[torch.Tensor]:
    """Return the part of a result's tensors where the expected ones lie."""
    pairs = zip(tensors, expected.tensors, strict=True)
    return [_part(tensor, part).to(one.output.device) for tensor, one in pairs]


def _result_part(whole: Result, part: Part) -> Result:
    outputs = {name: _part(tensor, part) for name, tensor in whole.outputs.items()}
    return replace(whole, outputs=outputs)


def _rows(case: Case, part: Part) -> Case:
    """Return the case with these rows of its first input only."""
    first = case.inputs[0] if case.inputs else None
    if isinstance(first, torch.Tensor) and part.is_of(first):
        return replace(case, inputs=(first[part.start : part.end], *case.inputs[1:]))
    return case
