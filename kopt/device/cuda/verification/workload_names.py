"""Name the workloads of a problem apart, and say on which of them a candidate failed."""

from __future__ import annotations

from kopt.device.reference.rejection import on_workload
from kopt.model.problem import Problem, Workload, WorkloadKind

KINDS: tuple[WorkloadKind, ...] = ("timed", "hidden", "small")
"""Kinds of workloads in the order in which `of_distinct_names` lists them."""


def of_distinct_names(problem: Problem) -> list[list[Workload]]:
    """Return main, hidden and small workloads; one with the name of an earlier one gets its kind before its name."""
    groups: list[list[Workload]] = []
    names: set[str] = set()
    for kind in ("main", "hidden", "small"):
        workloads: tuple[Workload, ...] = getattr(problem, kind)
        clash = any(workload.name in names for workload in workloads)
        named = [w.model_copy(update={"name": f"{kind} {w.name}"}) if clash else w for w in workloads]
        names |= {workload.name for workload in named}
        groups.append(named)
    return groups


def on_named_workload(problem: Problem, workload: Workload, reason: str) -> str:
    """Say on which workload a candidate failed; the sizes of hidden ones stay hidden from candidates."""
    groups = dict(zip(KINDS, of_distinct_names(problem), strict=True))
    kind = next(kind for kind, group in groups.items() if workload.name in {one.name for one in group})
    return on_workload(workload, reason, kind)
