"""Tell with which workloads a judge verifies a kernel, so that an export names and accepts no others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kopt.model.problem import Given, Problem, Workload

_KINDS = {"interpret": "small", "cuda": "hidden"}
"""The kind of workloads, beside the main ones, with which a judge verifies a kernel."""


def judged_beside(problem: Problem, judge: str) -> tuple[Workload, ...]:
    """Return the workloads with which a judge verifies a kernel, beside the main ones."""
    kind = _KINDS.get(judge)
    return getattr(problem, kind) if kind else ()


def given_of(
    given: Sequence[Given], problem: Problem, judge: str, names: Collection[str] | None = None
) -> tuple[Given, ...]:
    """Return the arguments in the main workloads, and in those with which a judge verifies a kernel.

    Args:
        given: arguments in the main, the hidden and the small workloads, in this order, of which some may lack.
        problem: the problem.
        judge: name of the judge.
        names: names of the others that count; None for all.  A small one may have the name of a hidden one.
    """
    kept, left = [], list(given)
    for kind in ("main", "hidden", "small"):
        for workload in getattr(problem, kind):
            if not left or left[0].workload != workload.name:
                continue
            arguments = left.pop(0)
            if kind == "main" or (kind == _KINDS.get(judge) and (names is None or workload.name in names)):
                kept.append(arguments)
    return tuple(kept)
