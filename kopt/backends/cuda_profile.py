"""Profile a parent on a GPU: read its hardware counters, or profile by build and time where no counter can be read."""

from __future__ import annotations

import logging

from kopt.backends.backend import ProfiledParent, Profiler
from kopt.backends.cuda_judge import Records
from kopt.backends.estimates import estimate_time
from kopt.backends.static_profile import profile_without_counters
from kopt.device.cuda.environment import environment, environments
from kopt.device.hardware.measured import MeasuredDevice
from kopt.jobs.builds import built_named
from kopt.jobs.kernels import kernel_named
from kopt.jobs.keys import ProfileKey, build_contract
from kopt.jobs.on_gpu import check_same, leased
from kopt.jobs.target import ProblemOnTarget
from kopt.model.base import Value
from kopt.model.device import Device
from kopt.model.diagnosis import Profile
from kopt.model.environment import Environment
from kopt.model.options import JudgeOptions
from kopt.model.timing import times_by_workload
from kopt.model.trial import SelectionRow
from kopt.provenance import code_digest
from kopt.search.diagnose import slowest

log = logging.getLogger(__name__)

CSV = "counters"
"""Kind of Nsight Compute's tables in the store."""


class Counters(Value):
    """A profile in the store, with the table that it was made from."""

    profile: Profile
    csv: str
    """Digest of the table."""


def profile_by_counters(target: ProblemOnTarget, options: JudgeOptions, *, seconds: float) -> Profiler:
    """Make a profiler that reads counters on the workload furthest above its floor.

    Args:
        target: the problem, and the device that its kernels were built for.
        options: how the parents were judged; their times are stored under these options.
        seconds: wall-clock limit of Nsight Compute, s.
    """
    return lambda row: ParentOnGpu(row, target, options).profile(seconds)


class ParentOnGpu:
    """Profile one parent on one of the visible GPUs."""

    def __init__(self, row: SelectionRow, target: ProblemOnTarget, options: JudgeOptions) -> None:
        self._row, self._problem, self._facts, self._store = row, target.problem, target.facts, target.store
        self._options, self._device = options, target.device
        self._timing = Records(target, options, environments()).timing(row)
        name = slowest(self._timing)[0] if self._timing else target.problem.main[0].name
        self._workload = next(workload for workload in target.problem.main if workload.name == name)

    def profile(self, seconds: float) -> ProfiledParent:
        """Look up the counters, or read them within `seconds`; without counters, profile by build and time."""
        counters: Counters | Profile | None = self._stored()
        if counters is None:
            with leased(self._store, wait_s=self._options.measuring.gpu_wait_seconds) as device:
                check_same(device, self._device)
                counters = self._read(device, seconds)
        if isinstance(counters, Profile):
            return ProfiledParent(counters)
        times = times_by_workload(self._timing) if self._timing is not None else {}
        profile = counters.profile.model_copy(update={"workload": self._workload.name, "times_ms": times})
        return ProfiledParent(profile, self._store.text(CSV, counters.csv, ".csv"))

    def _stored(self) -> Counters | None:
        shelf = self._store.shelf(Counters)
        stored = (shelf.get(self._key(where)) for where in environments())
        return next((counters for counters in stored if counters is not None), None)

    def _read(self, device: MeasuredDevice, seconds: float) -> Counters | Profile:
        """Read counters and store them; a profile without counters is not stored."""
        counters = self._count(self._static(device.device), device.device, seconds)
        if isinstance(counters, Profile):
            return counters
        here = environment(device.device.name, device.uuid, device.driver)
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
        """Read the counters; without them, return the static profile with the reason in its notes."""
        from kopt.device.ncu.count import NotCounted, ProfileJob, count, counters_profile, foreign_kernels

        job = ProfileJob(
            kernel=kernel_named(self._row.kernel, self._problem, self._store), problem=self._problem,
            workload=self._workload, seed=self._options.seed,
        )  # fmt: skip
        counted = count(job, wait_s=seconds)
        if isinstance(counted, NotCounted):
            log.warning("no counters of %s: %s", self._row.origin, counted.note)
            return static.model_copy(update={"notes": (*static.notes, counted.note)})
        (facts,) = (workload for workload in self._facts.workloads if workload.workload == self._workload.name)
        profile = counters_profile(counted, static, facts, device, self._problem.dtype)
        foreign = foreign_kernels(counted, self._launched())
        if foreign:
            note = f"it also ran kernels that are not its own: {', '.join(foreign)}"
            log.warning("%s: %s", self._row.origin, note)
            profile = profile.model_copy(update={"notes": (*profile.notes, note)})
        return Counters(profile=profile, csv=self._store.put_text(CSV, counted.csv, ".csv"))

    def _launched(self) -> set[str]:
        """Return the names of the kernels that the CPU stage saw launched."""
        built = built_named(self._row.build, self._store)
        return {launch.kernel for workload in built.workloads for launch in workload.launches}
