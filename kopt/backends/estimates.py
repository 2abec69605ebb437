"""Estimate times from builds, and tell what a build and its time say of a kernel where no counter can be read."""

from __future__ import annotations

from collections import Counter

from kopt import artifact
from kopt.backends.backend import ProfiledParent, Profiler
from kopt.estimate.instructions import instruction_mix
from kopt.estimate.time import estimate
from kopt.jobs.builds import built_named
from kopt.jobs.keys import EstimateKey
from kopt.jobs.target import ProblemOnTarget
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.problem import ProblemFacts
from kopt.model.timing import Estimated, Timing
from kopt.model.trial import SelectionRow
from kopt.provenance import code_digest
from kopt.search.diagnose import static_profile
from kopt.store import Store


def estimate_time(build: str, facts: ProblemFacts, device: Device, store: Store) -> Estimated:
    """Estimate the time of the build whose key has the digest `build`; an estimate in the store is not made again.

    Raises:
        StoreError: the build is not in the store (any more).
    """
    built = built_named(build, store)
    key = EstimateKey(
        build=build, facts=artifact.digest(facts), device=artifact.digest(device),
        code=code_digest("kopt.estimate.time"),
    )  # fmt: skip
    return store.shelf(Estimated).get_or_make(
        key, lambda: estimate(built, facts, device, lambda name: store.text("ptx", name, ".ptx"))
    )


def profile_without_counters(
    row: SelectionRow, timing: Timing, facts: ProblemFacts, device: Device, store: Store
) -> Profile:
    """Tell what a kernel's build and time say of it."""
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

    return profile
