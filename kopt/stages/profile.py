"""Stage `profile`: profile each parent."""

from __future__ import annotations

from collections.abc import Sequence

from kopt.backends.backend import ProfiledParent, Profiler
from kopt.model.base import Value
from kopt.model.diagnosis import ParentProfile
from kopt.model.options import JudgeOptions
from kopt.model.trial import SelectionRow


class ProfileSettings(Value):
    """Settings of the rule profile."""

    backend: str
    judging: JudgeOptions
    """Options with which the parents were judged; their measured times are stored under these options."""
    profile_seconds: float
    """Wall-clock limit for profiling one kernel, s."""


def profile_parents(
    parents: Sequence[SelectionRow], *, first: int, places: int, profiler: Profiler
) -> list[tuple[ParentProfile, str]]:
    """Profile the parents at some places of the selection.

    Args:
        parents: the selection.
        first: the first place.
        places: number of places, with a parent or without.
        profiler: profiles parents.

    Returns:
        A profile for each place, and the table of counters as CSV, empty where no counter was read.
    """
    chosen = parents[first : first + places]
    empty = places - len(chosen)
    kernels = [row.kernel for row in chosen] + [""] * empty
    profiled = [*(profiler(chosen) if chosen else []), *[ProfiledParent(None)] * empty]
    return [
        (ParentProfile(kernel=kernel, profile=parent.profile), parent.counters)
        for kernel, parent in zip(kernels, profiled, strict=True)
    ]
