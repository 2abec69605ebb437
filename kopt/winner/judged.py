"""Tell with which workloads a judge verifies a kernel, so that an export names and accepts no others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kopt.model.problem import Given, Problem, Workload


def judged_beside(problem: Problem, judge: str) -> tuple[Workload, ...]:
    """Return the workloads with which a judge verifies a kernel, beside the main ones."""
    return {"interpret": problem.small, "cuda": problem.hidden}.get(judge, ())


def given_of(given: Sequence[Given], problem: Problem, others: Collection[Workload]) -> tuple[Given, ...]:
    """Return the arguments in the main workloads and in some others.

    Args:
        given: arguments in the main, the hidden and the small workloads, in this order, of which some may lack.
        problem: the problem.
        others: the wanted workloads; a small one may have the name of a hidden one.
    """
    kept, left = [], list(given)
    for workload in (*problem.main, *problem.hidden, *problem.small):
        if left and left[0].workload == workload.name:
            arguments = left.pop(0)
            if workload in problem.main or any(workload is other for other in others):
                kept.append(arguments)
    return tuple(kept)
