"""Stage profile on a GPU: hardware counters of a parent, and what is known without them where there are none."""

from __future__ import annotations

import logging

from kopt.device.cuda.environment import environment, environments
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.keys import ProfileKey, build_contract
from kopt.jobs.on_gpu import leased
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.environment import Environment
from kopt.model.trial import SelectionRow
from kopt.provenance import code_digest
from kopt.search.diagnose import slowest
from kopt.stages.evaluate import built_named, estimate_time
from kopt.stages.evaluate_cuda import Plan, Records, kernel_named
from kopt.stages.measure_cuda import MeasureContext
from kopt.stages.profile import ParentProfile, profile_without_counters

log = logging.getLogger(__name__)

CSV = "counters"
"""Kind of the stored tables of Nsight Compute."""


class Counters(Value):
    """A stored profile, with the table that it was read from."""

    profile: Profile
    csv: str
    """Digest of the table."""


def profile_on_gpu(row: SelectionRow, scene: MeasureContext, *, plan: Plan, seconds: float) -> ParentProfile:
    """The profile of one parent, on the workload that is furthest from its floor.

    Args:
        row: the parent.
        scene: where it is profiled.
        plan: how it was judged, which names its time.
        seconds: limit of Nsight Compute, s.
    """
    profiling = Profiling(row, scene, plan)
    profile: Counters | Profile | None = profiling.known()
    if profile is None:
        with leased(scene.store, wait_s=plan.wait_s) as found:
            profile = profiling.on(found, seconds)
    if isinstance(profile, Profile):
        return ParentProfile(kernel=row.kernel, profile=profile)
    return ParentProfile(kernel=row.kernel, profile=profile.profile, counters=profile.csv)


class Profiling:
    """One parent."""

    def __init__(self, row: SelectionRow, scene: MeasureContext, plan: Plan) -> None:
        self._row, self._problem, self._facts, self._store = row, scene.problem, scene.facts, scene.store
        self._plan = plan
        self._timing = Records(scene.problem, scene.device, scene.store, plan, environments()).timing(row)
        name = slowest(self._timing)[0] if self._timing else scene.problem.main[0].name
        self._workload = next(one for one in scene.problem.main if one.name == name)

    def known(self) -> Counters | None:
        """What is known of it on one of the visible GPUs."""
        found = (self._store.shelf(Counters).get(self._key(one)) for one in environments())
        return next((one for one in found if one is not None), None)

    def on(self, found: MeasuredDevice, seconds: float) -> Counters | Profile:
        """Counters where they can be read; else what is known without them, which is not kept."""
        counters = self._count(self._static(found.device), found.device, seconds)
        if isinstance(counters, Profile):
            return counters
        here = environment(found.device.name, found.uuid, found.driver)
        return self._store.shelf(Counters).put(self._key(here), counters)

    def _static(self, device: Device) -> Profile:
        row, facts, store = self._row, self._facts, self._store
        if self._timing is not None:
            return profile_without_counters(row, self._timing, facts, device, store)
        static = profile_without_counters(row, estimate_time(row.build, facts, device, store), facts, device, store)
        return static.model_copy(update={"notes": (*static.notes, "the time is an estimate")})

    def _key(self, where: Environment) -> ProfileKey:
        return ProfileKey(
            kernel=self._row.kernel, entry=self._problem.seed.entry, build=self._row.build,
            problem=build_contract(self._problem), workload=self._workload.name, environment=where,
            code=code_digest("kopt.device.ncu.count"),
        )  # fmt: skip

    def _count(self, static: Profile, device: Device, seconds: float) -> Counters | Profile:
        """Counters, or the profile without them and why; the latter is not kept."""
        from kopt.device.ncu.count import NotCounted, ProfileJob, count, counters_profile, foreign_kernels

        job = ProfileJob(
            kernel=kernel_named(self._row.kernel, self._problem, self._store), problem=self._problem,
            workload=self._workload, seed=self._plan.seed,
        )  # fmt: skip
        counted = count(job, wait_s=seconds)
        if isinstance(counted, NotCounted):
            log.warning("no counters of %s: %s", self._row.origin, counted.note)
            return static.model_copy(update={"notes": (*static.notes, counted.note)})
        (facts,) = (one for one in self._facts.workloads if one.workload == self._workload.name)
        profile = counters_profile(counted, static, facts, device, self._problem.dtype)
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
