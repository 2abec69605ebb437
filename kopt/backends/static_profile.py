"""Profile kernels without hardware counters, by their builds and times."""

from __future__ import annotations

from collections import Counter

from kopt.backends.backend import ProfiledParent, Profiler
from kopt.backends.estimates import estimate_time
from kopt.estimate.instructions import instruction_mix
from kopt.jobs.builds import built_named
from kopt.jobs.target import ProblemOnTarget
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Timing
from kopt.model.trial import SelectionRow
from kopt.search.diagnose import static_profile
from kopt.store import Store


def profile_without_counters(
    row: SelectionRow, timing: Timing, facts: ProblemFacts, device: Device, store: Store
) -> Profile:
    """Profile a kernel by its build and its time, measured or estimated."""
    built = built_named(row.build, store)
    names = dict.fromkeys(launch.ptx for workload in built.workloads for launch in workload.launches)
    instructions: Counter[str] = Counter()
    for name in names:
        instructions.update(instruction_mix(store.text("ptx", name, ".ptx")))
    return static_profile(built, timing, facts, device, dict(instructions))


def static_profiler(target: ProblemOnTarget) -> Profiler:
    """Make a profiler that reads the build and the estimated time."""

    def profile(row: SelectionRow) -> ProfiledParent:
        timing = estimate_time(row.build, target.facts, target.device, target.store)
        return ProfiledParent(profile_without_counters(row, timing, target.facts, target.device, target.store))

    return lambda rows: [profile(row) for row in rows]
