"""Find what differs between two kernels: source, launches, resources, instructions, techniques, times."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from kopt.model.base import Value
from kopt.model.problem import Problem
from kopt.view.kernel import KernelView, LaunchView, WorkloadTime

NO_VALUE = "-"
"""Stands for a compile-time value that one of the launches does not have."""
IN_LOOPS = "loop_"
"""Begin of the names of counts inside loops, as `kopt.estimate.instructions` names them."""


class Changed(Value):
    """A figure of a launch that differs."""

    name: str
    """`kernel` (its name), `grid`, `warps`, `stages`, `registers`, ..., or the name of a compile-time value."""
    before: str
    after: str


class LaunchDifference(Value):
    """A launch of one workload in both kernels, or in one of them."""

    workload: str
    before: LaunchView | None
    after: LaunchView | None
    changed: tuple[Changed, ...]


class InstructionDifference(Value):
    """A kind of PTX instruction whose count differs, over all kernels of the module."""

    kind: str
    before: int
    after: int
    before_in_loops: int
    after_in_loops: int


class TimeDifference(Value):
    """The times on one workload, ms; None where a kernel has none."""

    workload: str
    before: WorkloadTime | None
    after: WorkloadTime | None

    @property
    def ratio(self) -> float | None:
        """Time before over time after; above 1 the second kernel is faster."""
        return self.before.ms / self.after.ms if self.before and self.after else None


class Difference(Value):
    """What differs between two kernels."""

    before: KernelView
    after: KernelView
    apart: str = ""
    """Why launches, instructions and times are not compared: the kernels solve two problems, or two versions of one."""
    diff: str
    """Unified diff of the sources; empty where they are equal."""
    launches: tuple[LaunchDifference, ...]
    instructions: tuple[InstructionDifference, ...]
    added: tuple[str, ...]
    """Techniques of the second kernel alone."""
    removed: tuple[str, ...]
    times: tuple[TimeDifference, ...]


def difference(
    before: KernelView, after: KernelView, problems: tuple[Problem | None, Problem | None] = (None, None)
) -> Difference:
    """Compare two kernels; of kernels of two problems only what does not depend on the work: source and techniques.

    Args:
        before: a kernel.
        after: another kernel.
        problems: the problem of each; None where it is not known, and of kernels of one run.
    """
    apart = _apart(*problems)
    return Difference(
        before=before,
        after=after,
        apart=apart,
        diff=unified(before.source, after.source, before.label, after.label),
        launches=() if apart else _launches(before, after),
        instructions=() if apart else _instructions(before, after),
        added=tuple(name for name in after.techniques if name not in before.techniques),
        removed=tuple(name for name in before.techniques if name not in after.techniques),
        times=() if apart else _times(before, after),
    )


def _apart(before: Problem | None, after: Problem | None) -> str:
    """Say that two kernels do other work: another reference, type or size; empty where they do not, as far as known."""
    if before is None or after is None or _work(before) == _work(after):
        return ""
    if before.name == after.name:
        return f"two versions of the problem {before.name}, which was edited in between"
    return f"two problems, {before.name} and {after.name}"


def _work(problem: Problem) -> tuple[object, ...]:
    return problem.reference, problem.dtype, problem.keep_dtypes, problem.main


def unified(before: str, after: str, name_before: str, name_after: str) -> str:
    """Write a unified diff of two texts; empty where their lines are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name_before, name_after, lineterm="")
    return "\n".join(lines)


def _launches(before: KernelView, after: KernelView) -> tuple[LaunchDifference, ...]:
    """Pair the launches of each workload by the name of the kernel and the order of calls, renamed ones by order."""
    left, right = _keyed(before), _keyed(after)
    pairs = [(key, left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right])]
    return tuple(
        LaunchDifference(workload=key[0], before=one, after=other, changed=_changed(one, other))
        for key, one, other in _renamed_paired(pairs)
    )


Key = tuple[str, str, int]
Pair = tuple[Key, LaunchView | None, LaunchView | None]


def _renamed_paired(pairs: Sequence[Pair]) -> list[Pair]:
    """Pair launches that only one kernel has with those that only the other has, workload by workload, in order."""
    alone = {key: other for key, one, other in pairs if one is None and other is not None}
    paired: list[Pair] = []
    for key, one, other in pairs:
        partner = next((name for name in alone if name[0] == key[0]), None)
        if other is None and partner is not None:
            paired.append((key, one, alone.pop(partner)))
        elif one is not None:
            paired.append((key, one, other))
    return paired + [(key, None, other) for key, other in alone.items()]


def _keyed(view: KernelView) -> dict[Key, LaunchView]:
    keyed: dict[Key, LaunchView] = {}
    for launch in view.launches:
        number = sum(key[:2] == (launch.workload, launch.kernel) for key in keyed)
        keyed[launch.workload, launch.kernel, number] = launch
    return keyed


def _changed(before: LaunchView | None, after: LaunchView | None) -> tuple[Changed, ...]:
    if before is None or after is None:
        return ()
    left, right = _figures(before), _figures(after)
    return tuple(
        Changed(name=name, before=left.get(name, NO_VALUE), after=right.get(name, NO_VALUE))
        for name in dict.fromkeys([*left, *right])
        if left.get(name) != right.get(name)
    )


def _figures(launch: LaunchView) -> dict[str, str]:
    figures = {
        "kernel": launch.kernel, "grid": "x".join(map(str, launch.grid)), "warps": str(launch.warps),
        "stages": str(launch.stages),
        "blocks of a cluster": str(launch.ctas), "registers": str(launch.registers),
        "shared memory": f"{launch.shared_bytes} B", "spills": f"{launch.spill_bytes} B",
    }  # fmt: skip
    occupied = {} if launch.occupancy is None else {"occupancy": f"{launch.occupancy:.0%}"}
    return figures | occupied | launch.constants


def _instructions(before: KernelView, after: KernelView) -> tuple[InstructionDifference, ...]:
    if not before.instructions or not after.instructions:
        return ()
    left, right = _summed(before), _summed(after)
    kinds = sorted({name for name in (*left, *right) if not name.startswith(IN_LOOPS)} - {"total"})
    return tuple(
        InstructionDifference(
            kind=kind, before=left[kind], after=right[kind],
            before_in_loops=left[f"{IN_LOOPS}{kind}"], after_in_loops=right[f"{IN_LOOPS}{kind}"],
        )
        for kind in ("total", *kinds)
        if (left[kind], left[f"{IN_LOOPS}{kind}"]) != (right[kind], right[f"{IN_LOOPS}{kind}"])
    )  # fmt: skip


def _summed(view: KernelView) -> Counter[str]:
    total: Counter[str] = Counter()
    for counts in view.instructions.values():
        total.update(counts)
    return total


def _times(before: KernelView, after: KernelView) -> tuple[TimeDifference, ...]:
    left, right = ({one.workload: one for one in view.times} for view in (before, after))
    return tuple(
        TimeDifference(workload=name, before=left.get(name), after=right.get(name))
        for name in dict.fromkeys([*left, *right])
    )
