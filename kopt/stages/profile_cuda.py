"""Stage profile on a GPU: hardware counters of a parent, and what is known without them where there are none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kopt.model.base import Value
from kopt.model.diagnosis import Profile
from kopt.model.environment import Environment
from kopt.model.problem import Workload
from kopt.model.timing import Measured
from kopt.model.trial import SelectionRow
from kopt.provenance import code_digest
from kopt.search.diagnose import slowest
from kopt.stages.evaluate import built_named, estimate_time
from kopt.stages.evaluate_cuda import Plan, kernel_named, timing_key
from kopt.stages.keys import ProfileKey, build_contract
from kopt.stages.measure import Scene
from kopt.stages.on_gpu import leased
from kopt.stages.profile import ParentProfile, profile_without_counters

if TYPE_CHECKING:
    from kopt.device.peaks import Found

log = logging.getLogger(__name__)

CSV = "counters"
"""Kind of the stored tables of Nsight Compute."""


class Counters(Value):
    """A stored profile, with the table that it was read from."""

    profile: Profile
    csv: str
    """Digest of the table."""


def profile_on_gpu(row: SelectionRow, scene: Scene, *, plan: Plan, seconds: float) -> ParentProfile:
    """The profile of one parent, on the workload that is furthest from its floor.

    Args:
        row: the parent.
        scene: where it is profiled.
        plan: how it was judged, which names its time.
        seconds: limit of Nsight Compute, s.
    """
    with leased(scene.store, wait_s=plan.wait_s) as found:
        return Profiling(row, scene, plan, found).profile(seconds)


class Profiling:
    """One parent on one GPU."""

    def __init__(self, row: SelectionRow, scene: Scene, plan: Plan, found: Found) -> None:
        from kopt.device.judge_cuda import environment

        self._row, self._problem, self._facts, self._store = row, scene.problem, scene.facts, scene.store
        self._plan, self._found, self._environment = plan, found, environment(found)

    def profile(self, seconds: float) -> ParentProfile:
        """Counters where they can be read, known ones from the store."""
        static, workload = self._static(), self._workload()
        shelf, key = self._store.shelf(Counters), self._key(workload.name, self._environment)
        known = shelf.get(key) or self._count(static, workload, seconds)
        if isinstance(known, Profile):
            return ParentProfile(kernel=self._row.kernel, profile=known)
        known = shelf.put(key, known)
        return ParentProfile(kernel=self._row.kernel, profile=known.profile, counters=known.csv)

    def _static(self) -> Profile:
        timing = self._timing()
        device, row = self._found.device, self._row
        if timing is None:
            static = profile_without_counters(
                row, estimate_time(row.build, self._facts, device, self._store), self._facts, device, self._store
            )
            return static.model_copy(update={"notes": (*static.notes, "the time is an estimate")})
        return profile_without_counters(row, timing, self._facts, device, self._store)

    def _timing(self) -> Measured | None:
        """The time that it was judged with on this device; None when that was another device."""
        return self._store.shelf(Measured).get(timing_key(self._row, self._problem, self._environment, self._plan))

    def _workload(self) -> Workload:
        timing = self._timing()
        name = slowest(timing)[0] if timing else self._problem.main[0].name
        return next(one for one in self._problem.main if one.name == name)

    def _key(self, workload: str, environment: Environment) -> ProfileKey:
        return ProfileKey(
            kernel=self._row.kernel, entry=self._problem.seed.entry, build=self._row.build,
            problem=build_contract(self._problem), workload=workload, environment=environment,
            code=code_digest("kopt.device.ncu"),
        )  # fmt: skip

    def _count(self, static: Profile, workload: Workload, seconds: float) -> Counters | Profile:
        """Counters, or the profile without them and why; the latter is not kept."""
        from kopt.device.ncu import NotCounted, ProfileJob, count, counters_profile, foreign_kernels

        job = ProfileJob(
            kernel=kernel_named(self._row.kernel, self._problem, self._store), problem=self._problem,
            workload=workload, seed=self._plan.seed,
        )  # fmt: skip
        counted = count(job, wait_s=seconds)
        if isinstance(counted, NotCounted):
            log.warning("no counters of %s: %s", self._row.origin, counted.note)
            return static.model_copy(update={"notes": (*static.notes, counted.note)})
        (facts,) = (one for one in self._facts.workloads if one.workload == workload.name)
        profile = counters_profile(counted, static, facts, self._found.device, self._problem.dtype)
        foreign = foreign_kernels(counted, self._launched())
        if foreign:
            note = f"it also ran kernels that are not its own: {', '.join(foreign)}"
            log.warning("%s: %s", self._row.origin, note)
            profile = profile.model_copy(update={"notes": (*profile.notes, note)})
        return Counters(profile=profile, csv=self._store.put_text(CSV, counted.csv, ".csv"))

    def _launched(self) -> set[str]:
        """Names of the kernels that the CPU stage saw."""
        built = built_named(self._row.build, self._store)
        return {launch.kernel for workload in built.workloads for launch in workload.launches}
