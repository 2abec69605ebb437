"""Stage profile: what is known of each parent's run; static facts where no counter can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Timing
from kopt.model.trial import SelectionRow
from kopt.search.diagnose import static_profile
from kopt.stages.evaluate import built_named, estimate_time
from kopt.store import Store


class ParentProfile(Value):
    """The profile of one place of the selection; a place without a parent has neither kernel nor profile."""

    kernel: str
    profile: Profile | None
    counters: str = ""
    """Store digest of Nsight Compute's own table; empty when no counter was read."""


Profiler = Callable[[SelectionRow], Profile | None]


def profile_parents(parents: Sequence[SelectionRow], *, places: int, profiler: Profiler) -> list[ParentProfile]:
    """A profile for each of the selection's `places`."""
    profiles = [ParentProfile(kernel=row.kernel, profile=profiler(row)) for row in parents]
    return profiles + [ParentProfile(kernel="", profile=None)] * (places - len(profiles))


def profiler(judge: str, facts: ProblemFacts, device: Device, store: Store) -> Profiler:
    """The profiler that goes with a judge."""
    if judge == "dry":
        return lambda row: None
    return lambda row: _static(row, facts, device, store)


def _static(row: SelectionRow, facts: ProblemFacts, device: Device, store: Store) -> Profile:
    return profile_without_counters(row, estimate_time(row.build, facts, device, store), facts, device, store)


def profile_without_counters(
    row: SelectionRow, timing: Timing, facts: ProblemFacts, device: Device, store: Store
) -> Profile:
    """What build and time tell of a kernel."""
    from kopt.estimate.instructions import instruction_mix

    built = built_named(row.build, store)
    names = dict.fromkeys(launch.ptx for workload in built.workloads for launch in workload.launches)
    mix: Counter[str] = Counter()
    for name in names:
        mix.update(instruction_mix(store.text("ptx", name, ".ptx")))
    return static_profile(built, timing, facts, device, dict(mix))
